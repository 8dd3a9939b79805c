//! What is kept of a far vault saves reading it, and is never needed or believed.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use common::{Place, assert_restores, back_up, check, password};
use rekindle_testing::{
    data::Random,
    faults::{cut, files_below, flip_bit, tree_digest},
};
use rekindle_vault::{
    Id, Snapshot, Store, Thoroughness, Vault,
    store::{FileKind, Listed, LocalStore, ObjectKey, StoreError},
};

/// Remembers which objects were read.
struct Recording {
    inner: LocalStore,
    reads: Mutex<Vec<String>>,
}

impl Recording {
    fn of(place: &Place) -> Arc<Self> {
        Arc::new(Self {
            inner: LocalStore::new(place.vault_dir()),
            reads: Mutex::default(),
        })
    }

    /// How often objects of this kind were read since the last call.
    fn reads(&self, kind: FileKind) -> usize {
        let mut reads = self.reads.lock().unwrap();
        let folder = format!("{}/", kind.folder());
        let before = reads.len();
        reads.retain(|key| !key.starts_with(&folder));
        before - reads.len()
    }

    fn note(&self, key: &ObjectKey) {
        self.reads.lock().unwrap().push(key.to_string());
    }
}

impl Store for Recording {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.note(key);
        self.inner.read(key)
    }
    fn read_range(&self, key: &ObjectKey, at: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.note(key);
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
        self.inner.list(folder)
    }
}

/// A vault with two points of a few files and folders.
struct World {
    place: Place,
    store: Arc<Recording>,
    points: Vec<Snapshot>,
}

fn world() -> World {
    let place = Place::new();
    for (number, folder) in ["a", "a/b", "c"].into_iter().enumerate() {
        let folder = place.source().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("x"), Random::new(number as u64).bytes(100_000)).unwrap();
    }
    let vault = place.create();
    let first = back_up(&vault, &place.source(), None).unwrap();
    fs::write(place.source().join("y"), b"second").unwrap();
    let second = back_up(&vault, &place.source(), Some(first.clone())).unwrap();
    let store = Recording::of(&place);
    World {
        place,
        store,
        points: vec![first, second],
    }
}

impl World {
    fn open(&self) -> Vault {
        let store: Arc<dyn Store> = Arc::clone(&self.store) as _;
        let vault = Vault::open(store, &password()).unwrap();
        vault.with_cache(&self.place.path("cache"))
    }

    /// Lists the points and walks into each; what a command without a cache fetches every time.
    fn look_around(&self) {
        let vault = self.open();
        let points = vault.snapshots().unwrap();
        let index = vault.load_index().unwrap();
        let found: Vec<Id> = points.iter().map(|point| point.id).collect();
        assert_eq!(found, self.points.iter().map(|p| p.id).collect::<Vec<_>>());
        for point in &points {
            let node = vault.find_node(&index, point, "source/a/b/x").unwrap();
            assert_eq!(node.unwrap().size, 100_000);
        }
    }

    fn kept(&self) -> Vec<PathBuf> {
        files_below(&self.place.path("cache")).unwrap()
    }
}

#[test]
fn a_far_vault_is_read_once() {
    let world = world();
    world.look_around();
    let kinds = [FileKind::Snapshot, FileKind::Index, FileKind::Pack];
    assert!(
        kinds
            .map(|kind| world.store.reads(kind))
            .iter()
            .all(|n| *n > 0)
    );
    world.look_around();
    assert_eq!(kinds.map(|kind| world.store.reads(kind)), [0, 0, 0]);
    for path in world.kept() {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn what_is_damaged_here_is_fetched_again() {
    let world = world();
    for damage in [
        |path: &PathBuf| flip_bit(path, 40),
        |path: &PathBuf| cut(path, 10),
    ] {
        world.look_around();
        assert!(world.kept().len() >= 5);
        for path in world.kept() {
            damage(&path).unwrap();
        }
        world.look_around();
        let expected = tree_digest(&world.place.source()).unwrap();
        let target = world.place.path("restored");
        assert_restores(&world.open(), &world.points[1], &expected, &target);
        fs::remove_dir_all(target).unwrap();
    }
}

#[test]
fn what_the_vault_has_no_more_is_not_kept_either() {
    let world = world();
    world.look_around();
    let gone = ObjectKey::of(FileKind::Snapshot, &world.points[0].id);
    world.store.inner.delete(&gone).unwrap();
    let left = world.open().snapshots().unwrap();
    assert_eq!(left.len(), 1);
    assert!(world.kept().iter().all(|path| !path.ends_with(gone.name())));
}

#[test]
fn a_check_reads_what_lies_in_the_vault() {
    let world = world();
    world.look_around();
    let points = world.place.vault_dir().join("snapshots");
    flip_bit(&points.join(world.points[0].id.to_string()), 50).unwrap();
    assert_eq!(world.open().snapshots().unwrap().len(), 2);
    assert!(!check(&world.open(), Thoroughness::Structure).is_whole());
}

#[test]
fn a_cache_that_cannot_be_written_hinders_nobody() {
    let world = world();
    fs::write(world.place.path("cache"), b"no folder").unwrap();
    world.look_around();
    world.look_around();
    assert!(world.store.reads(FileKind::Index) > 0);
}

#[test]
fn another_vault_in_the_same_place_is_another() {
    let world = world();
    world.look_around();
    fs::remove_dir_all(world.place.vault_dir()).unwrap();
    world.place.create();
    assert_eq!(world.open().snapshots().unwrap().len(), 0);
    assert!(world.open().load_index().unwrap().is_empty());
}
