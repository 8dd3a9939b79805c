//! The vault of the configuration.

use std::sync::Arc;

use rekindle_stack::{self as stack, SecretSource, VaultLocation};
use rekindle_vault::{Compression, Password, Store, Vault, store::LocalStore};

use crate::RecoveryError;

/// Makes the vault of the configuration.
///
/// # Errors
/// If there is one, or its place or password cannot be used.
pub fn create_vault(settings: &stack::Vault) -> Result<Vault, RecoveryError> {
    Ok(Vault::create(
        store_of(&settings.at)?,
        &password_of(&settings.password)?,
    )?)
}

/// Opens the vault of the configuration.
///
/// # Errors
/// If there is none, or its place or password cannot be used.
pub fn open_vault(settings: &stack::Vault) -> Result<Vault, RecoveryError> {
    Ok(Vault::open(
        store_of(&settings.at)?,
        &password_of(&settings.password)?,
    )?)
}

pub(crate) fn store_of(location: &VaultLocation) -> Result<Arc<dyn Store>, RecoveryError> {
    match location {
        VaultLocation::Local(path) => Ok(Arc::new(LocalStore::new(path))),
        other => Err(RecoveryError::UnsupportedLocation {
            location: other.to_string(),
        }),
    }
}

pub(crate) fn password_of(source: &SecretSource) -> Result<Password, RecoveryError> {
    let secret = source.read().map_err(RecoveryError::VaultPassword)?;
    Ok(Password::new(secret.expose()))
}

pub(crate) const fn compression_of(settings: &stack::Vault) -> Compression {
    match settings.compression {
        stack::Compression::Fast => Compression::Fast,
        stack::Compression::Max => Compression::Max,
        _ => Compression::Default,
    }
}
