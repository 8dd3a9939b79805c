//! Two updates of parity at once: whatever one of them does at any moment of the other, nothing loses protection.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;
#[path = "common/hooked.rs"]
mod hooked;

use std::{fs, sync::Arc};

use common::{Place, back_up, chain, password};
use hooked::Hooked;
use rekindle_testing::data::Random;
use rekindle_vault::{
    LockMode, ParityScheme, Store, Vault,
    store::{MemoryStore, ObjectKey},
};

fn narrow() -> ParityScheme {
    ParityScheme::new(4, 1).unwrap()
}

fn wide() -> ParityScheme {
    ParityScheme::new(4, 2).unwrap()
}

/// A vault whose parity is of the narrow scheme, but for a last backup.
struct Setting {
    vault: Vault,
    objects: Vec<(ObjectKey, Vec<u8>)>,
}

impl Setting {
    fn new() -> Self {
        let place = Place::in_memory();
        fs::create_dir(place.source()).unwrap();
        let store = Arc::new(MemoryStore::new());
        let vault = Vault::create(Arc::clone(&store) as Arc<dyn Store>, &password()).unwrap();
        for number in 0..2 {
            let content = Random::new(number).bytes(150_000);
            fs::write(place.source().join(number.to_string()), content).unwrap();
            back_up(&vault, &place.source(), None).unwrap();
            if number == 0 {
                vault.update_parity(narrow(), &Arc::default()).unwrap();
            }
        }
        let objects = objects_of(&store);
        Self { vault, objects }
    }

    /// The same vault again, as it was at first.
    fn copy(&self) -> (Arc<MemoryStore>, Vault) {
        let store = Arc::new(MemoryStore::new());
        for (key, content) in &self.objects {
            store.create(key, content).unwrap();
        }
        let vault = self.vault.through(Arc::clone(&store) as Arc<dyn Store>);
        (store, vault)
    }
}

fn objects_of(store: &MemoryStore) -> Vec<(ObjectKey, Vec<u8>)> {
    let folders = ["keys", "index", "snapshots", "data", "rekindle"];
    let listed = folders
        .iter()
        .flat_map(|folder| store.list(folder).unwrap());
    let keys = listed.map(|listed| listed.key).chain([ObjectKey::config()]);
    keys.map(|key| {
        let content = store.read(&key).unwrap();
        (key, content)
    })
    .collect()
}

/// Does `other` from beginning to end before each operation of an update by `scheme`; how many there were.
fn at_every_moment(setting: &Setting, scheme: ParityScheme, other: fn(&Vault)) -> u64 {
    for at in 0.. {
        let (store, vault) = setting.copy();
        let beside = vault.clone();
        let hooked = Hooked::before(store, at, Box::new(move || other(&beside)));
        let through = vault.through(Arc::clone(&hooked) as Arc<dyn Store>);
        let outcome = through.update_parity(scheme, &Arc::default());
        let is_over = hooked.is_left();
        if let Err(error) = outcome {
            // What it was reading was replaced: the next one goes on.
            assert!(!is_over, "{}", chain(&error));
        }
        let status = vault.parity_status().unwrap();
        assert_eq!(status.unprotected_files, 0, "at {at}: {status:?}");
        // One that was seen half made may be left so; the next update, which is alone, tidies up.
        vault.update_parity(scheme, &Arc::default()).unwrap();
        let status = vault.parity_status().unwrap();
        assert_eq!(status.unprotected_files, 0, "at {at}: {status:?}");
        assert_eq!(status.weakened_groups, 0, "at {at}: {status:?}");
        if is_over {
            return at;
        }
    }
    unreachable!()
}

#[test]
fn two_updates_by_one_scheme_take_no_protection_away() {
    let setting = Setting::new();
    let moments = at_every_moment(&setting, narrow(), |vault| {
        vault.update_parity(narrow(), &Arc::default()).unwrap();
    });
    assert!(moments > 10, "{moments}");
}

/// As where the `rekindle.yaml` of one machine was changed, and that of another was not yet.
#[test]
fn two_updates_by_different_schemes_take_no_protection_away() {
    let setting = Setting::new();
    at_every_moment(&setting, narrow(), |vault| {
        vault.update_parity(wide(), &Arc::default()).unwrap();
    });
    at_every_moment(&setting, wide(), |vault| {
        vault.update_parity(narrow(), &Arc::default()).unwrap();
    });
}

/// Two schemes at once leave more behind than is needed; an update tidies up when nobody else is at work.
#[test]
fn what_is_protected_twice_is_so_no_more_after_an_update_that_is_alone() {
    let setting = Setting::new();
    let (store, vault) = setting.copy();
    vault.update_parity(narrow(), &Arc::default()).unwrap();
    let (other_store, other) = setting.copy();
    other.update_parity(wide(), &Arc::default()).unwrap();
    let wide_ones = groups(&other_store);
    for (key, content) in &wide_ones {
        store.create(key, content).unwrap();
    }
    let beside = vault.lock(LockMode::Shared).unwrap();
    vault.update_parity(narrow(), &Arc::default()).unwrap();
    assert_eq!(vault.parity_status().unwrap().unprotected_files, 0);
    drop(beside);
    vault.update_parity(narrow(), &Arc::default()).unwrap();
    assert_eq!(vault.parity_status().unwrap().unprotected_files, 0);
    let left = groups(&store);
    assert!(wide_ones.iter().all(|wide| !left.contains(wide)));
    let again = vault.update_parity(narrow(), &Arc::default()).unwrap();
    assert!(again.is_idle(), "{again:?}");
}

fn groups(store: &MemoryStore) -> Vec<(ObjectKey, Vec<u8>)> {
    let listed = store.list("rekindle/parity/groups").unwrap();
    let with_content = |key: ObjectKey| {
        let content = store.read(&key).unwrap();
        (key, content)
    };
    listed
        .into_iter()
        .map(|listed| with_content(listed.key))
        .collect()
}
