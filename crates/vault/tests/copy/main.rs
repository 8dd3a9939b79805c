//! A copy in another vault, with another password, is as good as the vault it was made from, to us
//! and to stock restic; and nothing that goes wrong on either side makes it less.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod faults;
mod hooked;
mod stock;
mod wal;
mod write_only;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Barrier},
    thread,
};

use common::{Place, assert_restores, assert_whole, back_up, chain, password, restore};
use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, tree_digest},
    restic::Restic,
};
use rekindle_vault::{
    CopyOptions, CopyReport, CopyToError, LockMode, Password, Progress, Snapshot, Store, Vault,
    VaultError,
    store::{LocalStore, MemoryStore, ObjectKey},
};

const OTHER_PASSWORD: &str = "another password";

fn other_password() -> Password {
    Password::new(OTHER_PASSWORD)
}

fn in_memory(password: &Password) -> (Arc<dyn Store>, Vault) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = Vault::create(Arc::clone(&store), password).unwrap();
    (store, vault)
}

/// Small packs, so that small tests have many of them.
fn options() -> CopyOptions {
    CopyOptions {
        threads: Some(3),
        pack_bytes: 128 << 10,
        ..CopyOptions::default()
    }
}

fn copy(from: &Vault, to: &Vault, snapshots: &[Snapshot]) -> Result<CopyReport, CopyToError> {
    let progress = Arc::new(Progress::default());
    let report = from.copy_snapshots_to(to, snapshots, &options(), &progress);
    if report.is_ok() {
        assert_eq!(progress.bytes_done(), progress.bytes_total());
    }
    report
}

fn copy_all(from: &Vault, to: &Vault) -> Result<CopyReport, CopyToError> {
    copy(from, to, &from.snapshots().unwrap())
}

/// Snapshots of a tree that changes a little each time, and what each holds.
fn three_points(vault: &Vault, source: &Path) -> Vec<(Snapshot, TreeDigest)> {
    let mut points = Vec::new();
    for round in 0..3 {
        let mut random = Random::new(40 + round);
        for number in 0..12 {
            let folder = source.join(format!("folder {}", number % 4));
            fs::create_dir_all(&folder).unwrap();
            if round == 0 || number == round {
                fs::write(folder.join(format!("file {number}")), random.bytes(60_000)).unwrap();
                fs::write(folder.join(format!("text {number}")), random.text(90_000)).unwrap();
            }
        }
        fs::write(source.join("empty"), "").unwrap();
        let snapshot = back_up(vault, source, None).unwrap();
        points.push((snapshot, tree_digest(source).unwrap()));
    }
    points
}

/// Every snapshot of the copy restores to what the source's holds.
fn assert_copied(to: &Vault, points: &[(Snapshot, TreeDigest)], place: &Place) {
    assert_whole(to);
    let copies = to.copied_snapshots().unwrap();
    assert_eq!(copies.snapshots().len(), points.len(), "and no others");
    for (snapshot, state) in points {
        let copy = copies.find(snapshot).unwrap();
        let target = place.path(&format!("restored {}", snapshot.id.short()));
        assert_restores(to, copy, state, &target);
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn a_copy_holds_the_same_under_another_key() {
    let place = Place::in_memory();
    let from = place.create();
    let points = three_points(&from, &place.source());
    let (_, to) = in_memory(&other_password());
    let estimate = from
        .estimate_copy_to(&to, &from.snapshots().unwrap())
        .unwrap();
    let report = copy_all(&from, &to).unwrap();
    assert_eq!(report.copied.len(), 3);
    assert!(report.is_complete() && report.lock_left.is_none());
    assert_eq!(estimate.missing.len(), 3);
    assert_eq!(
        (estimate.blobs, estimate.bytes),
        (report.blobs, report.stored_bytes)
    );
    let (here, there) = (from.stats().unwrap(), to.stats().unwrap());
    assert_eq!(here.blobs, there.blobs, "each blob once");
    assert_eq!(here.unique_bytes, there.unique_bytes);
    for (source, copied) in points.iter().zip(&report.copied) {
        let (old, new) = (&source.0.stored, &copied.copy.stored);
        assert_eq!(copied.source, source.0.id);
        assert_eq!(new.original, Some(source.0.id));
        assert_eq!(new.parent, None);
        assert_eq!(
            (&old.tree, &old.time, &old.paths),
            (&new.tree, &new.time, &new.paths)
        );
        assert_eq!((&old.hostname, &old.tags), (&new.hostname, &new.tags));
    }
    assert_copied(&to, &points, &place);
    assert_eq!(to.locks().unwrap().len() + from.locks().unwrap().len(), 0);
}

#[test]
fn a_second_copy_writes_only_what_is_new() {
    let place = Place::in_memory();
    let from = place.create();
    let points = three_points(&from, &place.source());
    let (store, to) = in_memory(&other_password());
    let objects = || -> BTreeSet<ObjectKey> {
        let folders = ["snapshots", "index", "data", "locks"];
        let listed = folders
            .iter()
            .flat_map(|folder| store.list(folder).unwrap());
        listed.map(|object| object.key).collect()
    };
    let first = [points[0].0.clone()];
    copy(&from, &to, &first).unwrap();
    let before = objects();
    let again = copy(&from, &to, &first).unwrap();
    assert_eq!((again.copied.len(), again.present.len()), (0, 1));
    assert_eq!(objects(), before, "nothing was written");
    let estimate = from
        .estimate_copy_to(&to, &from.snapshots().unwrap())
        .unwrap();
    let rest = copy_all(&from, &to).unwrap();
    assert_eq!((rest.copied.len(), rest.present.len()), (2, 1));
    assert_eq!(
        (estimate.missing.len(), estimate.bytes),
        (2, rest.stored_bytes)
    );
    assert!(rest.plain_bytes < 600_000, "{}", rest.plain_bytes);
    assert_copied(&to, &points, &place);
}

#[test]
fn what_the_other_vault_has_from_elsewhere_does_not_travel() {
    let place = Place::in_memory();
    let from = place.create();
    let points = three_points(&from, &place.source());
    let (_, middle) = in_memory(&Password::new("of the middle"));
    let (_, to) = in_memory(&other_password());
    copy_all(&from, &middle).unwrap();
    copy_all(&from, &to).unwrap();
    // From copy to copy, and back to where it came from: it is the same point everywhere.
    for (a, b) in [(&middle, &to), (&to, &middle), (&to, &from)] {
        let report = copy_all(a, b).unwrap();
        assert_eq!((report.copied.len(), report.present.len()), (0, 3));
    }
    // Tags that changed since make no second point of it.
    from.set_tags(&points[0].0, vec!["held".to_owned()])
        .unwrap();
    assert_eq!(copy_all(&from, &to).unwrap().copied.len(), 0);
    assert_copied(&to, &points, &place);
}

#[test]
fn many_small_points_share_packs_and_each_is_written_when_it_is_whole() {
    let place = Place::in_memory();
    let from = place.create();
    let points = three_points(&from, &place.source());
    for (commit_bytes, index_files) in [(u64::MAX, 1), (0, 3)] {
        let (store, to) = in_memory(&other_password());
        let options = CopyOptions {
            commit_bytes,
            ..options()
        };
        let snapshots = from.snapshots().unwrap();
        from.copy_snapshots_to(&to, &snapshots, &options, &Arc::default())
            .unwrap();
        assert_eq!(store.list("index").unwrap().len(), index_files);
        assert_copied(&to, &points, &place);
    }
}

#[test]
fn two_copies_at_once_into_one_vault_are_both_whole() {
    let place = Place::in_memory();
    let from = place.create();
    let points = three_points(&from, &place.source());
    let (_, to) = in_memory(&other_password());
    let barrier = Arc::new(Barrier::new(2));
    let copies = [0, 1].map(|_| {
        let (from, to, barrier) = (from.clone(), to.clone(), Arc::clone(&barrier));
        thread::spawn(move || {
            barrier.wait();
            copy_all(&from, &to).unwrap()
        })
    });
    let copies = copies.map(|copy| copy.join().unwrap());
    assert!(copies.iter().all(CopyReport::is_complete));
    assert_whole(&to);
    let there = to.copied_snapshots().unwrap();
    for (snapshot, state) in &points {
        let target = place.path(&format!("restored {}", snapshot.id.short()));
        assert_restores(&to, there.find(snapshot).unwrap(), state, &target);
    }
}

#[test]
fn a_point_that_was_forgotten_meanwhile_is_told_and_no_damage() {
    let place = Place::in_memory();
    let from = place.create();
    three_points(&from, &place.source());
    let listed = from.snapshots().unwrap();
    let gone = listed[0].id.to_string();
    place
        .restic()
        .run(["forget", "--prune", gone.as_str()])
        .unwrap();
    let (_, to) = in_memory(&other_password());
    let report = copy(&from, &to, &listed).unwrap();
    assert_eq!(report.vanished, [listed[0].id]);
    assert_eq!((report.copied.len(), report.is_complete()), (2, true));
    assert_whole(&to);
}

#[test]
fn whoever_deletes_on_either_side_is_waited_for() {
    let place = Place::in_memory();
    let from = place.create();
    three_points(&from, &place.source());
    let (_, to) = in_memory(&other_password());
    let deleting = from.lock(LockMode::Exclusive).unwrap();
    let error = copy_all(&from, &to).unwrap_err();
    assert!(matches!(
        error,
        CopyToError::Source {
            error: VaultError::Locked(_),
            ..
        }
    ));
    drop(deleting);
    let deleting = to.lock(LockMode::Exclusive).unwrap();
    let error = copy_all(&from, &to).unwrap_err();
    assert!(matches!(
        error,
        CopyToError::Target {
            error: VaultError::Locked(_),
            ..
        }
    ));
    assert!(chain(&error).contains("locked"), "{}", chain(&error));
    drop(deleting);
    copy_all(&from, &to).unwrap();
}

fn restic_of(dir: &Path, password: &str) -> Restic {
    Restic::new(dir, password)
}

fn vault_in(dir: PathBuf, password: &Password) -> Vault {
    Vault::create(Arc::new(LocalStore::new(dir)), password).unwrap()
}
