//! A store that is far away is asked for much at once, and for no more than memory allows.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use rekindle_testing::{data::Random, temp_dir};
use rekindle_vault::{
    BackupOptions, CopyOptions, Grace, MaxUnused, Node, Password, Progress, PruneOptions,
    RestoreOptions, Snapshot, SnapshotDraft, Store, Thoroughness, TreePath, Vault,
    store::{Distance, Listed, MemoryStore, ObjectKey, StoreError},
};

/// How many requests are under way. Each stays until as many as are wanted have come together.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    now: usize,
    most: usize,
    wanted: usize,
}

impl Gate {
    /// From now on, waits for so many.
    fn want(&self, wanted: usize) {
        let mut state = self.state.lock().unwrap();
        (state.most, state.wanted) = (0, wanted);
    }

    fn most(&self) -> usize {
        self.state.lock().unwrap().most
    }

    fn pass<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock().unwrap();
        state.now += 1;
        state.most = state.most.max(state.now);
        self.changed.notify_all();
        // One that is alone, as the root of a tree is, goes on after a while.
        let patience = Duration::from_secs(1);
        let waited = self
            .changed
            .wait_timeout_while(state, patience, |state| state.most < state.wanted);
        drop(waited.unwrap());
        // Who would be one too many has time to come.
        thread::sleep(Duration::from_millis(2));
        let done = work();
        self.state.lock().unwrap().now -= 1;
        done
    }
}

struct Watched {
    inner: MemoryStore,
    distance: Distance,
    written_packs: Gate,
    read_packs: Gate,
    read_indexes: Gate,
    removed: Gate,
}

impl Watched {
    fn read_gate(&self, key: &ObjectKey) -> Option<&Gate> {
        match key.as_str().split_once('/')? {
            ("data", _) => Some(&self.read_packs),
            ("index", _) => Some(&self.read_indexes),
            _ => None,
        }
    }
}

fn through<T>(gate: Option<&Gate>, work: impl FnOnce() -> T) -> T {
    match gate {
        Some(gate) => gate.pass(work),
        None => work(),
    }
}

impl Store for Watched {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        through(self.read_gate(key), || self.inner.read(key))
    }

    fn read_range(&self, key: &ObjectKey, at: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        through(self.read_gate(key), || {
            self.inner.read_range(key, at, buffer)
        })
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        let is_pack = key.as_str().starts_with("data/");
        through(is_pack.then_some(&self.written_packs), || {
            self.inner.create(key, content)
        })
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.inner.replace(key, content)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let is_pack = key.as_str().starts_with("data/");
        through(is_pack.then_some(&self.removed), || self.inner.delete(key))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(folder)
    }

    fn distance(&self) -> Distance {
        self.distance
    }
}

fn vault_at(distance: Distance) -> (Arc<Watched>, Vault) {
    let store = Arc::new(Watched {
        inner: MemoryStore::new(),
        distance,
        written_packs: Gate::default(),
        read_packs: Gate::default(),
        read_indexes: Gate::default(),
        removed: Gate::default(),
    });
    let password = Password::new("a password of tests");
    let vault = Vault::create(Arc::clone(&store) as Arc<dyn Store>, &password).unwrap();
    (store, vault)
}

const PACK_BYTES: usize = 50_000;

/// Files of a pack each, every one in a folder of its own.
fn back_up(vault: &Vault, seed: u64, files: usize) -> Snapshot {
    let backup = vault.start_backup(BackupOptions {
        pack_bytes: PACK_BYTES,
        ..BackupOptions::default()
    });
    let (backup, mut random) = (backup.unwrap(), Random::new(seed));
    for number in 0..files {
        let path = TreePath::new(format!("folder {number}/file")).unwrap();
        let content = random.bytes(PACK_BYTES + 1);
        backup.add_bytes(&path, Node::default(), &content).unwrap();
    }
    backup.finish(SnapshotDraft::default()).unwrap()
}

fn restore(vault: &Vault, snapshot: &Snapshot) {
    let dir = temp_dir().unwrap();
    let (target, options) = (dir.path().join("target"), RestoreOptions::default());
    let restored = vault.restore(snapshot, &TreePath::root(), &target, &options);
    assert!(restored.unwrap().left_out.is_empty());
}

fn cores() -> usize {
    thread::available_parallelism().unwrap().into()
}

#[test]
fn packs_travel_eight_at_a_time_to_a_far_store_and_two_to_a_near_one() {
    for (distance, expected) in [(Distance::Far, 8), (Distance::Near, 2)] {
        let (store, vault) = vault_at(distance);
        store.written_packs.want(expected);
        back_up(&vault, 1, 40);
        assert_eq!(store.written_packs.most(), expected, "{distance:?}");
    }
}

#[test]
fn a_far_vault_is_restored_copied_and_checked_with_many_reads_at_once() {
    let (store, vault) = vault_at(Distance::Far);
    let snapshot = back_up(&vault, 1, 64);
    let stretches = 8.max(2 * cores());

    store.read_packs.want(32);
    vault
        .check(Thoroughness::Structure, &Arc::default())
        .unwrap();
    assert_eq!(store.read_packs.most(), 32, "listings of folders");

    store.read_packs.want(8.max(cores()));
    let report = vault.check(Thoroughness::AllData, &Arc::default()).unwrap();
    assert!(report.is_whole());
    assert!(store.read_packs.most() >= 8.max(cores()), "whole packs");

    store.read_packs.want(stretches);
    restore(&vault, &snapshot);
    assert!(store.read_packs.most() >= stretches, "stretches of packs");

    let (_, other) = vault_at(Distance::Near);
    store.read_packs.want(stretches);
    let (points, progress) = ([snapshot], Arc::new(Progress::default()));
    let copied = vault.copy_snapshots_to(&other, &points, &CopyOptions::default(), &progress);
    assert_eq!(copied.unwrap().copied.len(), 1);
    assert!(store.read_packs.most() >= stretches, "a copy's");
}

#[test]
fn the_index_of_a_far_vault_is_fetched_sixteen_files_at_a_time() {
    for (distance, expected) in [(Distance::Far, 16), (Distance::Near, 4)] {
        let (store, vault) = vault_at(distance);
        (0..20).for_each(|seed| drop(back_up(&vault, seed, 1)));
        store.read_indexes.want(expected);
        assert_eq!(vault.load_index().unwrap().len(), 20 * 3);
        assert_eq!(store.read_indexes.most(), expected, "{distance:?}");
    }
}

#[test]
fn a_prune_of_a_far_vault_reads_and_removes_many_packs_at_once() {
    let (store, vault) = vault_at(Distance::Far);
    // Two files in a pack, of which one is still used.
    let options = BackupOptions {
        pack_bytes: PACK_BYTES,
        threads: Some(1),
        ..BackupOptions::default()
    };
    let backup = vault.start_backup(options).unwrap();
    let mut random = Random::new(7);
    let files: Vec<Vec<u8>> = (0..80).map(|_| random.bytes(PACK_BYTES / 2 + 1)).collect();
    for (number, content) in files.iter().enumerate() {
        let path = TreePath::new(number.to_string()).unwrap();
        backup.add_bytes(&path, Node::default(), content).unwrap();
        // One after the other, so that neighbours share a pack.
        backup.wait_for_files().unwrap();
    }
    let all = backup.finish(SnapshotDraft::default()).unwrap();
    let backup = vault.start_backup(BackupOptions::default()).unwrap();
    for (number, content) in files.iter().enumerate().step_by(2) {
        let path = TreePath::new(number.to_string()).unwrap();
        backup.add_bytes(&path, Node::default(), content).unwrap();
    }
    let half = backup.finish(SnapshotDraft::default()).unwrap();
    vault.forget(&[all.id]).unwrap();

    let readers = 8.max(cores());
    store.read_packs.want(readers);
    store.removed.want(32);
    let options = PruneOptions {
        max_unused: MaxUnused::Percent(0),
        grace: Grace::None,
        pack_bytes: PACK_BYTES,
        ..PruneOptions::default()
    };
    let report = vault.prune(&options, &Arc::default()).unwrap();
    assert!(report.repacked_bytes > 0 && report.removed_packs >= 40);
    assert!(store.read_packs.most() >= readers);
    assert_eq!(store.removed.most(), 32);
    restore(&vault, &half);
}
