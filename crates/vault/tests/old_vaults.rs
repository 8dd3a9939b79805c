//! Vaults of earlier days open, check and come back, whatever the engine has become.
//!
//! Each lies in `testdata/vaults/NAME` beside `NAME.json`, which tells what its points hold, and is never
//! edited. To add one: `REKINDLE_OLD_VAULT=NAME cargo nextest run -p rekindle-vault --test old_vaults
//! --run-ignored only`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{Place, assert_whole, back_up, check, restore};
use rekindle_testing::{data::Random, faults::files_below, restic::Restic};
use rekindle_vault::{Id, Password, Thoroughness, Vault, WalEffort, WalFile, store::LocalStore};
use serde::{Deserialize, Serialize};

const PASSWORD: &str = "the password of old vaults";
const SYSTEM: u64 = 7_300_000_000_000_000_001;

/// What a vault holds.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Holdings {
    /// How it was made, for people.
    made_by: String,
    /// Of each point, oldest first: what each path is.
    points: Vec<BTreeMap<String, String>>,
    /// Of each archived file: the hash of its content.
    wal: BTreeMap<String, String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vaults")
}

fn open(at: &Path) -> Vault {
    let store = Arc::new(LocalStore::new(at));
    Vault::open(store, &Password::new(PASSWORD)).unwrap()
}

/// Of each path below a directory: its kind, mode, and the hash of its content or the place it leads to.
fn described(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            let what = if metadata.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else if metadata.is_dir() {
                folders.push(path.clone());
                format!("folder {mode:o}")
            } else {
                format!("file {mode:o} {}", Id::of(&fs::read(&path).unwrap()))
            };
            let name = path.strip_prefix(root).unwrap();
            found.insert(name.display().to_string(), what);
        }
    }
    found
}

fn holdings(vault: &Vault, place: &Place, made_by: &str) -> Holdings {
    let mut points = Vec::new();
    for point in vault.snapshots().unwrap() {
        let target = place.path(&point.id.to_string());
        restore(vault, &point, &target).unwrap();
        points.push(described(&target));
    }
    let mut wal = BTreeMap::new();
    if let Some(archive) = vault.existing_wal_archive().unwrap() {
        for listed in archive.list(SYSTEM).unwrap() {
            let content = archive.get(&listed.file).unwrap().unwrap();
            wal.insert(listed.file.name.clone(), Id::of(&content).to_string());
        }
    }
    let made_by = made_by.to_owned();
    Holdings {
        made_by,
        points,
        wal,
    }
}

/// A copy, because opening a vault leaves locks, and what lies in `testdata` stays as it is.
fn copied(from: &Path, to: &Path) {
    for file in files_below(from).unwrap() {
        let to = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
}

#[test]
fn vaults_of_earlier_days_open_check_and_come_back() {
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let told = entry.unwrap().path();
        if told.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let expected: Holdings = serde_json::from_slice(&fs::read(&told).unwrap()).unwrap();
        let place = Place::new();
        copied(&told.with_extension(""), &place.vault_dir());
        let vault = open(&place.vault_dir());
        assert_whole(&vault);
        let found = holdings(&vault, &place, &expected.made_by);
        assert_eq!(found, expected, "{}", told.display());
        // It is no museum: backups go on in it.
        let parent = vault.snapshots().unwrap().pop();
        fs::create_dir_all(place.source()).unwrap();
        fs::write(place.source().join("new"), b"of today").unwrap();
        back_up(&vault, &place.source(), parent).unwrap();
        assert_whole(&vault);
        seen += 1;
    }
    assert!(seen >= 2, "one of ours and one of restic's");
}

#[test]
#[ignore = "makes a new old vault; see the first lines"]
fn make_an_old_vault() {
    let name = env::var("REKINDLE_OLD_VAULT").unwrap();
    let at = folder().join(&name);
    assert!(!at.exists(), "old vaults are never edited");
    let place = Place::new();
    fs::create_dir_all(&at).unwrap();
    let made_by = if name.starts_with("restic") {
        let restic = Restic::new(&at, PASSWORD);
        restic.init().unwrap();
        for generation in 0..2 {
            write_source(&place.source(), generation);
            restic.backup(&[&place.source()]).unwrap();
        }
        restic.version().unwrap()
    } else {
        make_ours(&at, &place);
        format!("rekindle {}", env!("CARGO_PKG_VERSION"))
    };
    let vault = open(&at);
    assert!(check(&vault, Thoroughness::AllData).is_whole());
    let told = serde_json::to_string_pretty(&holdings(&vault, &place, made_by.trim())).unwrap();
    fs::write(folder().join(format!("{name}.json")), told + "\n").unwrap();
}

fn make_ours(at: &Path, place: &Place) {
    let store = Arc::new(LocalStore::new(at));
    let vault = Vault::create(store, &Password::new(PASSWORD)).unwrap();
    let mut parent = None;
    for generation in 0..2 {
        write_source(&place.source(), generation);
        parent = Some(back_up(&vault, &place.source(), parent).unwrap());
    }
    let archive = vault.wal_archive().unwrap();
    for name in [
        "00000002.history",
        "000000010000000000000003",
        "000000020000000000000003",
    ] {
        let file = WalFile::named(SYSTEM, name).unwrap();
        let content = Random::new(name.len() as u64).bytes(5000);
        archive.put(&file, &content, WalEffort::Default).unwrap();
    }
}

/// Files of every size that is treated in its own way, and a link.
fn write_source(source: &Path, generation: u64) {
    fs::create_dir_all(source.join("folder/empty")).unwrap();
    fs::write(source.join("nothing"), b"").unwrap();
    fs::write(
        source.join("name of ümlauts"),
        format!("generation {generation}\n"),
    )
    .unwrap();
    fs::write(
        source.join("folder/noise"),
        Random::new(generation).bytes(20_000),
    )
    .unwrap();
    let sparse = File::create(source.join("folder/sparse")).unwrap();
    sparse.set_len(6 << 20).unwrap();
    sparse.write_all_at(b"at the end", (6 << 20) - 10).unwrap();
    fs::set_permissions(source.join("nothing"), fs::Permissions::from_mode(0o640)).unwrap();
    let _ = symlink("folder/noise", source.join("link"));
}
