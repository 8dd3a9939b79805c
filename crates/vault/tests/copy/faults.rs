//! Each operation of either store fails in turn: the error is told, no half point is listed, and
//! the next run completes.

use std::io::ErrorKind;

use super::{hooked::Hooked, *};
use rekindle_testing::{faults::SmallDisk, skip};
use rekindle_vault::store::{Fault, FaultyStore, Operation};

const FAULTS: [(Fault, bool); 4] = [
    (Fault::Refused(ErrorKind::Other), false),
    (Fault::Refused(ErrorKind::TimedOut), true),
    (Fault::Refused(ErrorKind::StorageFull), false),
    (Fault::LostAcknowledgement, true),
];

fn faulty(
    inner: &Arc<dyn Store>,
    (fault, and_later): (Fault, bool),
) -> Arc<FaultyStore<Arc<dyn Store>>> {
    let inner = Arc::clone(inner);
    Arc::new(if and_later {
        FaultyStore::failing_from(inner, u64::MAX, fault)
    } else {
        FaultyStore::failing_once(inner, u64::MAX, fault)
    })
}

/// One thread, so that the operations come in one order; little, so that there are few.
fn copy_little(from: &Vault, to: &Vault) -> Result<CopyReport, CopyToError> {
    let options = CopyOptions {
        threads: Some(1),
        commit_bytes: 0,
        ..options()
    };
    from.copy_snapshots_to(to, &from.snapshots().unwrap(), &options, &Arc::default())
}

/// Takes away all that a copy made.
fn empty(store: &dyn Store) {
    for folder in ["snapshots", "index", "data", "locks"] {
        for listed in store.list(folder).unwrap() {
            store.delete(&listed.key).unwrap();
        }
    }
}

fn two_points(vault: &Vault, place: &Place) -> Vec<(Snapshot, TreeDigest)> {
    let source = place.source();
    fs::create_dir_all(&source).unwrap();
    let point = |round: u64| {
        fs::write(
            source.join(format!("{round}")),
            Random::new(round).bytes(200_000),
        )
        .unwrap();
        let snapshot = back_up(vault, &source, None).unwrap();
        (snapshot, tree_digest(&source).unwrap())
    };
    (0..2).map(point).collect()
}

#[test]
fn a_copy_survives_any_failed_operation_of_the_vault_it_goes_to() {
    let place = Place::in_memory();
    let from = place.create();
    let points = two_points(&from, &place);
    let (store, healthy) = in_memory(&other_password());
    for fault in FAULTS {
        let hindered = faulty(&store, fault);
        let to = Vault::open(Arc::clone(&hindered) as Arc<dyn Store>, &other_password()).unwrap();
        let mut failures = 0;
        for at in 0.. {
            empty(&*store);
            hindered.restart(at);
            let outcome = copy_little(&from, &to);
            let context = format!("{fault:?} at {at}");
            if let Err(error) = &outcome {
                failures += 1;
                assert!(
                    matches!(error, CopyToError::Target { .. }),
                    "{context}: {error}"
                );
                assert!(
                    chain(error).contains("made-up"),
                    "{context}: {}",
                    chain(error)
                );
            }
            assert_whole(&healthy);
            if outcome.is_ok() || at % 3 == 0 {
                copy_little(&from, &healthy).unwrap();
                assert_copied(&healthy, &points, &place);
            }
            if hindered.operations() <= at {
                break;
            }
        }
        assert!(failures > 10, "{fault:?}: {failures}");
    }
}

#[test]
fn a_copy_survives_any_failed_operation_of_the_vault_it_is_made_of() {
    let place = Place::in_memory();
    let (store, made) = in_memory(&password());
    let points = two_points(&made, &place);
    let hindered = faulty(&store, FAULTS[0]);
    let from = Vault::open(Arc::clone(&hindered) as Arc<dyn Store>, &password()).unwrap();
    let snapshots = made.snapshots().unwrap();
    let (target, to) = in_memory(&other_password());
    let mut failures = 0;
    for at in 0.. {
        empty(&*target);
        hindered.restart(at);
        let outcome = copy(&from, &to, &snapshots);
        let is_over = hindered.operations() <= at;
        hindered.restart(u64::MAX);
        match outcome {
            Ok(report) => assert!(report.is_complete(), "no answer is no damage"),
            Err(error) => {
                failures += 1;
                assert!(matches!(error, CopyToError::Source { .. }), "{error}");
                assert!(chain(&error).contains("made-up"), "{}", chain(&error));
                assert_whole(&to);
                copy(&from, &to, &snapshots).unwrap();
            }
        }
        assert_copied(&to, &points, &place);
        made.unlock_stale().unwrap();
        if is_over {
            break;
        }
    }
    assert!(failures > 8, "{failures}");
}

#[test]
fn what_was_stored_before_an_interruption_is_not_stored_again() {
    let place = Place::in_memory();
    let (store, healthy) = in_memory(&password());
    three_points(&healthy, &place.source());
    let all = healthy.stats().unwrap().blobs;
    let reads = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&reads);
    let dying = Hooked::store(&store, move |operation, key| {
        let is_data = operation == Operation::Read && key.starts_with("data/");
        let number = counted.fetch_add(u64::from(is_data), std::sync::atomic::Ordering::SeqCst);
        (is_data && number > 14).then_some(ErrorKind::ConnectionReset)
    });
    let from = Vault::open(dying, &password()).unwrap();
    let (_, to) = in_memory(&other_password());
    copy_all(&from, &to).unwrap_err();
    let there = to.stats().unwrap().blobs;
    assert!(there > 0 && there < all, "{there} of {all}");
    let report = copy_all(&healthy, &to).unwrap();
    assert_eq!(report.blobs, all - there);
    assert_whole(&to);
}

#[test]
fn a_lock_that_somebody_removed_means_that_nothing_is_committed() {
    let place = Place::in_memory();
    let from = place.create();
    two_points(&from, &place);
    let (store, healthy) = in_memory(&other_password());
    let inner = Arc::clone(&store);
    let robbed = Hooked::store(&store, move |operation, key| {
        if operation == Operation::Create && key.starts_with("index/") {
            for lock in inner.list("locks").unwrap() {
                inner.delete(&lock.key).unwrap();
            }
        }
        None
    });
    let to = Vault::open(robbed, &other_password()).unwrap();
    let error = copy_all(&from, &to).unwrap_err();
    let CopyToError::Target {
        error: VaultError::LockLost { .. },
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(healthy.snapshots().unwrap().len(), 0);
}

#[test]
fn a_full_disk_of_the_copy_is_told_and_the_next_run_completes() {
    let Some(disk) = skip::unless_available(SmallDisk::new(1)) else {
        return;
    };
    let place = Place::in_memory();
    let from = place.create();
    let points = three_points(&from, &place.source());
    let to = vault_in(disk.path().join("copy"), &other_password());
    let error = copy_all(&from, &to).unwrap_err();
    assert!(
        error.vault_error().unwrap().is_no_space(),
        "{}",
        chain(&error)
    );
    assert!(chain(&error).contains("No space left"), "{}", chain(&error));
    disk.resize(16).unwrap();
    copy_all(&from, &to).unwrap();
    assert_copied(&to, &points, &place);
}
