//! A lock that cannot be read may be anybody's: whoever wants to be alone stays out, whoever shares goes on, and it is
//! removed once it is too old to be anybody's.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{fs, sync::Arc, time::Duration};

use common::{Place, assert_restores, assert_whole, back_up, chain, password};
use jiff::{SignedDuration, Timestamp};
use rekindle_testing::{data::Random, faults::tree_digest};
use rekindle_vault::{
    HealOptions, LockMode, PruneOptions, Snapshot, Store, Vault, VaultError,
    store::{Fault, FaultyStore, FileKind, Listed, MemoryStore, ObjectKey, StoreError},
};

#[derive(Clone, Copy, Debug)]
enum Unreadable {
    Altered,
    Cut,
    Empty,
    OfAnotherKey,
}

use Unreadable::{Altered, Cut, Empty, OfAnotherKey};

const ALL: [Unreadable; 4] = [Altered, Cut, Empty, OfAnotherKey];

/// A vault with a recovery point in it, and with something to prune.
struct Setting {
    place: Place,
    store: Arc<MemoryStore>,
    vault: Vault,
    point: Snapshot,
}

impl Setting {
    fn new() -> Self {
        let place = Place::in_memory();
        fs::create_dir(place.source()).unwrap();
        let store = Arc::new(MemoryStore::new());
        let vault = Vault::create(Arc::clone(&store) as Arc<dyn Store>, &password()).unwrap();
        let [first, point] = [1, 2].map(|seed| {
            let content = Random::new(seed).bytes(100_000);
            fs::write(place.source().join("file"), content).unwrap();
            back_up(&vault, &place.source(), None).unwrap()
        });
        vault.forget(&[first.id]).unwrap();
        Self {
            place,
            store,
            vault,
            point,
        }
    }

    /// Puts a lock of a stranger into the vault that cannot be read.
    fn leave_lock(&self, how: Unreadable) -> ObjectKey {
        let from = match how {
            OfAnotherKey => {
                let other = Arc::new(MemoryStore::new());
                let vault = Vault::create(Arc::clone(&other) as Arc<dyn Store>, &password());
                lock_of_a_stranger(&other, &vault.unwrap())
            }
            _ => lock_of_a_stranger(&self.store, &self.vault),
        };
        let (key, mut content) = from;
        match how {
            Altered => content[20] ^= 1,
            Cut => content.truncate(40),
            Empty => content.clear(),
            OfAnotherKey => {}
        }
        self.store.overwrite(&key, content);
        key
    }

    fn names(&self) -> Vec<ObjectKey> {
        let folders = ["keys", "locks", "snapshots", "index", "data"];
        let listed = folders
            .iter()
            .flat_map(|folder| self.store.list(folder).unwrap());
        listed.map(|listed| listed.key).collect()
    }

    fn has(&self, key: &ObjectKey) -> bool {
        self.store.read(key).is_ok()
    }
}

/// The name and content of a lock that is gone again, so that no process of ours is known to hold it.
fn lock_of_a_stranger(store: &MemoryStore, vault: &Vault) -> (ObjectKey, Vec<u8>) {
    let lock = vault.lock(LockMode::Exclusive).unwrap();
    let key = store.list("locks").unwrap().remove(0).key;
    let content = store.read(&key).unwrap();
    lock.release().unwrap();
    (key, content)
}

fn impatient() -> PruneOptions {
    PruneOptions {
        wait: Duration::ZERO,
        ..PruneOptions::default()
    }
}

#[test]
fn whoever_wants_to_be_alone_stays_out_and_names_the_lock() {
    let setting = Setting::new();
    let (vault, point) = (&setting.vault, &setting.point);
    let second = rekindle_vault::Password::new("another password");
    let added = vault.add_key(&second).unwrap();
    for how in ALL {
        let lock = setting.leave_lock(how);
        let before = setting.names();
        let prune = impatient();
        let refusals = [
            chain(&vault.lock(LockMode::Exclusive).err().unwrap()),
            chain(&vault.prune(&prune, &Arc::default()).unwrap_err()),
            chain(&vault.forget(&[point.id]).unwrap_err()),
            chain(&vault.set_tags(point, vec!["tag".to_owned()]).unwrap_err()),
            chain(&vault.remove_key(&added, false).unwrap_err()),
            chain(&vault.heal(&[], &HealOptions::default()).unwrap_err()),
        ];
        for text in &refusals {
            assert!(text.contains(lock.as_str()), "{how:?}: {text}");
        }
        assert_eq!(setting.names(), before, "{how:?}: nothing was changed");
        setting.store.delete(&lock).unwrap();
    }
    vault.forget(&[point.id]).unwrap();
}

#[test]
fn the_refusal_says_how_the_lock_goes_away() {
    let setting = Setting::new();
    setting.leave_lock(Cut);
    let Err(VaultError::Locked(conflict)) = setting.vault.lock(LockMode::Exclusive) else {
        panic!("it is refused as a lock of anybody is");
    };
    let hint = conflict.unlock_hint().unwrap();
    assert!(hint.contains("rekindle vault unlock"), "{hint}");
    let prune = setting.vault.prune(&impatient(), &Arc::default());
    assert_eq!(prune.unwrap_err().hint().unwrap(), hint);
}

#[test]
fn whoever_shares_goes_on() {
    let setting = Setting::new();
    let (vault, place) = (&setting.vault, &setting.place);
    let state = tree_digest(&place.source()).unwrap();
    for how in ALL {
        let lock = setting.leave_lock(how);
        let point = back_up(vault, &place.source(), None).unwrap();
        let target = place.path(&format!("{how:?}"));
        assert_restores(vault, &point, &state, &target);
        assert_whole(vault);
        assert!(setting.has(&lock), "{how:?}: it is nobody's to remove");
        setting.store.delete(&lock).unwrap();
    }
}

#[test]
fn an_unreadable_lock_is_removed_when_it_is_old_and_not_before() {
    let setting = Setting::new();
    for how in ALL {
        let lock = setting.leave_lock(how);
        let young = SignedDuration::from_mins(25);
        setting.store.make_older(&lock, young);
        assert!(setting.vault.unlock_stale().unwrap().is_empty(), "{how:?}");
        assert!(setting.has(&lock) && setting.vault.lock(LockMode::Exclusive).is_err());

        setting
            .store
            .make_older(&lock, SignedDuration::from_mins(6));
        let removed = setting.vault.unlock_stale().unwrap();
        assert_eq!(removed.len(), 1, "{how:?}");
        assert!(removed[0].info().is_none());
        assert_eq!(ObjectKey::of(FileKind::Lock, &removed[0].id), lock);
        assert!(setting.store.list("locks").unwrap().is_empty(), "{how:?}");
        setting.vault.lock(LockMode::Exclusive).unwrap();
    }
}

#[test]
fn the_age_is_told_by_the_stores_clock_alone() {
    let setting = Setting::new();
    let lock = setting.leave_lock(Cut);
    let slow = Arc::new(Slow(Arc::clone(&setting.store)));
    let vault = setting.vault.through(slow);
    assert!(vault.unlock_stale().unwrap().is_empty());
    assert!(setting.has(&lock));
}

/// A store whose clock is an hour behind that of this machine: held against ours, all that it has would look old.
struct Slow(Arc<MemoryStore>);

impl Store for Slow {
    fn location(&self) -> String {
        self.0.location()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.0.read(key)
    }

    fn read_range(&self, key: &ObjectKey, at: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.0.read_range(key, at, buffer)
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.0.create(key, content)
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.0.replace(key, content)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.0.delete(key)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.0.list(folder)
    }

    fn written_at(&self, key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        let behind = SignedDuration::from_hours(1);
        Ok(self.0.written_at(key)?.map(|time| time - behind))
    }
}

#[test]
fn a_lock_that_a_process_of_ours_holds_is_not_removed_however_old_it_looks() {
    let setting = Setting::new();
    let held = setting.vault.lock(LockMode::Shared).unwrap();
    let key = setting.store.list("locks").unwrap().remove(0).key;
    setting.store.overwrite(&key, Vec::new());
    setting
        .store
        .make_older(&key, SignedDuration::from_hours(2));
    assert!(setting.vault.unlock_stale().unwrap().is_empty());
    assert!(setting.vault.lock(LockMode::Exclusive).is_err());
    drop(held);
    setting.vault.lock(LockMode::Exclusive).unwrap();
}

#[test]
fn a_store_that_fails_at_any_moment_of_an_unlock_loses_no_young_lock() {
    let setting = Setting::new();
    let young = setting.leave_lock(Altered);
    for fault in [
        Fault::Refused(std::io::ErrorKind::PermissionDenied),
        Fault::LostAcknowledgement,
    ] {
        for at in 0.. {
            let store = Arc::clone(&setting.store);
            let faulty = Arc::new(FaultyStore::failing_once(store, at, fault));
            let vault = setting.vault.through(Arc::clone(&faulty) as Arc<dyn Store>);
            let outcome = vault.unlock_stale();
            assert!(setting.has(&young), "{fault:?} at {at}");
            if faulty.operations() <= at {
                assert!(outcome.unwrap().is_empty());
                break;
            }
            assert!(outcome.is_err(), "{fault:?} at {at}");
            // What the fault kept us from removing.
            setting.vault.unlock_stale().unwrap();
        }
    }
}
