//! Why a copy ended early.

use crate::{backup::BackupError, error::VaultError, vault::Vault};

/// Why a copy ended early, and on which side.
#[derive(Debug, thiserror::Error)]
pub enum CopyToError {
    /// The vault that is copied could not be read.
    #[error("read the vault at {location}")]
    Source {
        /// Where it is.
        location: String,
        /// Why.
        #[source]
        error: VaultError,
    },
    /// The vault that is to be the copy did not take it.
    #[error("write to the copy at {location}")]
    Target {
        /// Where it is.
        location: String,
        /// Why.
        #[source]
        error: VaultError,
    },
    /// A thread of ours ended by a mistake of ours.
    #[error("a copying thread panicked; this is a bug")]
    Panicked,
}

impl CopyToError {
    /// The vault that is copied failed.
    #[must_use]
    pub fn of_source(vault: &Vault, error: VaultError) -> Self {
        Self::source(vault)(error)
    }

    /// The vault that is to be the copy failed.
    #[must_use]
    pub fn of_target(vault: &Vault, error: VaultError) -> Self {
        Self::target(vault)(error)
    }

    pub(super) fn source(vault: &Vault) -> impl Fn(VaultError) -> Self + use<> {
        Self::source_at(vault.location())
    }

    pub(crate) fn source_at(location: String) -> impl Fn(VaultError) -> Self + use<> {
        move |error| Self::Source {
            location: location.clone(),
            error,
        }
    }

    pub(super) fn target(vault: &Vault) -> impl Fn(VaultError) -> Self + use<> {
        Self::target_at(vault.location())
    }

    pub(crate) fn target_at(location: String) -> impl Fn(VaultError) -> Self + use<> {
        move |error| Self::Target {
            location: location.clone(),
            error,
        }
    }

    /// What the packer says; it writes only to the target.
    pub(super) fn packing(vault: &Vault, error: BackupError) -> Self {
        match error {
            BackupError::Vault(error) => Self::target(vault)(error),
            _ => Self::Panicked,
        }
    }

    /// The vault's own error, if one of the two failed.
    #[must_use]
    pub const fn vault_error(&self) -> Option<&VaultError> {
        match self {
            Self::Source { error, .. } | Self::Target { error, .. } => Some(error),
            Self::Panicked => None,
        }
    }
}
