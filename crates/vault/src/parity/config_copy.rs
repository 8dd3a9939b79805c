//! A second copy of the vault's configuration, at `rekindle/parity/config`: the same bytes.

use super::found::FOLDER;
use crate::{
    crypto::Key,
    error::VaultError,
    id::Id,
    store::{ObjectKey, Store},
    vault::Vault,
};

impl Vault {
    /// Keeps a second copy of the configuration that this vault was opened with.
    pub(super) fn mirror_config(&self) -> Result<(), VaultError> {
        let copy = ObjectKey::below(FOLDER, "config");
        let is_same = match self.store.read(&copy).map_err(VaultError::from) {
            Ok(bytes) => Id::of(&bytes) == self.config_hash,
            Err(error) if error.is_damage_or_missing() => false,
            Err(error) => return Err(error),
        };
        if is_same {
            return Ok(());
        }
        let config = self.store.read(&ObjectKey::config())?;
        // Damaged since it was opened: then the copy is the better one.
        if Id::of(&config) == self.config_hash {
            self.store.replace(&copy, &config)?;
        }
        Ok(())
    }
}

/// The second copy of a configuration, if there is one that this key opens.
///
/// # Errors
/// As the store failed: then nobody knows whether there is one.
pub(crate) fn mirrored_config(store: &dyn Store, key: &Key) -> Result<Option<Vec<u8>>, VaultError> {
    let read = store.read(&ObjectKey::below(FOLDER, "config"));
    match read.map_err(VaultError::from) {
        Ok(bytes) if key.open_in_place(&mut bytes.clone()).is_ok() => Ok(Some(bytes)),
        Ok(_) => Ok(None),
        Err(error) if error.is_damage_or_missing() => Ok(None),
        Err(error) => Err(error),
    }
}
