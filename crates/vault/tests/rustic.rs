//! rustic and we work on the same vaults: it reads what we make, also between our prune's two phases, and we read,
//! check, copy and prune what it makes.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;
#[path = "common/world.rs"]
mod world;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{AT, PASSWORD, Place, assert_restores, assert_whole, back_up, options};
use jiff::{SignedDuration, Timestamp};
use rekindle_testing::{
    data::{Random, file_tree},
    faults::{TreeDigest, cut, files_below, tree_digest},
    rustic::Rustic,
    skip,
};
use rekindle_vault::{
    Chunking, CopyOptions, Grace, HealOptions, LocalFile, LockMode, Node, Progress, PruneOptions,
    PruneReport, Snapshot, TreePath, Vault, WhenMissing, store::LocalStore,
};
use world::{counted_on_leaving, eager};

/// rustic on the vault of a place.
fn rustic(place: &Place) -> Option<Rustic> {
    skip::unless_available(Rustic::new(place.vault_dir(), PASSWORD))
}

/// It finds nothing wrong, and gets a point back as it was.
fn assert_reads(rustic: &Rustic, id: &str, at: &Path, state: &TreeDigest, target: &Path) {
    rustic.check().unwrap();
    rustic.restore(id, target).unwrap();
    assert_same_content(state, &target.join(at));
}

/// The same below a directory. rustic does not describe the very directory that it backs up.
fn assert_same_content(state: &TreeDigest, dir: &Path) {
    let mut found = tree_digest(dir).unwrap();
    let root = state.0[Path::new("")].clone();
    found.0.insert(PathBuf::new(), root);
    let differences = state.differences(&found);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Prunes all waste, so many hours from now.
fn prune(vault: &Vault, hours: i64) -> PruneReport {
    let options = PruneOptions {
        pack_bytes: 256 << 10,
        ..eager(Timestamp::now() + SignedDuration::from_hours(hours))
    };
    vault.prune(&options, &Arc::default()).unwrap()
}

/// A vault of ours with waste in whole packs and beside what is used.
fn with_waste(place: &Place) -> (Vault, Snapshot, TreeDigest) {
    let vault = place.create();
    write_tree(&place.source(), 1, 120);
    back_up(&vault, &place.source(), None).unwrap();
    for name in ["1", "3"] {
        fs::remove_dir_all(place.source().join(name)).unwrap();
    }
    let kept = back_up(&vault, &place.source(), None).unwrap();
    let gone = vault.snapshots().unwrap();
    let gone: Vec<_> = gone
        .iter()
        .map(|p| p.id)
        .filter(|id| *id != kept.id)
        .collect();
    vault.forget(&gone).unwrap();
    let state = tree_digest(&place.source()).unwrap();
    (vault, kept, state)
}

/// Two backups by rustic, the first of which is forgotten; returns the second.
fn of_rustic(place: &Place, rustic: &Rustic) -> (String, TreeDigest) {
    rustic.init().unwrap();
    write_tree(&place.source(), 4, 120);
    let large = place.source().join("large");
    fs::write(&large, Random::new(4).text(5 << 20)).unwrap();
    let first = rustic.backup(&place.source()).unwrap();
    fs::remove_dir_all(place.source().join("1")).unwrap();
    fs::write(&large, Random::new(5).text(5 << 20)).unwrap();
    let second = rustic.backup(&place.source()).unwrap();
    rustic.forget(&first).unwrap();
    (second, tree_digest(&place.source()).unwrap())
}

fn assert_we_restore(vault: &Vault, id: &str, place: &Place, state: &TreeDigest, name: &str) {
    let point = vault.find_snapshot(id).unwrap();
    let target = place.path(name);
    common::restore(vault, &point, &target).unwrap();
    assert_same_content(state, &target.join(below_root(&place.source())));
}

/// A tree of all kinds. A file that nobody may read, whose mode is 0, rustic gives its usual mode: it
/// takes the 0, which restic's format leaves out, for unknown.
fn write_tree(dir: &Path, seed: u64, files: u32) {
    file_tree(dir, seed, files).unwrap();
    let readable = fs::Permissions::from_mode(0o400);
    fs::set_permissions(dir.join("kinds/unreadable"), readable).unwrap();
}

/// Where a path lies in what stock programs back up.
fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap()
}

#[test]
fn a_hard_tree_comes_back_by_rustic() {
    let place = Place::in_memory();
    let Some(rustic) = rustic(&place) else { return };
    write_tree(&place.source(), 11, 300);
    let large = place.source().join("large");
    fs::write(&large, Random::new(9).text(9 << 20)).unwrap();
    let before = tree_digest(&place.source()).unwrap();
    let vault = place.create();
    let point = back_up(&vault, &place.source(), None).unwrap();
    let (id, target) = (point.id.to_string(), place.path("by rustic"));
    assert_reads(&rustic, &id, Path::new(AT), &before, &target);
    assert_eq!(rustic.snapshots().unwrap(), [id]);
}

#[test]
fn pages_of_a_database_come_back_by_rustic() {
    let place = Place::in_memory();
    let Some(rustic) = rustic(&place) else { return };
    fs::create_dir(place.source()).unwrap();
    let mut random = Random::new(12);
    let vault = place.create();
    let backup = vault.start_backup(options(None)).unwrap();
    for (name, length, chunk) in [
        ("small", 8192, 8 << 10),
        ("odd", 100_000, 64 << 10),
        ("zeros", 3 << 20, 64 << 10),
        ("large", (2 << 20) + 8192, 128 << 10),
    ] {
        let source = place.source().join(name);
        let content = if name == "zeros" {
            vec![0; length]
        } else {
            random.bytes(length)
        };
        fs::write(&source, content).unwrap();
        let node = Node::of_metadata(&fs::metadata(&source).unwrap());
        let file = LocalFile {
            most_bytes: node.size,
            node,
            source,
            chunking: Chunking::Fixed { bytes: chunk },
            when_missing: WhenMissing::Fail,
            inspect: None,
        };
        backup
            .add_local_file(TreePath::new(name).unwrap(), file)
            .unwrap();
    }
    let point = backup.finish(common::draft()).unwrap();
    let before = tree_digest(&place.source()).unwrap().without_times();
    rustic.check().unwrap();
    let target = place.path("by rustic");
    rustic.restore(&point.id.to_string(), &target).unwrap();
    let mut found = tree_digest(&target).unwrap().without_times();
    // Nobody described the directory itself.
    let root = before.0[Path::new("")].clone();
    found.0.insert(PathBuf::new(), root);
    assert!(before.differences(&found).is_empty());
}

#[test]
fn rustic_is_content_before_between_and_after_our_prune() {
    let place = Place::in_memory();
    let Some(rustic) = rustic(&place) else { return };
    let (vault, point, state) = with_waste(&place);
    let id = point.id.to_string();
    rustic.check().unwrap();
    for hours in [0, 30, 60] {
        let report = prune(&vault, hours);
        assert_eq!(report.marked_packs > 0, hours == 0, "{report:?}");
        assert_eq!(report.removed_packs > 0, hours == 30, "{report:?}");
        let target = place.path(&format!("after {hours}"));
        assert_reads(&rustic, &id, Path::new(AT), &state, &target);
    }
}

#[test]
fn rustic_keeps_and_then_removes_what_we_marked() {
    let place = Place::in_memory();
    let Some(rustic) = rustic(&place) else { return };
    let (vault, point, state) = with_waste(&place);
    let marked = prune(&vault, 0).marked_packs;
    assert!(marked > 0);
    let first = rustic.prune(23).unwrap();
    assert_eq!((first.removed, first.kept), (0, marked), "our grace is its");
    assert_whole(&vault);
    let second = rustic.prune(0).unwrap();
    assert!(second.removed >= marked, "{second:?}");
    assert_whole(&vault);
    assert_restores(&vault, &point, &state, &place.path("by us"));
    prune(&vault, 30);
    let (id, target) = (point.id.to_string(), place.path("by rustic"));
    assert_reads(&rustic, &id, Path::new(AT), &state, &target);
}

#[test]
fn we_keep_and_then_remove_what_rustic_marked() {
    let place = Place::in_memory();
    let Some(rustic) = rustic(&place) else { return };
    let (id, state) = of_rustic(&place, &rustic);
    let vault = place.open();
    assert_whole(&vault);
    rustic.prune(23).unwrap();
    assert_whole(&vault);
    let early = prune(&vault, 1);
    assert!(early.waiting_packs > 0, "{early:?}");
    assert_eq!(early.removed_packs, 0, "{early:?}");
    assert_we_restore(&vault, &id, &place, &state, "between");
    assert!(prune(&vault, 25).removed_packs >= early.waiting_packs);
    assert_we_restore(&vault, &id, &place, &state, "after");
    assert_whole(&vault);
    let target = place.path("by rustic");
    assert_reads(&rustic, &id, below_root(&place.source()), &state, &target);
    rustic.prune_at_once().unwrap();
    assert_whole(&vault);
    assert_we_restore(&vault, &id, &place, &state, "at last");
}

#[test]
fn our_backup_counts_on_nothing_that_rustic_marked() {
    let place = Place::in_memory();
    let Some(rustic) = rustic(&place) else { return };
    let (id, _) = of_rustic(&place, &rustic);
    let vault = place.open();
    rustic.forget(&id).unwrap();
    rustic.prune(23).unwrap();
    let state = tree_digest(&place.source()).unwrap();
    let point = back_up(&vault, &place.source(), None).unwrap();
    assert!(counted_on_leaving(&vault).is_empty());
    // All that rustic marked goes, and nothing is missed.
    rustic.prune(0).unwrap();
    assert_restores(&vault, &point, &state, &place.path("by us"));
    let (id, target) = (point.id.to_string(), place.path("by rustic"));
    assert_reads(&rustic, &id, Path::new(AT), &state, &target);
}

#[test]
fn both_go_on_where_the_other_one_stopped() {
    let place = Place::in_memory();
    let Some(rustic) = rustic(&place) else { return };
    let (theirs, state) = of_rustic(&place, &rustic);
    let vault = place.open();
    let ours = back_up(&vault, &place.source(), None).unwrap();
    // It takes no locks and sees none: not even who is alone in the vault is in its way.
    let alone = vault.lock(LockMode::Exclusive).unwrap();
    let meanwhile = rustic.backup(&place.source()).unwrap();
    drop(alone);
    prune(&vault, 0);
    assert_whole(&vault);
    assert_restores(&vault, &ours, &state, &place.path("ours by us"));
    for (number, id) in [theirs, meanwhile].iter().enumerate() {
        assert_we_restore(
            &vault,
            id,
            &place,
            &state,
            &format!("theirs by us {number}"),
        );
    }
    let (id, target) = (ours.id.to_string(), place.path("ours by rustic"));
    assert_reads(&rustic, &id, Path::new(AT), &state, &target);
}

#[test]
fn copies_in_both_ways_are_read_by_both() {
    let place = Place::in_memory();
    let Some(rustic) = rustic(&place) else { return };
    let (theirs, state) = of_rustic(&place, &rustic);
    let vault = place.open();
    let ours = back_up(&vault, &place.source(), None).unwrap();
    let at = place.path("our copy");
    let store = Arc::new(LocalStore::new(&at));
    let copy = Vault::create(store, &common::password()).unwrap();
    let points = vault.snapshots().unwrap();
    let progress = Arc::new(Progress::default());
    let report = vault.copy_snapshots_to(&copy, &points, &CopyOptions::default(), &progress);
    let report = report.unwrap();
    assert!(report.is_complete() && report.copied.len() == 2);
    let of_copy = Rustic::new(&at, PASSWORD).unwrap();
    for copied in &report.copied {
        let is_ours = copied.source == ours.id;
        assert!(is_ours || copied.source.to_string() == theirs);
        let below = if is_ours {
            Path::new(AT).to_owned()
        } else {
            below_root(&place.source()).to_owned()
        };
        let (id, target) = (
            copied.copy.id.to_string(),
            place.path(&format!("{is_ours}")),
        );
        assert_reads(&of_copy, &id, &below, &state, &target);
    }

    let at = place.path("its copy");
    Rustic::new(&at, PASSWORD).unwrap().init().unwrap();
    rustic.copy_to(&at).unwrap();
    let store = Arc::new(LocalStore::new(&at));
    let copy = Vault::open(store, &common::password()).unwrap();
    assert_whole(&copy);
    // It is known again as a copy: nothing is copied a second time.
    let again = vault.copy_snapshots_to(&copy, &points, &CopyOptions::default(), &progress);
    assert_eq!(again.unwrap().present.len(), 2);
    prune(&copy, 0);
    assert_whole(&copy);
}

#[test]
fn a_healed_vault_is_whole_to_rustic() {
    let place = Place::in_memory();
    let Some(rustic) = rustic(&place) else { return };
    let (vault, point, state) = with_waste(&place);
    prune(&vault, 0);
    let store = Arc::new(LocalStore::new(place.path("copy")));
    let copy = Vault::create(store, &common::password()).unwrap();
    let points = vault.snapshots().unwrap();
    vault
        .copy_snapshots_to(&copy, &points, &CopyOptions::default(), &Arc::default())
        .unwrap();
    let packs = files_below(&place.vault_dir().join("data")).unwrap();
    for pack in packs.iter().step_by(3) {
        let length = fs::metadata(pack).unwrap().len();
        cut(pack, length / 2).unwrap();
    }
    let index = files_below(&place.vault_dir().join("index")).unwrap();
    fs::remove_file(&index[0]).unwrap();
    let report = vault.heal(&[copy], &HealOptions::default()).unwrap();
    assert!(report.is_whole(), "{report:?}");
    // Damaged packs on their way out that nothing needs are nothing to heal. They would be told.
    let at_once = PruneOptions {
        grace: Grace::None,
        ..eager(Timestamp::now())
    };
    vault.prune(&at_once, &Arc::default()).unwrap();
    let (id, target) = (point.id.to_string(), place.path("by rustic"));
    assert_reads(&rustic, &id, Path::new(AT), &state, &target);
}
