//! Each operation of the store fails in turn: whatever fails, no recovery point is listed that
//! cannot be restored, and the next run succeeds.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{collections::BTreeSet, fs, io::ErrorKind, path::Path, sync::Arc};

use common::{
    AT, Place, assert_restores, assert_same, assert_whole, back_up, chain, password, restore,
};
use rekindle_testing::{
    data::Random,
    faults::{SmallDisk, TreeDigest, tree_digest},
    skip,
};
use rekindle_vault::{
    BackupError, Id, LockMode, Progress, RestoreError, Snapshot, Store, Thoroughness, Vault,
    VaultError,
    store::{Fault, FaultyStore, LocalStore, MemoryStore, ObjectKey},
};

/// A small tree of a few packs.
fn write_source(source: &Path, seed: u64) -> TreeDigest {
    let mut random = Random::new(seed);
    for number in 0..12 {
        let folder = source.join(format!("folder {}", number % 3));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("file {number}")), random.bytes(90_000)).unwrap();
    }
    tree_digest(source).unwrap()
}

const FAULTS: [(Fault, bool); 6] = [
    (Fault::Refused(ErrorKind::Other), false),
    (Fault::Refused(ErrorKind::TimedOut), true),
    (Fault::Refused(ErrorKind::StorageFull), false),
    (Fault::Refused(ErrorKind::StorageFull), true),
    (Fault::LostAcknowledgement, false),
    (Fault::LostAcknowledgement, true),
];

fn faulty(
    inner: &Arc<dyn Store>,
    at: u64,
    (fault, and_later): (Fault, bool),
) -> Arc<FaultyStore<Arc<dyn Store>>> {
    let inner = Arc::clone(inner);
    Arc::new(if and_later {
        FaultyStore::failing_from(inner, at, fault)
    } else {
        FaultyStore::failing_once(inner, at, fault)
    })
}

/// Gets the number of the failing operation, the store with the fault and the one without.
type Attempt<'a> = dyn FnMut(u64, Arc<dyn Store>, &Arc<dyn Store>) + 'a;

/// Runs `attempt` with the fault at each operation in turn, until one run meets no fault. Returns
/// how many runs there were.
fn at_every_operation(
    inner: &dyn Fn() -> Arc<dyn Store>,
    fault: (Fault, bool),
    attempt: &mut Attempt<'_>,
) -> u64 {
    for at in 0.. {
        assert!(at < 60, "so small a piece of work ends");
        let healthy = inner();
        let store = faulty(&healthy, at, fault);
        attempt(at, Arc::clone(&store) as Arc<dyn Store>, &healthy);
        if store.operations() <= at {
            return at;
        }
    }
    unreachable!()
}

/// Nothing is lost, and every listed point but `known` restores to `state`.
fn assert_sound(vault: &Vault, known: &[Id], state: &TreeDigest, place: &Place) {
    assert_whole(vault);
    for snapshot in vault.snapshots().unwrap() {
        if !known.contains(&snapshot.id) {
            let target = place.path("sound");
            assert_restores(vault, &snapshot, state, &target);
            fs::remove_dir_all(&target).unwrap();
        }
    }
}

fn objects(store: &dyn Store) -> BTreeSet<ObjectKey> {
    let folders = ["keys", "locks", "snapshots", "index", "data"];
    let listed = folders
        .iter()
        .flat_map(|folder| store.list(folder).unwrap());
    listed.map(|object| object.key).collect()
}

fn backup_survives(fault: (Fault, bool)) {
    let place = Place::in_memory();
    let first_state = write_source(&place.source(), 1);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = Vault::create(Arc::clone(&store), &password()).unwrap();
    let first = back_up(&vault, &place.source(), None).unwrap();
    let before = objects(&*store);
    let runs = at_every_operation(&|| Arc::clone(&store), fault, &mut |at, faulty, _| {
        // New content each time, or there would be nothing to store.
        let added = Random::new(1000 + at).bytes(600_000);
        fs::write(place.source().join("added"), added).unwrap();
        let state = tree_digest(&place.source()).unwrap();
        let outcome = Vault::open(faulty, &password())
            .map_err(BackupError::from)
            .and_then(|vault| back_up(&vault, &place.source(), None));
        let context = format!("{fault:?} at {at}");
        let listed = vault.snapshots().unwrap();
        match &outcome {
            Ok(snapshot) => assert!(listed.iter().any(|s| s.id == snapshot.id), "{context}"),
            Err(error) => assert!(chain(error).contains("made-up"), "{context}: {error}"),
        }
        if fault.0 != Fault::LostAcknowledgement && outcome.is_err() {
            assert_eq!(listed.len(), 1, "{context}: a refused write wrote nothing");
        }
        assert_sound(&vault, &[first.id], &state, &place);
        let known: Vec<_> = listed.iter().map(|snapshot| snapshot.id).collect();
        back_up(&vault, &place.source(), None).unwrap();
        assert_sound(&vault, &known, &state, &place);
        // Each round starts with the same vault, or there would be more to fail in each.
        for object in objects(&*store) {
            if !before.contains(&object) {
                store.delete(&object).unwrap();
            }
        }
    });
    assert!(runs > 12, "{runs}");
    assert_restores(&vault, &first, &first_state, &place.path("first"));
}

#[test]
fn a_backup_survives_one_failed_operation() {
    backup_survives(FAULTS[0]);
}

#[test]
fn a_backup_survives_a_store_that_goes_away() {
    backup_survives(FAULTS[3]);
}

#[test]
fn a_backup_survives_a_lost_acknowledgement() {
    backup_survives(FAULTS[4]);
    backup_survives(FAULTS[5]);
}

#[test]
fn a_creation_that_failed_anywhere_is_repeated_and_both_programs_open_the_vault() {
    for fault in [FAULTS[0], FAULTS[3], FAULTS[4], FAULTS[5]] {
        let place = Place::in_memory();
        let mut dir = 0;
        let mut dirs = Vec::new();
        let mut fresh = || {
            dir += 1;
            place.path(&format!("vault {dir}"))
        };
        for at in 0..20 {
            let dir = fresh();
            let healthy: Arc<dyn Store> = Arc::new(LocalStore::new(&dir));
            let store = faulty(&healthy, at, fault);
            let outcome = Vault::create(Arc::clone(&store) as Arc<dyn Store>, &password());
            let context = format!("{fault:?} at {at}");
            match Vault::create(Arc::clone(&healthy), &password()) {
                Ok(_) => assert!(outcome.is_err(), "{context}"),
                // It was made, and only its acknowledgement was lost.
                Err(error) => assert!(
                    matches!(error, VaultError::VaultExists { .. }),
                    "{context}: {error}"
                ),
            }
            let vault = Vault::open(healthy, &password()).unwrap();
            assert_eq!(vault.keys().unwrap().len(), 1, "{context}");
            dirs.push(dir);
            if store.operations() <= at {
                break;
            }
        }
        // restic's own half second for each would be felt.
        for dir in dirs.iter().skip(1).step_by(3) {
            let restic = rekindle_testing::restic::Restic::new(dir, common::PASSWORD);
            restic.snapshots().unwrap();
        }
    }
}

#[test]
fn a_restore_survives_any_failed_operation() {
    let place = Place::in_memory();
    let state = write_source(&place.source(), 1);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = Vault::create(Arc::clone(&store), &password()).unwrap();
    let snapshot = back_up(&vault, &place.source(), None).unwrap();
    for fault in [FAULTS[0], FAULTS[1], FAULTS[2], FAULTS[5]] {
        let runs = at_every_operation(&|| Arc::clone(&store), fault, &mut |at, faulty, _| {
            let target = place.path("target");
            let outcome = Vault::open(faulty, &password())
                .map_err(RestoreError::from)
                .and_then(|vault| restore(&vault, &snapshot, &target));
            match outcome {
                Ok(_) => assert_same(&state, &target.join(AT)),
                Err(error) => {
                    assert!(
                        !matches!(error, RestoreError::Incomplete { .. }),
                        "a store that does not answer is no damage: {error}"
                    );
                    assert_restores(&vault, &snapshot, &state, &target);
                }
            }
            fs::remove_dir_all(&target).unwrap();
            // One that could not be removed, or there would be one more to read in each round.
            vault.unlock_stale().unwrap();
            assert!(
                !vault
                    .locks()
                    .unwrap()
                    .iter()
                    .any(|lock| lock.info().unwrap().exclusive),
                "{at}"
            );
        });
        assert!(runs > 10, "{runs}");
    }
    assert_whole(&vault);
}

#[test]
fn a_check_that_cannot_read_says_so_and_finds_no_damage() {
    let place = Place::in_memory();
    write_source(&place.source(), 1);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = Vault::create(Arc::clone(&store), &password()).unwrap();
    back_up(&vault, &place.source(), None).unwrap();
    for fault in [FAULTS[0], FAULTS[1], FAULTS[5]] {
        at_every_operation(&|| Arc::clone(&store), fault, &mut |at, faulty, _| {
            // One that could not be removed, or there would be one more to read in each round.
            vault.unlock_stale().unwrap();
            let Ok(hindered) = Vault::open(faulty, &password()) else {
                return;
            };
            match hindered.check(Thoroughness::AllData, &Arc::new(Progress::default())) {
                Ok(report) => assert!(report.is_whole(), "{fault:?} {at}: {:?}", report.problems),
                Err(error) => assert!(chain(&error).contains("made-up"), "{}", chain(&error)),
            }
        });
    }
    assert_whole(&vault);
}

#[test]
fn tags_survive_any_failed_operation() {
    let place = Place::in_memory();
    let state = write_source(&place.source(), 1);
    for fault in [FAULTS[1], FAULTS[4], FAULTS[5]] {
        let setting = || -> Arc<dyn Store> { Arc::new(MemoryStore::new()) };
        at_every_operation(&setting, fault, &mut |at, store, healthy| {
            // The vault is made on the healthy store, so that only the change of tags fails.
            let made = Vault::create(Arc::clone(healthy), &password()).unwrap();
            let snapshot = back_up(&made, &place.source(), None).unwrap();
            let changed = Vault::open(store, &password())
                .and_then(|vault| vault.set_tags(&snapshot, vec!["held".into()]));
            let listed = made.snapshots().unwrap();
            let context = format!("{fault:?} at {at}: {listed:?}");
            assert!((1..=2).contains(&listed.len()), "{context}");
            let tagged = |s: &Snapshot| s.stored.tags == ["held"];
            if changed.is_ok() {
                assert!(listed.len() == 1 && tagged(&listed[0]), "{context}");
            }
            assert!(
                listed.iter().all(|s| s.id == snapshot.id || tagged(s)),
                "{context}"
            );
            assert_sound(&made, &[], &state, &place);
            // A lock of ours that we do not know of must not keep ourselves out.
            back_up(&made, &place.source(), None).unwrap();
        });
    }
}

#[test]
fn restic_agrees_after_failures_of_the_disk() {
    let place = Place::in_memory();
    let first = write_source(&place.source(), 1);
    let vault = place.create();
    back_up(&vault, &place.source(), None).unwrap();
    let healthy: Arc<dyn Store> = Arc::new(LocalStore::new(place.vault_dir()));
    for (round, at) in [6, 8, 9, 10, 11, 12, 14].into_iter().enumerate() {
        let fault = FAULTS[round % FAULTS.len()];
        let added = Random::new(500 + round as u64).bytes(400_000);
        fs::write(place.source().join("added"), added).unwrap();
        let outcome = Vault::open(faulty(&healthy, at, fault), &password())
            .map_err(BackupError::from)
            .and_then(|vault| back_up(&vault, &place.source(), None));
        assert!(outcome.is_err() || at > 9, "{fault:?} at {at}");
        let restic = place.restic();
        // This process lives, so a lock that it could not remove is in nobody's power but ours.
        restic.run(["check", "--no-lock", "--read-data"]).unwrap();
    }
    let last = tree_digest(&place.source()).unwrap();
    let snapshot = back_up(&vault, &place.source(), None).unwrap();
    assert_restores(&vault, &snapshot, &last, &place.path("last"));
    let oldest = vault.snapshots().unwrap()[0].clone();
    assert_restores(&vault, &oldest, &first, &place.path("oldest"));
}

#[test]
fn a_full_disk_of_the_vault_is_told_and_lists_nothing() {
    let Some(disk) = skip::unless_available(SmallDisk::new(8)) else {
        return;
    };
    let place = Place::in_memory();
    fs::create_dir(place.source()).unwrap();
    fs::write(place.source().join("small"), Random::new(1).bytes(500_000)).unwrap();
    let small = tree_digest(&place.source()).unwrap();
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(disk.path().join("vault")));
    let vault = Vault::create(store, &password()).unwrap();
    let first = back_up(&vault, &place.source(), None).unwrap();
    fs::write(place.source().join("large"), Random::new(2).bytes(12 << 20)).unwrap();
    let state = tree_digest(&place.source()).unwrap();
    let error = back_up(&vault, &place.source(), None).unwrap_err();
    let said = chain(&error);
    assert!(
        matches!(&error, BackupError::Vault(error) if error.is_no_space()),
        "{said}"
    );
    assert!(
        said.contains("No space left") && said.contains("vault"),
        "{said}"
    );
    assert_eq!(vault.snapshots().unwrap().len(), 1);
    // A full vault is still restored from, lock or no lock.
    assert_restores(&vault, &first, &small, &place.path("first"));
    disk.resize(40).unwrap();
    let next = back_up(&vault, &place.source(), None).unwrap();
    assert_restores(&vault, &next, &state, &place.path("next"));
    assert_whole(&vault);
}

#[test]
fn a_full_disk_of_the_target_is_told_before_anything_is_written() {
    let Some(disk) = skip::unless_available(SmallDisk::new(4)) else {
        return;
    };
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("large"), Random::new(2).bytes(6 << 20)).unwrap();
    let state = tree_digest(&source).unwrap();
    let vault = place.create();
    let snapshot = back_up(&vault, &source, None).unwrap();
    let target = disk.path().join("target");
    let error = restore(&vault, &snapshot, &target).unwrap_err();
    let RestoreError::NoSpace {
        needed_bytes,
        available_bytes,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(needed_bytes >= 6 << 20 && available_bytes <= 4 << 20);
    assert_eq!(
        fs::read_dir(&target).unwrap().count(),
        0,
        "nothing was left behind"
    );
    assert_restores(&vault, &snapshot, &state, &place.path("elsewhere"));
}

#[test]
fn a_target_that_fills_up_meanwhile_is_told_and_restored_again() {
    let Some(disk) = skip::unless_available(SmallDisk::with_few_inodes(64, 30)) else {
        return;
    };
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    for number in 0..60 {
        fs::write(source.join(format!("{number}")), format!("file {number}")).unwrap();
    }
    let state = tree_digest(&source).unwrap();
    let vault = place.create();
    let snapshot = back_up(&vault, &source, None).unwrap();
    let target = disk.path().join("target");
    let error = restore(&vault, &snapshot, &target).unwrap_err();
    let said = chain(&error);
    assert!(matches!(error, RestoreError::Target { .. }), "{said}");
    assert!(
        said.contains("No space left") && said.contains("target"),
        "{said}"
    );
    assert!(target.join("REKINDLE-RESTORE-UNFINISHED").exists());
    assert_restores(&vault, &snapshot, &state, &place.path("elsewhere"));
}

#[test]
fn a_vault_on_a_read_only_disk_is_restored_from() {
    let Some(disk) = skip::unless_available(SmallDisk::new(8)) else {
        return;
    };
    let place = Place::in_memory();
    let state = write_source(&place.source(), 1);
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(disk.path().join("vault")));
    let vault = Vault::create(store, &password()).unwrap();
    let snapshot = back_up(&vault, &place.source(), None).unwrap();
    disk.make_read_only().unwrap();
    assert_whole(&vault);
    assert_restores(&vault, &snapshot, &state, &place.path("target"));
    let error = vault.lock(LockMode::Shared).err().unwrap();
    assert!(chain(&error).contains("Read-only"), "{}", chain(&error));
    back_up(&vault, &place.source(), None).unwrap_err();
}
