//! Why objects were not brought back.

use rekindle_stores::s3::S3Error;
use rekindle_vault::VaultError;

use crate::{CaptureError, InPlaceError, vault_hint};

/// Why objects were not brought back.
#[derive(Debug, thiserror::Error)]
pub enum S3RestoreError {
    /// The server refused or went away.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// The vault could not be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What the point holds of an object could not be read, or is not what its list says.
    #[error("read `{path}` of the recovery point")]
    Content {
        /// Its place.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The server took an object, and has something else.
    #[error("the server has another {what} of `{key}` than was written")]
    NotKept {
        /// Content or length.
        what: &'static str,
        /// The key at the target.
        key: String,
    },
    /// A file could not be written.
    #[error("{doing} {}", path.display())]
    Write {
        /// What was being done with it.
        doing: &'static str,
        /// The file or directory.
        path: std::path::PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// It is not done; nothing was changed.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl S3RestoreError {
    pub(in crate::s3) fn refused(reason: impl Into<String>, hint: &str) -> Self {
        Self::Refused {
            reason: reason.into(),
            hint: Some(hint.to_owned()),
        }
    }

    /// Whether the point's own data cannot be read.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Content { .. } => true,
            Self::Vault(error) => error.is_damage_or_missing(),
            _ => false,
        }
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::S3(error) => error.hint().map(str::to_owned),
            Self::Vault(error) => vault_hint(error),
            Self::Content { .. } | Self::NotKept { .. } | Self::Write { .. } => None,
            Self::Refused { hint, .. } => hint.clone(),
        }
    }
}

impl From<S3RestoreError> for InPlaceError {
    fn from(error: S3RestoreError) -> Self {
        let text = error.to_string();
        match error {
            S3RestoreError::S3(error) => Self::Service(Box::new(CaptureError::S3(error))),
            S3RestoreError::Vault(error) => Self::Vault(error),
            S3RestoreError::Content { source, .. } | S3RestoreError::Write { source, .. } => {
                Self::Io {
                    doing: text,
                    source,
                }
            }
            S3RestoreError::NotKept { .. } => Self::Refused {
                reason: text,
                hint: None,
            },
            S3RestoreError::Refused { reason, hint } => Self::Refused { reason, hint },
        }
    }
}
