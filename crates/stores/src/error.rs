//! Why a store cannot be used, and what to do about it.

use std::io;

use rekindle_stack::S3CredentialsError;
use rekindle_vault::store::{StoreError, StoreErrorKind};

use crate::{cloud::object_lock::NoObjectLock, http::Refusal};

/// Why a store cannot be opened. Nothing was sent to it yet.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The access keys are not in any format we know.
    #[error("the access keys of {location}")]
    Credentials {
        /// The store.
        location: String,
        /// What is missing.
        source: S3CredentialsError,
    },
    /// A setting cannot be used.
    #[error("{location}: {reason}")]
    Setting {
        /// The store.
        location: String,
        /// Which, and why.
        reason: String,
    },
    /// A file that the settings name cannot be read.
    #[error("read {}", path.display())]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A kind of place that this version does not know.
    #[error("{location} is of a kind that this version cannot open")]
    Unknown {
        /// The place.
        location: String,
    },
}

impl OpenStoreError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Credentials { .. } => Some(
                "`credentials_file` names a file with lines AWS_ACCESS_KEY_ID=… and \
                 AWS_SECRET_ACCESS_KEY=…, or ACCESS:SECRET",
            ),
            Self::File { .. } => Some("it must exist and be readable by this user"),
            Self::Setting { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// What to do about a store's failure, where its words tell.
#[must_use]
pub fn hint_of(error: &StoreError) -> Option<&'static str> {
    if let Some(refusal) = refusal_in(&error.source) {
        return refusal.hint();
    }
    if is_about_no_locks(&error.source) {
        return Some(
            "Object Lock can only be turned on when a bucket is made: make another bucket with it, or take \
             `object_lock` out of the configuration",
        );
    }
    let said = error.source.to_string();
    if said.contains("Host key verification failed") {
        return Some("connect once by hand (`ssh HOST`) and compare the key, so that it is known");
    }
    if said.contains("Permission denied (") {
        return Some(
            "the server refuses this user's SSH keys: does `ssh -o BatchMode=yes HOST` work?",
        );
    }
    if said.contains("invalid peer certificate") {
        return Some(
            "if an authority of your own signed the store's certificate, name its file as \
             `store.ca_file`",
        );
    }
    match error.kind {
        StoreErrorKind::Denied => Some("the store refuses: are the access keys and rights right?"),
        _ => None,
    }
}

fn is_about_no_locks(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<NoObjectLock>())
}

/// The refusal of a server among the causes of `error`.
pub(crate) fn refusal_in(error: &io::Error) -> Option<&Refusal> {
    let mut cause = error.get_ref().map(|inner| inner as &dyn std::error::Error);
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref() {
            return Some(refusal);
        }
        cause = error.source();
    }
    None
}

/// The system's error among the causes of `error`, for its kind.
pub(crate) fn io_error_in<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
