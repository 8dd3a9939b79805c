//! Wrappers are stores themselves, and hide what passes.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;
#[path = "../../vault/tests/conformance/mod.rs"]
mod conformance;

use std::{io::ErrorKind, sync::Arc, time::Duration};

use common::{assert_restores, assert_whole, back_up, make_source, password};
use conformance::{keeps_its_promises, key, kind};
use rekindle_stores::{Limited, Recording, RetryPolicy, Retrying, Store};
use rekindle_testing::temp_dir;
use rekindle_vault::{
    Vault,
    store::{Fault, FaultyStore, MemoryStore, Operation, StoreErrorKind},
};

/// Tries again at once.
fn at_once() -> RetryPolicy {
    RetryPolicy {
        first_pause: Duration::ZERO,
        longest_pause: Duration::ZERO,
        ..RetryPolicy::lasting(Duration::from_secs(60))
    }
}

#[test]
fn all_wrappers_together_keep_the_promises() {
    let recording = Recording::new(MemoryStore::new());
    let limited = Limited::new(recording, Some(u64::MAX), Some(u64::MAX));
    let store: Arc<dyn Store> = Arc::new(Retrying::new(limited, at_once()));
    keeps_its_promises(&store);
}

/// Every operation of a backup fails once in turn: before it was done, and after.
#[test]
fn a_backup_survives_one_passing_failure_anywhere() {
    let dir = temp_dir().unwrap();
    let source = dir.path().join("source");
    make_source(&source);
    let faults = [
        Fault::LostAcknowledgement,
        Fault::Refused(ErrorKind::ConnectionReset),
    ];
    for fault in faults {
        for at in 0.. {
            let faulty = Arc::new(FaultyStore::failing_once(
                MemoryStore::new(),
                u64::MAX,
                fault,
            ));
            let retrying = Retrying::new(Arc::clone(&faulty), at_once());
            let vault = Vault::create(Arc::new(retrying), &password()).unwrap();
            faulty.restart(at);
            let snapshot = back_up(&vault, &source)
                .unwrap_or_else(|error| panic!("{fault:?} at {at}: {error:?}"));
            let is_past_the_end = faulty.operations() <= at;
            assert_eq!(vault.locks().unwrap().len(), 0, "{fault:?} at {at}");
            assert_whole(&vault);
            if is_past_the_end {
                assert!(at > 10, "the backup has operations: {at}");
                assert_restores(&vault, &snapshot, &source);
                break;
            }
        }
    }
}

#[test]
fn what_does_not_pass_is_tried_once_and_what_passes_until_time_is_up() {
    for (kind_of_fault, expected) in [
        (ErrorKind::PermissionDenied, 1..=1),
        (ErrorKind::StorageFull, 1..=1),
        (ErrorKind::InvalidData, 1..=1),
        (ErrorKind::ConnectionRefused, 3..=10_000),
    ] {
        let fault = Fault::Refused(kind_of_fault);
        let faulty = Arc::new(FaultyStore::failing_from(MemoryStore::new(), 0, fault));
        let policy = RetryPolicy {
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(2),
            ..RetryPolicy::lasting(Duration::from_millis(100))
        };
        let store = Retrying::new(Arc::clone(&faulty), policy);
        assert!(store.read(&key("config")).is_err());
        let tries = faulty.operations();
        assert!(expected.contains(&tries), "{kind_of_fault:?}: {tries}");
    }
}

#[test]
fn a_name_that_another_writer_took_is_never_called_ours() {
    let inner = Arc::new(MemoryStore::new());
    inner.create(&key("wal/x"), b"theirs").unwrap();
    let fault = Fault::Refused(ErrorKind::ConnectionReset);
    let faulty = FaultyStore::failing_once(Arc::clone(&inner), 0, fault);
    let store = Retrying::new(faulty, at_once());
    let outcome = store.create(&key("wal/x"), b"ours");
    assert_eq!(kind(outcome), StoreErrorKind::AlreadyExists);
    assert_eq!(inner.read(&key("wal/x")).unwrap(), b"theirs");
}

#[test]
fn a_recording_tells_what_was_asked_and_how_much_was_moved() {
    let store = Recording::new(MemoryStore::new());
    store.create(&key("a"), &[0; 10]).unwrap();
    store.read_range(&key("a"), 2, &mut [0; 4]).unwrap();
    store.read(&key("b")).unwrap_err();
    let told: Vec<_> = store
        .operations()
        .into_iter()
        .map(|done| (done.operation, done.key, done.worked))
        .collect();
    let expected = [
        (Operation::Create, "a".to_owned(), true),
        (Operation::Read, "a".to_owned(), true),
        (Operation::Read, "b".to_owned(), false),
    ];
    assert_eq!(told, expected);
    assert_eq!((store.sent_bytes(), store.received_bytes()), (10, 4));
}
