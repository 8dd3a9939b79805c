//! A vault of many points and many blobs, made up: how much memory it takes to work with.
//!
//! `REKINDLE_TEST_BLOBS` and `REKINDLE_TEST_POINTS` make it as large as the largest that we promise: 50 million
//! blobs, 10,000 points. Each test is a process of its own, so that the memory of one does not hide the other's.

#![allow(clippy::print_stderr, reason = "what was measured is shown")]

use std::{
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    Password, Store, Vault,
    blob::BlobKind,
    id::Id,
    index::{StoredIndex, StoredPack},
    pack::PackedBlob,
    snapshot::StoredSnapshot,
    store::{FileKind, Listed, LocalStore, ObjectKey, StoreError},
    unpacked,
};

const BLOBS_PER_PACK: usize = 250;
const PACKS_PER_FILE: usize = 200;
const MIB: u64 = 1 << 20;

fn setting(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Bytes that this process has resident, and the most that it ever had.
fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let number = line.split_whitespace().nth(1).unwrap();
        number.parse::<u64>().unwrap() * 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// A directory whose index may be forbidden to read.
struct Guarded {
    inner: LocalStore,
    index_is_forbidden: AtomicBool,
}

impl Guarded {
    fn look_at(&self, key: &str) {
        let is_index = key.starts_with(FileKind::Index.folder());
        let forbidden = self.index_is_forbidden.load(Ordering::Relaxed);
        assert!(!(is_index && forbidden), "nobody needs the index for this");
    }
}

impl Store for Guarded {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.look_at(key.as_str());
        self.inner.read(key)
    }
    fn read_range(&self, key: &ObjectKey, at: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.inner.read_range(key, at, buffer)
    }
    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.inner.create(key, content)
    }
    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.inner.replace(key, content)
    }
    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.delete(key)
    }
    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.look_at(folder);
        self.inner.list(folder)
    }
}

struct World {
    _directory: tempfile::TempDir,
    store: Arc<Guarded>,
    vault: Vault,
}

fn world() -> World {
    let directory = tempfile::Builder::new().prefix("rk-").tempdir();
    let directory = directory.unwrap();
    let store = Arc::new(Guarded {
        inner: LocalStore::new(directory.path()),
        index_is_forbidden: AtomicBool::new(false),
    });
    let vault = Vault::create(Arc::clone(&store) as Arc<dyn Store>, &Password::new("x")).unwrap();
    World {
        _directory: directory,
        store,
        vault,
    }
}

fn id_of(number: usize) -> Id {
    Id::of(&number.to_le_bytes())
}

impl World {
    /// Writes past the store, which would make each file durable: nobody needs these afterwards.
    fn write(&self, kind: FileKind, json: &[u8]) {
        let (id, sealed) = unpacked::seal(&self.vault.key, kind, json).unwrap();
        let path = self
            ._directory
            .path()
            .join(ObjectKey::of(kind, &id).as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &sealed))
            .unwrap();
    }

    fn add_index(&self, blobs: usize) {
        let packs = blobs / BLOBS_PER_PACK;
        for first in (0..packs).step_by(PACKS_PER_FILE) {
            let some = first..packs.min(first + PACKS_PER_FILE);
            let packs = some.map(stored_pack).collect();
            let stored = StoredIndex {
                packs,
                ..StoredIndex::default()
            };
            self.write(FileKind::Index, &serde_json::to_vec(&stored).unwrap());
        }
    }

    fn add_points(&self, points: usize) {
        let first: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
        for number in 0..points {
            let time = first + SignedDuration::from_hours(number as i64);
            let json = format!(
                r#"{{"time":"{time}","tree":"{}","paths":["/db/postgres","/cache/redis","/files/files"],
                "hostname":"server-of-a-small-team","username":"root","tags":["scheduled","hourly"],
                "program_version":"rekindle 0.1.0"}}"#,
                id_of(number)
            );
            self.write(FileKind::Snapshot, json.as_bytes());
        }
    }
}

fn stored_pack(number: usize) -> StoredPack {
    let blob = |place: usize| PackedBlob {
        id: id_of(number * BLOBS_PER_PACK + place),
        kind: if place == 0 {
            BlobKind::Tree
        } else {
            BlobKind::Data
        },
        offset: place as u32 * 30_000,
        length: 30_000,
        uncompressed_length: Some(65_536),
    };
    let blobs: Vec<_> = (0..BLOBS_PER_PACK).map(blob).collect();
    StoredPack::new(Id::of(format!("pack {number}").as_bytes()), &blobs)
}

#[test]
fn many_points_are_listed_without_the_index_and_in_little_memory() {
    let points = setting("REKINDLE_TEST_POINTS", 2_000);
    let world = world();
    world.add_points(points);
    world
        .store
        .index_is_forbidden
        .store(true, Ordering::Relaxed);
    let (before, _) = memory();
    let store: Arc<dyn Store> = Arc::clone(&world.store) as _;
    let vault = Vault::open(store, &Password::new("x")).unwrap();
    let listed: Vec<StoredSnapshot> = vault
        .snapshots()
        .unwrap()
        .into_iter()
        .map(|snapshot| snapshot.stored)
        .collect();
    assert_eq!(listed.len(), points);
    assert!(listed.is_sorted_by_key(|snapshot| snapshot.time));
    let (after, _) = memory();
    let each = after.saturating_sub(before) / points as u64;
    // Opening takes 64 MiB once, for the password.
    let most = 100 * MIB / points as u64 + 4096;
    assert!(each < most, "{each} bytes for each point");
}

/// Loads an index of so many blobs and looks at it; returns what this process has resident then, and the
/// most that it ever had.
fn loaded(blobs: usize) -> (u64, u64) {
    let world = world();
    world.add_index(blobs);
    let index = world.vault.load_index().unwrap();
    assert_eq!(index.len(), blobs);
    let (after, peak) = memory();
    let number = blobs / 2 / BLOBS_PER_PACK;
    let found = index.find(BlobKind::Data, &id_of(number * BLOBS_PER_PACK + 1));
    assert_eq!(found.unwrap().pack, stored_pack(number).id);
    assert!(index.find(BlobKind::Data, &Id::of(b"nobody's")).is_none());
    (after, peak)
}

#[test]
fn the_memory_for_an_index_grows_with_its_table_and_nothing_else() {
    let most = setting("REKINDLE_TEST_BLOBS", 800_000) / BLOBS_PER_PACK * BLOBS_PER_PACK;
    // What does not grow with the vault, the files being read among it, is taken off.
    let least = (most / 4).min(200_000);
    let (small, small_peak) = loaded(least);
    let (large, large_peak) = loaded(most);
    let more = (most - least) as u64;
    let each = large.saturating_sub(small) / more;
    let each_at_most = large_peak.saturating_sub(small_peak) / more;
    eprintln!(
        "{most} blobs: {} MiB, {} MiB at most",
        large / MIB,
        large_peak / MIB
    );
    // An entry has 48. The allocator keeps what smaller tables were in, up to 32 MiB each.
    assert!(each <= 96, "{each} bytes for each blob");
    // While the table grows there may be two.
    assert!(
        each_at_most <= 120,
        "{each_at_most} bytes for each blob at most"
    );
    assert!(
        small_peak < 250 * MIB,
        "{} MiB whatever there is",
        small_peak / MIB
    );
}
