//! The passwords of a vault: several at once, each with a key file of its own, and how one takes the
//! place of another.
//!
//! All key files hold the same master key. A password that was removed opens the vault no more; who
//! kept a copy of its key file, or the master key, still reads what was ever stored under it.

use std::sync::Arc;

use crate::{
    error::VaultError,
    id::Id,
    keyfile::{self, KeyInfo, Password},
    lock::LockMode,
    store::{FileKind, ObjectKey, StoreErrorKind},
    vault::Vault,
};

/// A password took the place of another one.
#[derive(Debug)]
pub struct Rotated {
    /// The vault, opened by the new password.
    pub vault: Vault,
    /// The new key.
    pub new: Id,
    /// The key that was removed.
    pub old: Id,
}

/// A new password that is proven to open the vault, while the old one still does.
#[derive(Debug)]
pub struct Rotation {
    vault: Vault,
    old: Id,
}

impl Vault {
    /// The key files, without their secrets.
    ///
    /// # Errors
    /// As the store failed; damaged key files are left out and logged.
    pub fn keys(&self) -> Result<Vec<KeyInfo>, VaultError> {
        let (keys, damaged) = keyfile::load(&*self.store)?;
        for error in damaged {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a key file was passed over"
            );
        }
        Ok(keys
            .iter()
            .map(|(id, key)| key.info(*id, *id == self.key_id))
            .collect())
    }

    /// Adds a password by which the vault opens too, and with it the WAL archive, also with stock
    /// tools.
    ///
    /// # Errors
    /// [`VaultError::EmptyPassword`]; [`VaultError::PasswordInUse`] if it opens a key already; as
    /// the store failed.
    pub fn add_key(&self, password: &Password) -> Result<Id, VaultError> {
        if password.as_str().is_empty() {
            return Err(VaultError::EmptyPassword);
        }
        if let Some(id) = self.key_of(password)? {
            return Err(VaultError::PasswordInUse { id });
        }
        let (id, content) = keyfile::new(&self.key, password, &self.host)?;
        // First, so that no password opens the vault and not its archive.
        self.export_wal_key(id, password)?;
        self.store
            .create(&ObjectKey::of(FileKind::Key, &id), &content)?;
        Ok(id)
    }

    /// The key of this id, or beginning of an id.
    ///
    /// # Errors
    /// [`VaultError::NoKey`], [`VaultError::AmbiguousKey`], or as the store failed.
    pub fn find_key(&self, wanted: &str) -> Result<KeyInfo, VaultError> {
        let wanted = wanted.to_owned();
        let mut keys = self.keys()?;
        keys.retain(|key| !wanted.is_empty() && key.id.to_string().starts_with(&wanted));
        match keys.len() {
            1 => keys.pop().ok_or(VaultError::NoKey { wanted }),
            0 => Err(VaultError::NoKey { wanted }),
            count => Err(VaultError::AmbiguousKey { wanted, count }),
        }
    }

    /// Removes a key: its password opens the vault no more. Nobody else may use the vault
    /// meanwhile, so that two who remove do not remove the last two.
    ///
    /// # Errors
    /// [`VaultError::KeyNeeded`] for the last key, and for the one in use unless `even_in_use`;
    /// [`VaultError::PasswordChanged`] if the key in use is gone; [`VaultError::Locked`]; as the
    /// store failed.
    pub fn remove_key(&self, id: &Id, even_in_use: bool) -> Result<(), VaultError> {
        let lock = self.lock(LockMode::Exclusive)?;
        let keys = self.keys()?;
        let needed = |reason: &str| VaultError::KeyNeeded {
            id: *id,
            reason: reason.to_owned(),
        };
        if !keys.iter().any(|key| key.current) {
            return Err(self.password_changed());
        }
        if !keys.iter().any(|key| key.id == *id) {
            return Err(VaultError::NoKey {
                wanted: id.to_string(),
            });
        }
        if keys.len() < 2 {
            return Err(needed("it is the last one that opens the vault"));
        }
        let in_use = *id == self.key_id;
        if in_use && !even_in_use {
            return Err(needed("the vault was opened by it"));
        }
        self.withdraw_wal_key(id)?;
        lock.ensure_held()?;
        match self.store.delete(&ObjectKey::of(FileKind::Key, id)) {
            Err(error) if error.kind != StoreErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Begins to put a password in the place of the one in use: adds it and proves that it opens the
    /// vault and the WAL archive. Both work until [`Rotation::finish`]. One that was begun before is
    /// gone on with.
    ///
    /// # Errors
    /// [`VaultError::PasswordInUse`] if it is the one in use; [`VaultError::PasswordChanged`] if the
    /// key in use is gone; as [`Vault::add_key`].
    pub fn begin_rotation(&self, password: &Password) -> Result<Rotation, VaultError> {
        if !self.keys()?.iter().any(|key| key.current) {
            return Err(self.password_changed());
        }
        let new = match self.add_key(password) {
            Err(VaultError::PasswordInUse { id }) if id != self.key_id => {
                self.export_wal_key(id, password)?;
                id
            }
            other => other?,
        };
        let vault = Self::open(Arc::clone(&self.store), password)?;
        if vault.key_id != new || vault.config.id != self.config.id {
            return Err(self.password_changed());
        }
        vault.prove_wal_key()?;
        Ok(Rotation {
            vault,
            old: self.key_id,
        })
    }

    /// The key that a password opens, whose master key is ours.
    fn key_of(&self, password: &Password) -> Result<Option<Id>, VaultError> {
        let probe = self.key.seal(b"probe")?;
        let fits = |key: &crate::crypto::Key| key.open_in_place(&mut probe.clone()).is_ok();
        match keyfile::open(&*self.store, password, fits) {
            Ok((id, key)) => Ok(fits(&key).then_some(id)),
            Err(VaultError::WrongPassword { .. } | VaultError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn password_changed(&self) -> VaultError {
        VaultError::PasswordChanged {
            location: self.location(),
        }
    }
}

impl Rotation {
    /// The vault, opened by the new password.
    #[must_use]
    pub const fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Removes the old password.
    ///
    /// # Errors
    /// As [`Vault::remove_key`]; both passwords work then.
    pub fn finish(self) -> Result<Rotated, VaultError> {
        self.vault.remove_key(&self.old, false)?;
        let new = self.vault.key_id;
        Ok(Rotated {
            vault: self.vault,
            new,
            old: self.old,
        })
    }
}
