//! Several passwords of one vault: added, removed, rotated; by us and by stock programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    fs,
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use common::{PASSWORD, Place, assert_whole, back_up, password};
use rekindle_testing::{age, restic::Restic, skip};
use rekindle_vault::{
    Password, Rotation, Store, Thoroughness, Vault, VaultError, WalArchive, WalEffort, WalFile,
    store::{Listed, LocalStore, MemoryStore, ObjectKey, Operation, StoreError},
};

const SECOND: &str = "the second: ü $HOME";

fn open(place: &Place, text: &str) -> Result<Vault, VaultError> {
    let store = Arc::new(LocalStore::new(place.vault_dir()));
    Vault::open(store, &Password::new(text))
}

fn archive_a_segment(archive: &WalArchive) {
    let file = WalFile::named(7_300_000_000_000_000_001, "000000010000000000000003").unwrap();
    archive.put(&file, b"content", WalEffort::Fast).unwrap();
}

/// The segment by age and zstd, with a password that is typed.
fn by_hand(place: &Place, key_file: &str, password: &str) -> Option<String> {
    let segment = "wal/7300000000000000001/00000001/000000010000000000000003.zst.age";
    let line = format!("age -d -i keys/{key_file} {segment} | zstd -d");
    let folder = place.path("vault/rekindle");
    skip::unless_available(age::on_a_terminal(&folder, &line, &format!("{password}\n")))
}

#[test]
fn each_password_opens_with_stock_restic_and_the_archive_with_stock_age() {
    let place = Place::new();
    let vault = place.create();
    fs::create_dir(place.source()).unwrap();
    back_up(&vault, &place.source(), None).unwrap();
    archive_a_segment(&vault.wal_archive().unwrap());
    let second = vault.add_key(&Password::new(SECOND)).unwrap();
    let Some(_) = skip::unless_available(place.restic().version()) else {
        return;
    };
    for text in [PASSWORD, SECOND] {
        Restic::new(place.vault_dir(), text).check(true).unwrap();
    }
    let Some(said) = by_hand(&place, "wal.age", PASSWORD) else {
        return;
    };
    assert!(said.contains("content"), "{said}");
    let said = by_hand(&place, &format!("wal-{second}.age"), SECOND).unwrap();
    assert!(said.contains("content"), "{said}");
}

#[test]
fn a_rotated_password_opens_everything_and_the_old_one_nothing() {
    let place = Place::new();
    let vault = place.create();
    fs::create_dir(place.source()).unwrap();
    back_up(&vault, &place.source(), None).unwrap();
    archive_a_segment(&vault.wal_archive().unwrap());
    let rotated = vault
        .begin_rotation(&Password::new(SECOND))
        .unwrap()
        .finish()
        .unwrap();
    assert_ne!(rotated.new, rotated.old);
    let error = open(&place, PASSWORD).unwrap_err();
    assert!(
        matches!(error, VaultError::WrongPassword { keys: 1, .. }),
        "{error}"
    );
    let again = open(&place, SECOND).unwrap();
    assert_whole(&again);
    archive_a_segment(&again.wal_archive().unwrap());
    // Whoever had the vault open goes on, and learns of it before he touches a key.
    vault.snapshots().unwrap();
    back_up(&vault, &place.source(), None).unwrap();
    for error in [
        vault.begin_rotation(&Password::new("third")).unwrap_err(),
        vault.remove_key(&rotated.new, false).unwrap_err(),
    ] {
        assert!(
            matches!(error, VaultError::PasswordChanged { .. }),
            "{error}"
        );
    }
    let Some(_) = skip::unless_available(place.restic().version()) else {
        return;
    };
    Restic::new(place.vault_dir(), SECOND).check(true).unwrap();
    Restic::new(place.vault_dir(), PASSWORD)
        .snapshots()
        .unwrap_err();
    let Some(said) = by_hand(&place, "wal.age", SECOND) else {
        return;
    };
    assert!(said.contains("content"), "{said}");
    let line = "age -d keys/wal.age";
    let typed = format!("{PASSWORD}\n");
    age::on_a_terminal(&place.path("vault/rekindle"), line, &typed).unwrap_err();
}

/// A store whose power goes after so many changes: the last one is done, and nobody is told.
struct PowerGoes {
    inner: Arc<dyn Store>,
    left: AtomicU64,
}

impl PowerGoes {
    fn change(
        &self,
        key: &str,
        change: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let left = self.left.load(Ordering::SeqCst);
        if left > 0 {
            self.left.store(left - 1, Ordering::SeqCst);
            change()?;
        }
        if left > 1 {
            return Ok(());
        }
        let gone = ErrorKind::BrokenPipe.into();
        Err(StoreError::new(
            Operation::Create,
            key,
            self.location(),
            gone,
        ))
    }
}

impl Store for PowerGoes {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.inner.read(key)
    }
    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        self.inner.read_range(key, offset, buffer)
    }
    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.change(key.as_str(), || self.inner.create(key, content))
    }
    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.change(key.as_str(), || self.inner.replace(key, content))
    }
    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.change(key.as_str(), || self.inner.delete(key))
    }
    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(folder)
    }
}

#[test]
fn wherever_the_power_goes_one_of_both_passwords_opens_and_rotating_again_ends_it() {
    let new = Password::new(SECOND);
    let mut steps = 0;
    for changes in 0.. {
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let first = Vault::create(Arc::clone(&inner), &password()).unwrap();
        archive_a_segment(&first.wal_archive().unwrap());
        let store = Arc::new(PowerGoes {
            inner: Arc::clone(&inner),
            left: AtomicU64::new(changes),
        });
        let vault = Vault::open(store, &password()).unwrap();
        let outcome = vault.begin_rotation(&new).and_then(Rotation::finish);
        if outcome.is_ok() {
            break;
        }
        steps += 1;
        // Its locks are abandoned.
        for listed in inner.list("locks").unwrap() {
            inner.delete(&listed.key).unwrap();
        }
        if let Ok(old) = Vault::open(Arc::clone(&inner), &password()) {
            old.begin_rotation(&new).unwrap().finish().unwrap();
        }
        let vault = Vault::open(Arc::clone(&inner), &new).unwrap();
        assert_eq!(vault.keys().unwrap().len(), 1, "{changes}");
        Vault::open(Arc::clone(&inner), &password()).unwrap_err();
        let report = common::check(&vault, Thoroughness::AllData);
        assert!(
            report.problems.is_empty(),
            "{changes}: {:?}",
            report.problems
        );
    }
    assert!(steps >= 6, "{steps}");
}

#[test]
fn the_last_key_and_the_one_in_use_stay() {
    let place = Place::new();
    let vault = place.create();
    let first = vault.keys().unwrap()[0].id;
    for even_in_use in [false, true] {
        let error = vault.remove_key(&first, even_in_use).unwrap_err();
        assert!(matches!(error, VaultError::KeyNeeded { .. }), "{error}");
    }
    let second = vault.add_key(&Password::new(SECOND)).unwrap();
    let error = vault.remove_key(&first, false).unwrap_err();
    assert!(matches!(error, VaultError::KeyNeeded { .. }), "{error}");
    let _lock = open(&place, SECOND)
        .unwrap()
        .lock(rekindle_vault::LockMode::Shared)
        .unwrap();
    let error = vault.remove_key(&second, false).unwrap_err();
    assert!(matches!(error, VaultError::Locked(_)), "{error}");
    drop(_lock);
    vault.remove_key(&first, true).unwrap();
    open(&place, PASSWORD).unwrap_err();
    open(&place, SECOND).unwrap();
}

#[test]
fn two_who_remove_each_other_leave_one() {
    let place = Place::in_memory();
    let vault = place.create();
    let first = vault.keys().unwrap()[0].id;
    let second = vault.add_key(&Password::new(SECOND)).unwrap();
    let other = open(&place, SECOND).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| vault.remove_key(&second, false));
        scope.spawn(|| other.remove_key(&first, false));
    });
    let opens = [PASSWORD, SECOND]
        .into_iter()
        .filter(|text| open(&place, text).is_ok());
    assert!(opens.count() >= 1);
}

#[test]
fn a_password_is_added_once_and_is_not_empty() {
    let place = Place::new();
    let vault = place.create();
    vault.add_key(&Password::new(SECOND)).unwrap();
    for text in [PASSWORD, SECOND] {
        let error = vault.add_key(&Password::new(text)).unwrap_err();
        assert!(matches!(error, VaultError::PasswordInUse { .. }), "{error}");
    }
    let error = vault.begin_rotation(&password()).unwrap_err();
    assert!(matches!(error, VaultError::PasswordInUse { .. }), "{error}");
    let error = vault.add_key(&Password::new("")).unwrap_err();
    assert!(matches!(error, VaultError::EmptyPassword), "{error}");
    assert_eq!(vault.keys().unwrap().len(), 2);
}

#[test]
fn a_password_that_stock_restic_added_gets_its_archive_key_when_it_is_used() {
    let place = Place::new();
    let vault = place.create();
    archive_a_segment(&vault.wal_archive().unwrap());
    let restic = place.restic();
    let Some(_) = skip::unless_available(restic.version()) else {
        return;
    };
    let file = place.path("new");
    fs::write(&file, SECOND).unwrap();
    restic
        .run(["key", "add", "--new-password-file", file.to_str().unwrap()])
        .unwrap();
    let opened = open(&place, SECOND).unwrap();
    let own = opened
        .keys()
        .unwrap()
        .into_iter()
        .find(|key| key.current)
        .unwrap();
    // The same identity, whoever wrote the key file.
    archive_a_segment(&opened.wal_archive().unwrap());
    assert_eq!(
        opened.wal_archive().unwrap().public_part(),
        vault.wal_archive().unwrap().public_part()
    );
    let Some(said) = by_hand(&place, &format!("wal-{}.age", own.id), SECOND) else {
        return;
    };
    assert!(said.contains("content"), "{said}");
}
