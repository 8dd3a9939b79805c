//! The stores of this crate keep the promises of the trait.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod conformance;

use std::sync::Arc;

use conformance::{keeps_its_promises, key};
use rekindle_testing::temp_dir;
use rekindle_vault::{
    Store,
    store::{Fault, FaultyStore, LocalStore, MemoryStore, NewObject, StoreErrorKind},
};

#[test]
fn a_local_directory_keeps_the_promises() {
    let dir = temp_dir().unwrap();
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(dir.path().join("deep/er/vault")));
    keeps_its_promises(&store);
}

#[test]
fn memory_keeps_the_promises() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    keeps_its_promises(&store);
}

#[test]
fn a_wrapper_without_a_fault_keeps_the_promises() {
    let fault = Fault::LostAcknowledgement;
    let store: Arc<dyn Store> = Arc::new(FaultyStore::failing_once(
        MemoryStore::new(),
        u64::MAX,
        fault,
    ));
    keeps_its_promises(&store);
}

#[test]
fn one_object_that_cannot_be_written_does_not_hinder_the_others() {
    let dir = temp_dir().unwrap();
    let store = LocalStore::new(dir.path());
    store.create(&key("file"), b"").unwrap();
    let keys = ["a/1", "file/in/a/file", "a/2", "b/1"].map(key);
    let objects = keys.each_ref().map(|key| NewObject { key, content: b"x" });
    let outcomes = store.create_all(&objects);
    let worked: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(worked, [true, false, true, true], "{outcomes:?}");
    let error = outcomes[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("file/in/a/file"), "{error}");
}

#[test]
fn of_a_group_exactly_the_faulty_ones_fail() {
    for (fault, is_written) in [
        (Fault::Refused(std::io::ErrorKind::StorageFull), false),
        (Fault::LostAcknowledgement, true),
    ] {
        let store = FaultyStore::failing_once(MemoryStore::new(), 1, fault);
        let keys = ["g/0", "g/1", "g/2"].map(key);
        let objects = keys.each_ref().map(|key| NewObject { key, content: b"x" });
        let outcomes = store.create_all(&objects);
        let worked: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
        assert_eq!(worked, [true, false, true], "{outcomes:?}");
        assert_eq!(store.read(&keys[1]).is_ok(), is_written);
        assert!(store.read(&keys[2]).is_ok());
    }
}

#[test]
fn a_directory_that_is_not_there_is_not_an_empty_one() {
    let dir = temp_dir().unwrap();
    let store = LocalStore::new(dir.path().join("not mounted"));
    let error = store.list("snapshots").unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotFound);
    assert!(error.to_string().contains("not mounted"), "{error}");
}

#[test]
fn the_files_of_a_local_store_are_for_their_owner_only_and_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = temp_dir().unwrap();
    let store = LocalStore::new(dir.path());
    store.create(&key("keys/x"), b"secret").unwrap();
    let mode = |path: &str| {
        let metadata = std::fs::metadata(dir.path().join(path)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("keys"), mode("keys/x")), (0o700, 0o400));
}

#[test]
fn what_others_left_in_the_directory_is_no_object() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let dir = temp_dir().unwrap();
    let store = LocalStore::new(dir.path());
    store.create(&key("data/ab/x"), b"1").unwrap();
    let odd = dir
        .path()
        .join("data")
        .join(OsStr::from_bytes(b"not text \xff"));
    std::fs::write(odd, b"").unwrap();
    std::fs::create_dir(dir.path().join("data/cd")).unwrap();
    assert_eq!(store.list("data").unwrap().len(), 1);
}
