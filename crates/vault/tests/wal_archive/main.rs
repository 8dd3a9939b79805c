//! The WAL archive keeps what it is given, tells damage from absence, and never replaces.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod faults;
mod keys;
mod killed;

use std::{
    env, fs,
    io::{BufRead, BufReader, ErrorKind, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use common::{Place, check, password, random};
use damaged::damage;
use rekindle_testing::{data::Random, faults::SmallDisk, skip};
use rekindle_vault::{
    Password, SealedWal, Store, Thoroughness, Vault, WalArchive, WalArchiveError, WalEffort,
    WalFile, WalPublic, WalPut,
    age::{self, Identity},
    store::{Fault, FaultyStore, LocalStore, MemoryStore, ObjectKey, StoreErrorKind},
    wal_frame,
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

fn sealed(archive: &WalArchive, file: &WalFile, plain: &[u8]) -> SealedWal {
    archive.seal(file.clone(), plain, WalEffort::Fast).unwrap()
}

fn key_file() -> ObjectKey {
    ObjectKey::parse("rekindle/keys/wal.age").unwrap()
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

#[test]
fn a_group_tells_of_each_file_what_became_of_it() {
    let place = Place::new();
    let archive = place.create().wal_archive().unwrap();
    let plain = content(1, 50_000);
    put(&archive, &segment(1), &plain).unwrap();
    put(&archive, &segment(2), b"other").unwrap();
    put(&archive, &segment(3), &plain).unwrap();
    damage(
        &place.vault_dir().join(object_of(&segment(3)).as_str()),
        5000,
    );
    let mut group: Vec<_> = (0..6)
        .map(|n| sealed(&archive, &segment(n), &plain))
        .collect();
    group.push(sealed(&archive, &segment(5), &plain));
    group.push(sealed(&archive, &file("00000002.history"), b""));
    let outcomes = archive.put_all(group);
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(WalPut::Stored) => "stored",
            Ok(WalPut::AlreadyThere) => "there",
            Err(WalArchiveError::Differs { .. }) => "differs",
            Err(WalArchiveError::Damaged { .. }) => "damaged",
            Err(error) => panic!("{error}"),
        })
        .collect();
    let expected = [
        "stored", "there", "differs", "damaged", "stored", "stored", "there", "stored",
    ];
    assert_eq!(told, expected);
    for number in [0, 1, 4, 5] {
        assert_eq!(archive.get(&segment(number)).unwrap().unwrap(), plain);
    }
    assert_eq!(archive.get(&segment(2)).unwrap().unwrap(), b"other");
    assert_eq!(
        archive.get(&file("00000002.history")).unwrap().unwrap(),
        b""
    );
}

#[test]
fn a_partial_is_replaced_and_nothing_else_is() {
    let (_, archive) = in_memory();
    let partial = file("000000010000000000000004.partial");
    let frames: Vec<_> = (0..5)
        .map(|n| wal_frame(&content(n, 30_000), WalEffort::Fast))
        .collect();
    for count in [1, 3, 5] {
        let slices: Vec<&[u8]> = frames[..count].iter().map(|frame| &frame[..]).collect();
        archive.replace_partial(&partial, &slices).unwrap();
        let expected: Vec<u8> = (0..count as u64).flat_map(|n| content(n, 30_000)).collect();
        assert!(archive.get(&partial).unwrap().unwrap() == expected);
    }
    assert_eq!(archive.list(SYSTEM).unwrap().len(), 1);
    let error = archive
        .replace_partial(&segment(4), &[&frames[0]])
        .unwrap_err();
    assert!(
        matches!(error, WalArchiveError::NotPartial { .. }),
        "{error}"
    );
    assert_eq!(archive.get(&segment(4)).unwrap(), None);
}

#[test]
fn names_that_no_server_writes_are_refused_everywhere() {
    let (_, archive) = in_memory();
    let bad = WalFile {
        system: SYSTEM,
        timeline: 1,
        name: "../../../config".to_owned(),
    };
    let outcomes = [
        put(&archive, &bad, b"").err(),
        archive.get(&bad).err(),
        archive.delete(&bad).err(),
        archive.replace_partial(&bad, &[]).err(),
        archive.seal(bad.clone(), b"", WalEffort::Fast).err(),
    ];
    for error in outcomes {
        assert!(
            matches!(error, Some(WalArchiveError::BadName(_))),
            "{error:?}"
        );
    }
}

#[test]
fn what_is_removed_is_gone_and_its_name_is_free() {
    let (_, archive) = in_memory();
    put(&archive, &segment(1), b"one").unwrap();
    archive.delete(&segment(1)).unwrap();
    archive.delete(&segment(1)).unwrap();
    assert_eq!(archive.get(&segment(1)).unwrap(), None);
    assert_eq!(put(&archive, &segment(1), b"two").unwrap(), WalPut::Stored);
}

#[test]
fn what_others_left_in_the_folders_is_not_listed() {
    let place = Place::new();
    let archive = place.create().wal_archive().unwrap();
    put(&archive, &segment(1), b"x").unwrap();
    let wal = place.vault_dir().join("rekindle/wal");
    let folder = wal.join(format!("{SYSTEM}/00000001"));
    for odd in [
        folder.join("000000010000000000000002.zst.age-tmp-0123456789ab"),
        folder.join("000000010000000000000002"),
        folder.join("000000020000000000000002.zst.age"),
        folder.join(".nfs0001"),
        wal.join("README"),
        wal.join("not a number/00000001/000000010000000000000002.zst.age"),
    ] {
        fs::create_dir_all(odd.parent().unwrap()).unwrap();
        fs::write(odd, "odd").unwrap();
    }
    let listed = archive.list(SYSTEM).unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(archive.systems().unwrap(), [SYSTEM]);
    // A check tells of them, and of no loss.
    let report = check(&place.open(), Thoroughness::AllData);
    assert!(
        report.is_whole() && report.problems.len() == 6,
        "{:?}",
        report.problems
    );
}

#[test]
fn stock_restic_works_beside_the_archive() {
    let place = Place::new();
    let vault = place.create();
    let archive = vault.wal_archive().unwrap();
    put(&archive, &segment(1), b"x").unwrap();
    let restic = place.restic();
    if skip::unless_available(restic.version()).is_none() {
        return;
    }
    let source = place.source();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), Random::new(1).bytes(100_000)).unwrap();
    let snapshot = restic.backup(&[&source]).unwrap();
    restic.check(true).unwrap();
    restic.forget(&snapshot).unwrap();
    restic.prune().unwrap();
    let said = restic.check(true).unwrap();
    assert!(said.contains("no errors were found"), "{said}");
    assert_eq!(archive.get(&segment(1)).unwrap().unwrap(), b"x");
    assert_eq!(archive.list(SYSTEM).unwrap().len(), 1);
}
