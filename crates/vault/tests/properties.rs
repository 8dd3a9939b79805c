//! Random trees and random edits, held against a naive view of the same.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use common::{AT, Place, assert_restores, assert_whole, back_up};
use proptest::{collection::vec, prelude::*};
use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, tree_digest},
};
use rekindle_vault::Change;

/// One change of a tree; paths are small numbers, so that they often meet.
#[derive(Clone, Debug)]
enum Edit {
    Write { path: u8, length: u32, seed: u8 },
    Overwrite { path: u8, at: u32 },
    Append { path: u8, length: u16 },
    Cut { path: u8 },
    Remove { path: u8 },
    Mode { path: u8, mode: u32 },
    Touch { path: u8 },
    Link { path: u8, target: u8 },
    Rename { from: u8, to: u8 },
    Directory { path: u8 },
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let path = || 0..24_u8;
    let length = prop_oneof![4 => 0..20_000_u32, 1 => 250_000..1_200_000_u32];
    let edit = prop_oneof![
        6 => (path(), length, any::<u8>()).prop_map(|(path, length, seed)| Edit::Write { path, length, seed }),
        3 => (path(), any::<u32>()).prop_map(|(path, at)| Edit::Overwrite { path, at }),
        2 => (path(), any::<u16>()).prop_map(|(path, length)| Edit::Append { path, length }),
        1 => path().prop_map(|path| Edit::Cut { path }),
        2 => path().prop_map(|path| Edit::Remove { path }),
        1 => (path(), 0..0o7777_u32).prop_map(|(path, mode)| Edit::Mode { path, mode }),
        1 => path().prop_map(|path| Edit::Touch { path }),
        1 => (path(), path()).prop_map(|(path, target)| Edit::Link { path, target }),
        1 => (path(), path()).prop_map(|(from, to)| Edit::Rename { from, to }),
        1 => path().prop_map(|path| Edit::Directory { path }),
    ];
    vec(edit, 1..30)
}

/// Four directories, one in another, of six names each.
fn place_of(source: &Path, path: u8) -> PathBuf {
    let folder = ["", "a", "a/b \"quoted\"", "ü"][usize::from(path / 6)];
    source.join(folder).join(format!("name {}", path % 6))
}

/// Edits that cannot be done (nothing there, a directory in the way) change nothing.
fn apply(source: &Path, edit: &Edit) -> std::io::Result<()> {
    let at = |path: u8| place_of(source, path);
    match *edit {
        Edit::Write { path, length, seed } => {
            fs::create_dir_all(at(path).parent().unwrap())?;
            fs::write(at(path), Random::new(seed.into()).text(length as usize))
        }
        Edit::Overwrite { path, at: offset } => {
            use std::os::unix::fs::FileExt;
            let file = fs::File::options().write(true).open(at(path))?;
            let length = file.metadata()?.len().max(1);
            file.write_all_at(b"overwritten", u64::from(offset) % length)
        }
        Edit::Append { path, length } => {
            let mut content = fs::read(at(path))?;
            content.extend(Random::new(1).bytes(length.into()));
            fs::write(at(path), content)
        }
        Edit::Cut { path } => {
            let file = fs::File::options().write(true).open(at(path))?;
            file.set_len(file.metadata()?.len() / 2)
        }
        Edit::Remove { path } => {
            fs::remove_file(at(path)).or_else(|_| fs::remove_dir_all(at(path)))
        }
        Edit::Mode { path, mode } => {
            fs::metadata(at(path))?;
            fs::set_permissions(at(path), fs::Permissions::from_mode(mode))
        }
        Edit::Touch { path } => {
            let time = SystemTime::now() - Duration::from_secs(100_000);
            fs::File::open(at(path))?.set_modified(time)
        }
        Edit::Link { path, target } => symlink(at(target), at(path)),
        Edit::Rename { from, to } => fs::rename(at(from), at(to)),
        Edit::Directory { path } => fs::create_dir_all(at(path)),
    }
}

/// What differs between two digests, as the engine's comparison should tell it.
fn naive_diff(old: &TreeDigest, new: &TreeDigest) -> BTreeMap<String, Change> {
    let mut found = BTreeMap::new();
    let name = |path: &Path| format!("/{}", Path::new(AT).join(path).display());
    for (path, entry) in &old.0 {
        let shown = name(path).trim_end_matches('/').to_owned();
        let Some(other) = new.0.get(path) else {
            found.insert(shown, Change::Removed);
            continue;
        };
        let content =
            |e: &rekindle_testing::faults::TreeEntry| (e.kind, e.sha256.clone(), e.target.clone());
        let is_dir = entry.kind == "dir";
        if content(entry) != content(other) {
            found.insert(shown, Change::Content);
        } else if (entry.mode, entry.owner) != (other.mode, other.owner)
            || (!is_dir && entry.mtime_ns != other.mtime_ns)
        {
            found.insert(shown, Change::Metadata);
        }
    }
    for path in new.0.keys().filter(|path| !old.0.contains_key(*path)) {
        found.insert(name(path), Change::Added);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn with_a_parent_or_without_the_same_comes_back(rounds in vec(edits(), 2..4)) {
        let place = Place::in_memory();
        let source = place.source();
        fs::create_dir(&source).unwrap();
        let vault = place.create();
        let mut last = None;
        let mut points = Vec::new();
        for (number, edits) in rounds.iter().enumerate() {
            for edit in edits {
                // Many cannot be done, and that is no matter.
                let _ = apply(&source, edit);
            }
            let state = tree_digest(&source).unwrap();
            let with = back_up(&vault, &source, last.clone()).unwrap();
            let without = back_up(&vault, &source, None).unwrap();
            prop_assert_eq!(with.stored.tree, without.stored.tree, "one tree, whoever read it");
            assert_restores(&vault, &with, &state, &place.path(&format!("with {number}")));
            last = Some(with.clone());
            points.push((with, state));
        }
        let index = vault.load_index().unwrap();
        for pair in points.windows(2) {
            let [(old, before), (new, after)] = pair else { unreachable!() };
            let told: BTreeMap<String, Change> = vault
                .diff(&index, old, new)
                .unwrap()
                .into_iter()
                .map(|difference| (difference.path.to_string(), difference.change))
                .collect();
            prop_assert_eq!(told, naive_diff(before, after));
        }
        for (number, (snapshot, state)) in points.iter().enumerate() {
            assert_restores(&vault, snapshot, state, &place.path(&format!("again {number}")));
        }
        assert_whole(&vault);
    }
}

#[test]
fn a_file_changed_right_after_the_parent_is_read_again_whatever_its_times_say() {
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    let file = source.join("file");
    let vault = place.create();
    let mut parent = None;
    let mut random = Random::new(4);
    for round in 0..20 {
        // The same length, the same inode and the same time of change each time.
        let content = random.bytes(8192);
        fs::write(&file, &content).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        fs::File::open(&file).unwrap().set_modified(time).unwrap();
        let state = tree_digest(&source).unwrap();
        let snapshot = back_up(&vault, &source, parent).unwrap();
        assert_restores(&vault, &snapshot, &state, &place.path(&format!("{round}")));
        parent = Some(snapshot);
    }
}
