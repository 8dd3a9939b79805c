//! Captures datasets into a vault, and knows how each kind comes back.
//!
//! Start at [`Dataset`]: one implementation per kind, made from the configuration by
//! [`dataset_of`]. What a capture learnt is its [`DatasetRecord`], which is stored with the data.
//!
//! Absent on purpose: recovery points as a whole, schedules, proofs.

mod chunking;
mod error;
pub mod postgres;
mod record;

use jiff::Timestamp;
use rekindle_stack as stack;
use rekindle_vault::{AddedBytes, Backup, Progress, TreePath};

pub use error::{CaptureError, dump_hint, vault_hint, with_causes};
pub use record::DatasetRecord;

/// What a capture is told.
pub struct CaptureContext<'a> {
    /// Where the dataset goes in the recovery point: `/<service>/<kind>`.
    pub at: TreePath,
    /// What is written into labels and logs of the captured server.
    pub label: String,
    /// What the parent point says of the same dataset.
    pub previous: Option<&'a DatasetRecord>,
    /// Watched by whoever shows progress.
    pub progress: &'a Progress,
}

/// State of a service that can be captured.
pub trait Dataset {
    /// The kind, as in `rekindle.yaml` and in the paths of a point.
    fn kind(&self) -> &'static str;

    /// What will be captured, in a few words for people, without looking at the service.
    fn describe(&self) -> String;

    /// Captures the dataset into a running backup, all of it or not at all: after an error the
    /// backup must be given up. Returns when everything is read; the vault may still be storing.
    ///
    /// # Errors
    /// [`CaptureError`], whose source names what and where.
    fn capture(
        &self,
        backup: &mut Backup,
        context: &CaptureContext<'_>,
    ) -> Result<Captured, CaptureError>;
}

/// A captured dataset.
#[derive(Debug)]
pub struct Captured {
    /// What there is to know of it.
    pub record: DatasetRecord,
    /// What a person should know, though it is no error.
    pub warnings: Vec<String>,
    /// What was stored of files that say nothing of how much the data changed, as far as that can be
    /// told: WAL segments, whose unused end is whatever an older segment held.
    pub beside: AddedBytes,
}

/// The implementation for a dataset of the configuration; `None` for a kind that this version
/// cannot capture.
///
/// # Errors
/// If a secret cannot be read or a URL does not parse.
pub fn dataset_of(dataset: &stack::Dataset) -> Result<Option<Box<dyn Dataset>>, CaptureError> {
    match dataset {
        stack::Dataset::Postgres(settings) => Ok(Some(Box::new(
            postgres::PostgresCluster::from_settings(settings)?,
        ))),
        _ => Ok(None),
    }
}

/// Seconds of a moment since 1970, for entries that have no time of their own.
pub(crate) fn entry_time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or_default()
}
