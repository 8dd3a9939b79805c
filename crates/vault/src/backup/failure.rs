//! The first failure of a backup, which ends it.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{error::VaultError, path::TreePath};

/// Why a backup was not committed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The vault did not take it.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A file could not be read.
    #[error("read `{source_path}` for {path}")]
    Read {
        /// Where it would lie in the recovery point.
        path: TreePath,
        /// The file.
        source_path: String,
        /// Why.
        source: io::Error,
    },
    /// A file was truncated and grew again, three times, while it was being read.
    #[error("`{source_path}` keeps changing its length while it is read")]
    Unsteady {
        /// The file.
        source_path: String,
    },
    /// A stream was given up before its end.
    #[error("{0} was given up before its end")]
    Unfinished(TreePath),
    /// A path that cannot be in a recovery point.
    #[error(transparent)]
    BadPath(#[from] crate::path::BadPath),
    /// Two entries of one path, or a file where a directory is needed.
    #[error("{0} is in the recovery point twice")]
    Duplicate(TreePath),
    /// It was asked for something after its end.
    #[error("the backup has ended")]
    Ended,
    /// A thread of ours ended by a mistake of ours.
    #[error("a worker thread panicked; this is a bug")]
    Panicked,
    /// The backup failed before; the first error has been told already.
    #[error("the backup has failed already")]
    Failed,
}

/// Where threads leave the first error and look whether there is one.
#[derive(Default)]
pub(crate) struct Failure {
    happened: AtomicBool,
    first: Mutex<Option<BackupError>>,
}

impl Failure {
    pub fn has_happened(&self) -> bool {
        self.happened.load(Ordering::Acquire)
    }

    /// Keeps the first error; later ones mostly follow from it and are only logged.
    pub fn set(&self, error: BackupError) {
        let mut first = self
            .first
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.happened.swap(true, Ordering::AcqRel) {
            tracing::debug!(%error, "another error after the first");
        } else {
            *first = Some(error);
        }
    }

    /// The first error, once; [`BackupError::Failed`] when it has been taken.
    pub fn check(&self) -> Result<(), BackupError> {
        if !self.has_happened() {
            return Ok(());
        }
        let mut first = self
            .first
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Err(first.take().unwrap_or(BackupError::Failed))
    }
}
