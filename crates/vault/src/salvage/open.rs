//! Opens what is left of a vault.

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;

use super::Salvage;
use crate::{
    crypto::Key,
    error::VaultError,
    id::Id,
    index::Index,
    keyfile::{self, Password},
    lock::LockMode,
    parity::mirrored_config,
    progress::Progress,
    reindex::pack_sizes,
    set_aside::SetAside,
    store::{FileKind, ObjectKey, Store, StoreErrorKind},
    vault::{Config, Vault},
};

/// Headers read at a time.
const BATCH: usize = 256;
/// Files of each kind by which a key is tried.
const TRIED: usize = 4;

impl Salvage {
    /// Opens what is left, by any of its passwords. The configuration need not be there: it holds no secret that reading
    /// needs. Without a key file nothing can be read by anybody.
    ///
    /// # Errors
    /// [`VaultError::WrongPassword`]; [`VaultError::Damaged`] if the key files are gone or damaged; [`VaultError::NoVault`]
    /// if there is nothing of a vault; or as the store failed.
    pub fn open(
        store: Arc<dyn Store>,
        password: &Password,
        progress: &Arc<Progress>,
    ) -> Result<Self, VaultError> {
        let mut problems = Vec::new();
        let vault = match Vault::open(Arc::clone(&store), password) {
            Err(error) if is_about_config(&error) => {
                problems.push(error.in_full());
                open_by_other_files(store, password)?
            }
            other => other?,
        };
        let index = index_of_what_is_there(&vault, progress, &mut problems)?;
        Ok(Self {
            vault,
            index,
            problems,
        })
    }
}

fn is_about_config(error: &VaultError) -> bool {
    matches!(
        error,
        VaultError::Damaged {
            kind: FileKind::Config,
            ..
        }
    )
}

/// Opens a vault without its configuration: the key is the one that opens the other files.
fn open_by_other_files(store: Arc<dyn Store>, password: &Password) -> Result<Vault, VaultError> {
    let mut samples = Vec::new();
    for kind in [FileKind::Index, FileKind::Snapshot, FileKind::Lock] {
        let listed = store.list(kind.folder()).unwrap_or_default();
        let bytes = listed.iter().take(TRIED).filter_map(|object| {
            let bytes = store.read(&object.key).ok()?;
            // A damaged one says nothing about any key.
            (object.key.name().parse() == Ok(Id::of(&bytes))).then_some(bytes)
        });
        samples.extend(bytes);
    }
    let fits = |key: &Key| {
        let mut opened = samples.iter().map(|sample| {
            let mut sample = sample.clone();
            key.open_in_place(&mut sample).is_ok()
        });
        samples.is_empty() || opened.any(|opened| opened)
    };
    let opened = keyfile::open(&*store, password, fits)?;
    Ok(Vault::without_config(store, password, opened))
}

/// What the packs say of themselves, and of those that do not, what the old index knows.
pub(crate) fn index_of_what_is_there(
    vault: &Vault,
    progress: &Progress,
    problems: &mut Vec<String>,
) -> Result<Index, VaultError> {
    let (old, failed) = vault.load_index_files()?;
    for error in failed {
        if !error.is_damage_or_missing() {
            return Err(error);
        }
        problems.push(error.in_full());
    }
    let index = Index::default();
    let sizes: Vec<_> = pack_sizes(vault)?.into_iter().collect();
    progress.expect_bytes(sizes.iter().map(|(_, size)| size).sum());
    let mut silent = HashSet::new();
    for batch in sizes.chunks(BATCH) {
        let headers = vault.each(batch, |(id, size)| vault.read_pack_header(id, *size));
        for ((id, size), header) in batch.iter().zip(headers) {
            progress.did_bytes(*size);
            match header {
                Ok(blobs) => index.add_pack(*id, &blobs),
                Err(error) if error.is_damage_or_missing() => {
                    silent.insert(*id);
                    let text = error.in_full();
                    problems.push(format!("{text}: {size} bytes that the old index may know"));
                }
                Err(error) => return Err(error),
            }
        }
    }
    for (id, blobs) in old.blobs_in(&silent) {
        index.add_pack(id, &blobs);
    }
    Ok(index)
}

/// How a lost configuration was made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigRemade {
    /// It could be read: nothing was done.
    WasWhole,
    /// The same bytes were in a copy of the files, or beside the vault's parity.
    Same,
    /// A new one was written, cutting files as a copy of the vault does. The vault has another id now.
    LikeCopy,
    /// A new one was written. The vault has another id now, and files that are backed up next are cut at other places
    /// than before, so that they share less with what is stored.
    New,
}

impl Vault {
    /// Makes the configuration anew if it is gone or damaged: from one of these vaults if one has it. Nothing that is
    /// stored depends on it. A damaged one is set aside.
    ///
    /// # Errors
    /// As [`Salvage::open`]; [`VaultError::Locked`].
    pub fn remake_config(
        store: Arc<dyn Store>,
        password: &Password,
        sources: &[Self],
    ) -> Result<ConfigRemade, VaultError> {
        match Self::open(Arc::clone(&store), password) {
            Err(error) if is_about_config(&error) => {}
            other => return other.map(|_| ConfigRemade::WasWhole),
        }
        let vault = open_by_other_files(store, password)?;
        let lock = vault.lock(LockMode::Exclusive)?;
        // Another one would make the vault a stranger to its copies, so a single bad answer of the store is no reason,
        // nor is the time in which somebody else did the same.
        if vault.has_config()? {
            return Ok(ConfigRemade::WasWhole);
        }
        let (sealed, how) = vault.config_from(sources)?;
        let aside = SetAside::at(Timestamp::now());
        match aside.copy(&*vault.store, &ObjectKey::config()) {
            Err(error) if !error.is_damage_or_missing() => return Err(error),
            _ => {}
        }
        lock.ensure_held()?;
        vault.store.replace(&ObjectKey::config(), &sealed)?;
        Ok(how)
    }

    /// Whether there is a configuration that this key opens.
    fn has_config(&self) -> Result<bool, VaultError> {
        match self
            .store
            .read(&ObjectKey::config())
            .map_err(VaultError::from)
        {
            Ok(mut sealed) => {
                let plain = self.key.open_in_place(&mut sealed);
                Ok(plain.is_ok_and(|plain| serde_json::from_slice::<Config>(plain).is_ok()))
            }
            Err(error) if error.is_damage_or_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn config_from(&self, sources: &[Self]) -> Result<(Vec<u8>, ConfigRemade), VaultError> {
        if let Some(bytes) = mirrored_config(&*self.store, &self.key)? {
            return Ok((bytes, ConfigRemade::Same));
        }
        for source in sources {
            match source.store.read(&ObjectKey::config()) {
                Ok(bytes) if self.key.open_in_place(&mut bytes.clone()).is_ok() => {
                    return Ok((bytes, ConfigRemade::Same));
                }
                Ok(_) => {}
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        let polynomial = sources
            .first()
            .map(|source| source.config.chunker_polynomial.clone());
        let how = if polynomial.is_some() {
            ConfigRemade::LikeCopy
        } else {
            ConfigRemade::New
        };
        let config = Config::make(polynomial)?;
        Ok((self.key.seal(&serde_json::to_vec(&config)?)?, how))
    }
}
