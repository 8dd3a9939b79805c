//! The WAL archive keeps what it is given, tells damage from absence, and never replaces.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::sync::Arc;

use common::{Place, password};
use rekindle_testing::data::Random;
use rekindle_vault::{
    Store, Vault, WalArchive, WalArchiveError, WalEffort, WalFile, WalPut,
    store::{MemoryStore, ObjectKey},
};

const SYSTEM: u64 = 7_300_000_000_000_000_001;

fn file(name: &str) -> WalFile {
    WalFile::named(SYSTEM, name).unwrap()
}

fn segment(number: u32) -> WalFile {
    file(&format!("0000000100000000{number:08X}"))
}

/// Half noise, half zeros, as a segment is that was switched early.
fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut content = Random::new(seed).bytes(bytes / 2);
    content.resize(bytes, 0);
    content
}

fn in_memory() -> (Arc<MemoryStore>, WalArchive) {
    let store = Arc::new(MemoryStore::new());
    let vault = Vault::create(Arc::clone(&store) as Arc<dyn Store>, &password()).unwrap();
    (store, vault.wal_archive().unwrap())
}

fn object_of(file: &WalFile) -> ObjectKey {
    let (system, timeline, name) = (file.system, file.timeline, &file.name);
    let text = format!("rekindle/wal/{system}/{timeline:08X}/{name}.zst.age");
    ObjectKey::parse(&text).unwrap()
}

fn put(archive: &WalArchive, file: &WalFile, plain: &[u8]) -> Result<WalPut, WalArchiveError> {
    archive.put(file, plain, WalEffort::Fast)
}

#[test]
fn what_was_archived_comes_back_and_is_listed() {
    let place = Place::new();
    let archive = place.create().wal_archive().unwrap();
    let mut expected = Vec::new();
    for (number, effort) in [WalEffort::Fastest, WalEffort::Fast, WalEffort::Default]
        .into_iter()
        .enumerate()
    {
        let file = segment(number as u32);
        let plain = content(number as u64, 1 << 20);
        assert_eq!(archive.put(&file, &plain, effort).unwrap(), WalPut::Stored);
        expected.push((file, plain));
    }
    let history = file("00000002.history");
    put(&archive, &history, b"1\t0/3000000\tno recovery target\n").unwrap();
    // Another process sees the same.
    let archive = place.open().wal_archive().unwrap();
    for (file, plain) in &expected {
        assert!(archive.get(file).unwrap().unwrap() == *plain, "{file}");
    }
    assert_eq!(archive.get(&segment(9)).unwrap(), None);
    let listed = archive.list(SYSTEM).unwrap();
    let names: Vec<_> = listed.iter().map(|listed| &listed.file).collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(file, _)| file)
        .chain([&history])
        .collect();
    assert_eq!(names, expected);
    assert!(listed.iter().all(|listed| listed.stored_bytes > 200));
    assert_eq!(archive.list(SYSTEM + 1).unwrap(), []);
    assert_eq!(archive.systems().unwrap(), [SYSTEM]);
}

#[test]
fn a_name_is_given_away_once() {
    let (store, archive) = in_memory();
    let (name, plain) = (segment(3), content(1, 100_000));
    put(&archive, &name, &plain).unwrap();
    let stored = store.read(&object_of(&name)).unwrap();
    assert_eq!(put(&archive, &name, &plain).unwrap(), WalPut::AlreadyThere);
    let mut changed = plain.clone();
    changed[99_999] ^= 1;
    for other in [&changed[..], &plain[..99_999], b""] {
        let error = put(&archive, &name, other).unwrap_err();
        assert!(matches!(error, WalArchiveError::Differs { .. }), "{error}");
        assert!(error.hint().is_some() && !error.is_retryable());
    }
    assert_eq!(store.read(&object_of(&name)).unwrap(), stored, "untouched");
}
