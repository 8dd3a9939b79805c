//! An open archive: reading, listing, removing. Writing is in `put.rs`.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{FOLDER, WalArchiveError, WalFile, WalPublic, frame, keys::WalKeys, name};
use crate::{
    age::{self, AgeError, Identity},
    id::Id,
    store::{ObjectKey, Store, StoreErrorKind},
    vault::Vault,
};

/// The WAL archive of a vault. Cheap to clone, and used from many threads.
#[derive(Clone)]
pub struct WalArchive {
    pub(super) store: Arc<dyn Store>,
    pub(super) public: Arc<WalPublic>,
    /// `None` without the vault's password.
    identities: Option<Arc<[Identity]>>,
}

/// One file of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WalListed {
    /// The file.
    pub file: WalFile,
    /// The length of its object.
    pub stored_bytes: u64,
}

impl fmt::Debug for WalArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WalArchive({})", self.store.location())
    }
}

impl Vault {
    /// The vault's WAL archive. At first use its key is written to `rekindle/keys/wal.age`, sealed
    /// by the password that the vault was opened with.
    ///
    /// # Errors
    /// As the store failed.
    pub fn wal_archive(&self) -> Result<WalArchive, WalArchiveError> {
        Ok(self.archive_of(WalKeys::load_or_export(self)?))
    }

    /// The vault's WAL archive if it has one. Changes nothing, so that it can be read where nothing
    /// may be written.
    ///
    /// # Errors
    /// As the store failed.
    pub fn existing_wal_archive(&self) -> Result<Option<WalArchive>, WalArchiveError> {
        let (keys, _) = WalKeys::load(self)?;
        let archive = self.archive_of(keys);
        Ok((!archive.systems()?.is_empty()).then_some(archive))
    }

    pub(super) fn archive_of(&self, keys: WalKeys) -> WalArchive {
        WalArchive {
            store: Arc::clone(&self.store),
            public: Arc::new(WalPublic {
                vault_id: self.config.id.clone(),
                config_hash: self.config_hash,
                recipients: keys.recipients,
            }),
            identities: Some(keys.identities.into()),
        }
    }
}

impl WalArchive {
    /// The archive as who has no password sees it: it stores and lists; reading answers
    /// [`WalArchiveError::NeedsPassword`].
    ///
    /// # Errors
    /// [`WalArchiveError::OtherVault`], [`WalArchiveError::VaultGone`], or as the store failed.
    pub fn from_public(store: Arc<dyn Store>, public: WalPublic) -> Result<Self, WalArchiveError> {
        let archive = Self {
            store,
            public: Arc::new(public),
            identities: None,
        };
        archive.ensure_vault_is_there()?;
        Ok(archive)
    }

    /// What [`WalArchive::from_public`] needs.
    #[must_use]
    pub fn public_part(&self) -> WalPublic {
        (*self.public).clone()
    }

    /// Where it is, for people.
    #[must_use]
    pub fn location(&self) -> String {
        self.store.location()
    }

    /// The content of a file, every byte of it verified; `None` if it is not in the archive.
    /// A vault that is not there, an unmounted disk say, is an error and not an empty archive.
    ///
    /// # Errors
    /// [`WalArchiveError::Damaged`], [`WalArchiveError::AnotherKey`],
    /// [`WalArchiveError::NeedsPassword`], [`WalArchiveError::VaultGone`], or as the store failed.
    pub fn get(&self, file: &WalFile) -> Result<Option<Vec<u8>>, WalArchiveError> {
        let key = file.key()?;
        let Some(frames) = self.read_frames(&key)? else {
            self.ensure_vault_is_there()?;
            return Ok(None);
        };
        let plain = frame::decompress(&frames);
        plain.map(Some).map_err(|reason| self.damaged(&key, reason))
    }

    /// The decrypted object, still compressed.
    pub(super) fn read_frames(&self, key: &ObjectKey) -> Result<Option<Vec<u8>>, WalArchiveError> {
        let Some(identities) = &self.identities else {
            return Err(WalArchiveError::NeedsPassword {
                object: key.to_string(),
                location: self.location(),
            });
        };
        let sealed = match self.store.read(key) {
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let frames = age::open(identities, sealed).map_err(|error| match error {
            AgeError::NoneFits => WalArchiveError::AnotherKey {
                object: key.to_string(),
                location: self.location(),
            },
            other => self.damaged(key, other.to_string()),
        })?;
        Ok(Some(frames))
    }

    /// All files of one cluster, sorted. Complete, or an error.
    ///
    /// # Errors
    /// [`WalArchiveError::VaultGone`], or as the store failed.
    pub fn list(&self, system: u64) -> Result<Vec<WalListed>, WalArchiveError> {
        self.list_folder(&name::system_folder(system))
    }

    /// The system identifiers of all clusters with files in the archive, sorted.
    ///
    /// # Errors
    /// As [`WalArchive::list`].
    pub fn systems(&self) -> Result<Vec<u64>, WalArchiveError> {
        let listed = self.list_folder(FOLDER)?;
        let systems: BTreeSet<_> = listed.iter().map(|listed| listed.file.system).collect();
        Ok(systems.into_iter().collect())
    }

    fn list_folder(&self, folder: &str) -> Result<Vec<WalListed>, WalArchiveError> {
        // The empty directory below an unmounted disk has no files either.
        self.ensure_vault_is_there()?;
        let mut files = Vec::new();
        for object in self.store.list(folder)? {
            match WalFile::of_key(&object.key) {
                Some(file) => files.push(WalListed {
                    file,
                    stored_bytes: object.size_bytes,
                }),
                None => tracing::debug!(object = %object.key, "no WAL file of ours"),
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Removes a file. One that is not there is removed already.
    ///
    /// # Errors
    /// [`WalArchiveError::VaultGone`], or as the store failed.
    pub fn delete(&self, file: &WalFile) -> Result<(), WalArchiveError> {
        match self.store.delete(&file.key()?) {
            Err(error) if error.kind == StoreErrorKind::NotFound => self.ensure_vault_is_there(),
            other => Ok(other?),
        }
    }

    /// That the vault is there, and the one that was opened: below an unmounted disk WAL would be
    /// kept where nobody looks for it, and in another vault it would lie under the wrong key.
    pub(super) fn ensure_vault_is_there(&self) -> Result<(), WalArchiveError> {
        let location = self.location();
        match self.store.read(&ObjectKey::config()) {
            Ok(config) if Id::of(&config) == self.public.config_hash => Ok(()),
            Ok(_) => Err(WalArchiveError::OtherVault { location }),
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                Err(WalArchiveError::VaultGone { location })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn damaged(&self, key: &ObjectKey, reason: String) -> WalArchiveError {
        WalArchiveError::Damaged {
            object: key.to_string(),
            location: self.location(),
            reason,
        }
    }
}
