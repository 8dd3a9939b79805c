//! Restores in place: what is there is set aside, what was captured takes its place, and undo goes back.
//!
//! PostgreSQL is absent on purpose: it has servers to stop and timelines to mind, and a way of its own in `recovery`.

use std::io;

use rekindle_runtimes::RuntimeError;
use rekindle_vault::{Index, Progress, RestoreError, Snapshot, TreePath, Vault, VaultError};
use serde::{Deserialize, Serialize};

use crate::{
    CaptureError, DatasetRecord, files::FilesAside, meilisearch::MeilisearchAside,
    redis::RedisAside, s3::S3Aside, vault_hint,
};

/// A captured dataset in a recovery point.
pub struct PointSource<'a> {
    /// The vault.
    pub vault: &'a Vault,
    /// Its index.
    pub index: &'a Index,
    /// The recovery point.
    pub snapshot: &'a Snapshot,
    /// Where the dataset lies in the point: `<service>/<kind>`.
    pub at: TreePath,
    /// What the point says of it.
    pub record: &'a DatasetRecord,
    /// Only what is at or below this path, relative to the dataset; all of it if `None`.
    pub part: Option<TreePath>,
    /// Watched by whoever shows progress.
    pub progress: &'a std::sync::Arc<Progress>,
}

/// What a restore in place would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct InPlaceSteps {
    /// What would be done, in order and in words.
    pub steps: Vec<String>,
    /// What of the present state would be set aside, in words.
    pub set_aside: Vec<String>,
    /// What a person should know before.
    pub warnings: Vec<String>,
    /// Files, keys or objects that would be restored.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of the steps are done before the service must be stopped; `None` if it runs on all the time.
    #[serde(skip)]
    pub stop_after: Option<usize>,
}

/// What a restore in place did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RestoredInPlace {
    /// Files, keys or objects that were restored.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Where the former state is now, in words.
    pub set_aside: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// What a restore in place set aside: enough to bring it back, also after a crash at any moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Aside {
    /// Of files.
    Files(FilesAside),
    /// Of a Redis server.
    Redis(RedisAside),
    /// Of buckets.
    S3(S3Aside),
    /// Of a MeiliSearch server.
    Meilisearch(MeilisearchAside),
}

impl Aside {
    /// Whether the service must not run while this is taken back.
    #[must_use]
    pub fn needs_stopped_service(&self) -> bool {
        matches!(self, Self::Files(_) | Self::Redis(RedisAside::Files(_)))
    }

    /// Whether nothing that is live can have been changed yet: all that may be there is a candidate or a copy, which
    /// [`crate::Dataset::discard_aside`] removes.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        match self {
            Self::Files(files) | Self::Redis(RedisAside::Files(files)) => files.is_untouched(),
            Self::Redis(RedisAside::Live(live)) => live.is_untouched(),
            Self::S3(s3) => s3.is_untouched(),
            Self::Meilisearch(indexes) => indexes.is_untouched(),
        }
    }

    /// What was done, or may have been, where a restore did not come to its end.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Files(files) | Self::Redis(RedisAside::Files(files)) => files.in_words(),
            Self::Redis(RedisAside::Live(live)) => live.in_words(),
            Self::S3(s3) => s3.in_words(),
            Self::Meilisearch(indexes) => indexes.in_words(),
        }
    }
}

/// What was built beside the live state, whole and durable, and waits for its place.
pub trait Candidate {
    /// Takes the place of what is there, which is set aside. The service must not run. What changed since the candidate
    /// was built is set aside with the rest.
    ///
    /// # Errors
    /// [`InPlaceError`]; [`crate::Dataset::undo_in_place`] of what the journal was told last brings back what was there.
    fn swap(self: Box<Self>, journal: &mut dyn Journal) -> Result<RestoredInPlace, InPlaceError>;
}

/// Remembers what a restore in place is about to do.
pub trait Journal {
    /// Makes this durable, in the place of what was said before. To be called before the world is changed.
    ///
    /// # Errors
    /// [`InPlaceError::Journal`]; nothing must be changed then.
    fn write(&mut self, aside: &Aside) -> Result<(), InPlaceError>;
}

/// Why a dataset was not brought back in place. What was set aside is in the journal.
#[derive(Debug, thiserror::Error)]
pub enum InPlaceError {
    /// A kind that cannot.
    #[error("a {kind} dataset cannot be restored in place by this version")]
    Unsupported {
        /// Which.
        kind: &'static str,
    },
    /// Something is in the way; nothing was changed.
    #[error("{reason}")]
    Refused {
        /// What.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The journal could not be written; nothing was changed after that.
    #[error("write the journal {path}")]
    Journal {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file or directory.
    #[error("{doing}")]
    Io {
        /// What was being done, and with what.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The vault could not be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Files were not restored.
    #[error("restore the files")]
    Restore(#[from] Box<RestoreError>),
    /// The service refused or went away.
    #[error(transparent)]
    Service(#[from] Box<CaptureError>),
    /// What runs the service refused.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl InPlaceError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::Vault(error) => vault_hint(error),
            Self::Service(error) => error.hint(),
            Self::Runtime(error) => error.hint(),
            _ => None,
        }
    }
}
