//! Files with holes: what was never written is not read, and comes back as a hole.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use common::{AT, Place, assert_whole, draft, options, restore};
use rekindle_testing::{data::Random, faults::tree_digest, skip};
use rekindle_vault::{FileSet, Snapshot, TreePath, Vault};

/// Bytes that were written, and where.
type Written<'a> = (u64, &'a [u8]);

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

fn back_up(vault: &Vault, source: &Path) -> Snapshot {
    let backup = vault.start_backup(options(None)).unwrap();
    let set = FileSet {
        source: source.to_owned(),
        at: TreePath::new(AT).unwrap(),
        leave_out: &|_, _| false,
        one_file_system: false,
    };
    let report = backup.add_file_set(&set).unwrap();
    assert_eq!(report.troubles, []);
    backup.finish(draft()).unwrap()
}

/// A file of this length in which only these pieces were written.
fn sparse_file(path: &Path, length: u64, pieces: &[Written<'_>]) -> File {
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    file.set_len(length).unwrap();
    for (offset, bytes) in pieces {
        file.write_all_at(bytes, *offset).unwrap();
    }
    file
}

/// Whether the file system keeps holes, and says where they are.
fn tells_holes(file: &File) -> bool {
    let sought = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(0));
    sought != Ok(0) && file.metadata().unwrap().blocks() * 512 < file.metadata().unwrap().len()
}

/// Bytes that this process has asked of the kernel.
fn read_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_tebibyte_of_nothing_is_neither_read_nor_written() {
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    let data = Random::new(3).bytes(MIB as usize);
    let middle = 300 * (TIB / 1024) + 12_345;
    let pieces = [(middle, &data[..]), (TIB - 3, b"end")];
    let file = sparse_file(&source.join("sparse"), TIB, &pieces);
    if !tells_holes(&file) {
        skip::record("this file system does not tell where holes are");
        return;
    }
    let vault = place.create();
    let before = read_bytes();
    let snapshot = back_up(&vault, &source);
    restore(&vault, &snapshot, &place.path("restored")).unwrap();
    let read = read_bytes() - before;
    assert!(read < 512 * MIB, "{read} bytes were read");

    let restored = File::open(place.path("restored").join(AT).join("sparse")).unwrap();
    let metadata = restored.metadata().unwrap();
    assert_eq!(metadata.len(), TIB);
    // The chunks around the data have zeros in them, which are written.
    assert!(metadata.blocks() * 512 < 64 * MIB, "holes stay holes");
    for (offset, bytes) in pieces {
        let mut found = vec![0; bytes.len()];
        restored.read_exact_at(&mut found, offset).unwrap();
        assert_eq!(found, bytes);
    }
    assert_nothing_else(&restored, &pieces);
    assert_whole(&vault);
}

/// Whatever is no hole is one of the pieces, or zeros.
fn assert_nothing_else(file: &File, pieces: &[Written<'_>]) {
    use rustix::fs::{SeekFrom, seek};
    let mut at = 0;
    while let Ok(data) = seek(file, SeekFrom::Data(at)) {
        at = seek(file, SeekFrom::Hole(data)).unwrap();
        let mut found = vec![0; usize::try_from(at - data).unwrap()];
        file.read_exact_at(&mut found, data).unwrap();
        for (offset, bytes) in pieces.iter().filter(|(offset, _)| *offset < at) {
            if let Some(within) = offset.checked_sub(data) {
                let within = usize::try_from(within).unwrap();
                found[within..within + bytes.len()].fill(0);
            }
        }
        assert!(found.iter().all(|&byte| byte == 0), "{data} to {at}");
    }
}

#[test]
fn holes_are_cut_into_the_same_chunks_as_written_zeros_and_restic_reads_them() {
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    let data = Random::new(4).bytes(5 * MIB as usize);
    let (short, long) = (&data[..1000], &data[..]);
    let files: [(&str, u64, &[Written<'_>]); 5] = [
        ("nothing but a hole", 20 * MIB + 1, &[]),
        ("data first", 14 * MIB, &[(0, long)]),
        ("data last", 20 * MIB, &[(15 * MIB, long)]),
        (
            "holes between",
            40 * MIB + 77,
            &[(9 * MIB + 1, short), (16 * MIB, long), (33 * MIB, short)],
        ),
        // Over the place where another thread goes on.
        ("over the seam", 80 * MIB, &[(64 * MIB - 500, short)]),
    ];
    for (name, length, pieces) in files {
        sparse_file(&source.join(name), length, pieces);
    }
    let vault = place.create();
    let sparse = back_up(&vault, &source);

    // The same files, written byte by byte.
    let written = place.path("written");
    fs::create_dir(&written).unwrap();
    for (name, ..) in files {
        copy_without_holes(&source.join(name), &written.join(name));
    }
    let dense = back_up(&vault, &written);
    assert_eq!(dense.stored.summary.unwrap().data_blobs, 0, "all is known");

    restore(&vault, &sparse, &place.path("by us")).unwrap();
    place
        .restic()
        .restore(&sparse.id.to_string(), &place.path("by restic"))
        .unwrap();
    let before = tree_digest(&source).unwrap();
    for by in ["by us", "by restic"] {
        let differences = before.differences(&tree_digest(&place.path(by).join(AT)).unwrap());
        assert!(differences.is_empty(), "{by}: {}", differences.join("\n"));
    }
}

fn copy_without_holes(from: &Path, to: &Path) {
    let (mut from, mut to) = (File::open(from).unwrap(), File::create(to).unwrap());
    let mut buffer = vec![0; MIB as usize];
    from.seek(SeekFrom::Start(0)).unwrap();
    loop {
        let read = from.read(&mut buffer).unwrap();
        if read == 0 {
            return;
        }
        to.write_all(&buffer[..read]).unwrap();
    }
}
