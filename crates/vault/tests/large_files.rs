//! Large files come back past the page cache, by all threads at once, wherever their pieces begin and end.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{fs, os::unix::fs::MetadataExt};

use common::{AT, Place, assert_same, back_up};
use rekindle_testing::{data::Random, faults::tree_digest, skip};
use rekindle_vault::{RestoreOptions, Snapshot, TreePath, Vault};

const MIB: usize = 1 << 20;
const BLOCK: usize = 4096;

fn restore_by(threads: usize, vault: &Vault, snapshot: &Snapshot, target: &std::path::Path) {
    let options = RestoreOptions {
        threads: Some(threads),
        ..RestoreOptions::default()
    };
    vault
        .restore(snapshot, &TreePath::root(), target, &options)
        .unwrap();
}

/// Noise, noise that was there before, and zeros, each as long as it happens to be.
fn mixture(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let known = random.bytes(3 * MIB + 77);
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend(random.bytes(MIB + 13 * bytes.len() % 70_001));
        bytes.extend(&known);
        bytes.resize(bytes.len() + 5 * MIB + 1, 0);
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn a_large_file_comes_back_byte_for_byte_by_one_thread_and_by_many() {
    let place = Place::new();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("mixture"), mixture(1, 40 * MIB + 4097)).unwrap();
    for (number, length) in [
        MIB - 1,
        MIB,
        MIB + 1,
        3 * MIB - BLOCK,
        3 * MIB + BLOCK + 1,
        9 * MIB + 12_345,
    ]
    .into_iter()
    .enumerate()
    {
        let bytes = Random::new(number as u64 + 2).bytes(length);
        fs::write(source.join(format!("{length} bytes")), bytes).unwrap();
    }
    let expected = tree_digest(&source).unwrap();
    let vault = place.create();
    let snapshot = back_up(&vault, &source, None).unwrap();
    for threads in [1, 7] {
        let target = place.path(&format!("by {threads}"));
        restore_by(threads, &vault, &snapshot, &target);
        assert_same(&expected, &target.join(AT));
    }
}

/// Such zeros show only when they are read: the file had all of its blocks by then.
#[test]
fn zeros_that_are_stored_uncompressed_become_holes() {
    let place = Place::new();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    let mut bytes = Random::new(5).bytes(MIB + 1);
    bytes.resize(50 * MIB, 0);
    bytes.extend(Random::new(6).bytes(MIB));
    fs::write(source.join("file"), &bytes).unwrap();
    let (restic, text) = (place.restic(), source.to_str().unwrap());
    restic.init().unwrap();
    restic
        .run(["backup", "--compression", "off", text])
        .unwrap();
    let vault = place.open();
    let snapshot = vault.find_snapshot("latest").unwrap();
    restore_by(3, &vault, &snapshot, &place.path("restored"));
    let below = source.strip_prefix("/").unwrap();
    let restored = place.path("restored").join(below).join("file");
    assert!(fs::read(&restored).unwrap() == bytes);
    let sparse = fs::File::create(place.path("sparse")).unwrap();
    sparse.set_len(MIB as u64).unwrap();
    if sparse.metadata().unwrap().blocks() > 0 {
        skip::record("this file system has no holes");
        return;
    }
    // restic's pieces have at most 8 MiB, and two of them are partly zeros.
    let taken = fs::metadata(&restored).unwrap().blocks() * 512;
    assert!(taken < 20 * MIB as u64, "{taken} bytes on the disk");
}
