//! Captures datasets into a vault, and knows how each kind comes back.
//!
//! Start at [`Dataset`]: one implementation per kind, made from the configuration by
//! [`dataset_of`]. What a capture learnt is its [`DatasetRecord`], which is stored with the data.
//!
//! Absent on purpose: recovery points as a whole, schedules, proofs.

mod chunking;
mod error;
pub mod files;
mod in_place;
pub mod meilisearch;
pub mod postgres;
mod record;
pub mod redis;
pub mod s3;
mod surroundings;

use jiff::Timestamp;
use rekindle_postgres::dump::Tools;
use rekindle_stack as stack;
use rekindle_vault::{AddedBytes, Backup, Progress, TreePath};

pub use error::{CaptureError, dump_hint, vault_hint, with_causes};
pub use in_place::{
    Aside, Candidate, InPlaceError, InPlaceSteps, Journal, PointSource, RestoredInPlace,
};
pub use record::DatasetRecord;
pub use surroundings::Surroundings;

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

/// State of a service that can be captured and brought back.
pub trait Dataset: Send + Sync {
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
        backup: &Backup,
        context: &CaptureContext<'_>,
    ) -> Result<Captured, CaptureError>;

    /// The dataset as it is restored in place to a moment, which need not be that of its capture.
    ///
    /// # Errors
    /// [`InPlaceError::Refused`] for a kind that is known as it was captured only.
    fn at_moment(self: Box<Self>, at: Timestamp) -> Result<Box<dyn Dataset>, InPlaceError> {
        Err(InPlaceError::Refused {
            reason: format!(
                "a {} dataset is known as it was captured only, and not as it was at {at}",
                self.kind()
            ),
            hint: Some(
                "`rekindle points` lists the points; `@TIME` in the place of POINT names the newest one that is not after a time"
                    .to_owned(),
            ),
        })
    }

    /// What a restore in place would do. Changes nothing.
    ///
    /// # Errors
    /// [`InPlaceError::Refused`] if it would not be done.
    fn plan_in_place(&self, source: &PointSource<'_>) -> Result<InPlaceSteps, InPlaceError> {
        let _ = source;
        Err(InPlaceError::Unsupported { kind: self.kind() })
    }

    /// Builds what shall take the place of what is there, beside it and while the service runs on. The service must rest
    /// for [`Candidate::swap`] alone. `None` if there is nothing to build: [`Dataset::restore_in_place`] does all of it
    /// while the service runs.
    ///
    /// The journal knows of a candidate before there is one, so whatever ends this early, [`Dataset::discard_aside`] of
    /// what the journal was told removes it.
    ///
    /// # Errors
    /// [`InPlaceError`]; what is there was not touched.
    fn prepare_in_place(
        &self,
        source: &PointSource<'_>,
        journal: &mut dyn Journal,
    ) -> Result<Option<Box<dyn Candidate>>, InPlaceError> {
        let _ = (source, journal);
        Ok(None)
    }

    /// Puts what was captured in the place of what is there, which is set aside.
    ///
    /// # Errors
    /// [`InPlaceError`]; [`Dataset::undo_in_place`] of what the journal was told last brings back what was there.
    fn restore_in_place(
        &self,
        source: &PointSource<'_>,
        journal: &mut dyn Journal,
    ) -> Result<RestoredInPlace, InPlaceError> {
        match self.prepare_in_place(source, journal)? {
            Some(candidate) => candidate.swap(journal),
            None => Err(InPlaceError::Unsupported { kind: self.kind() }),
        }
    }

    /// Brings back what a restore in place set aside, however far that had come. Returns what was done, in words.
    ///
    /// # Errors
    /// [`InPlaceError`]; it may be called again.
    fn undo_in_place(&self, aside: &Aside) -> Result<Vec<String>, InPlaceError> {
        let _ = aside;
        Err(InPlaceError::Unsupported { kind: self.kind() })
    }

    /// Deletes what a restore in place set aside: there is no way back after this. Returns what was done, in words.
    ///
    /// # Errors
    /// [`InPlaceError`]; it may be called again.
    fn discard_aside(&self, aside: &Aside) -> Result<Vec<String>, InPlaceError> {
        let _ = aside;
        Err(InPlaceError::Unsupported { kind: self.kind() })
    }
}

/// A captured dataset.
#[derive(Debug)]
pub struct Captured {
    /// What there is to know of it.
    pub record: DatasetRecord,
    /// What a person should know, though it is no error.
    pub warnings: Vec<String>,
    /// What is missing in it, though the rest is worth keeping. The recovery point is then only partly what was asked for.
    pub partly: Vec<String>,
    /// The moment whose state this is, as exactly as the service can say; `None` if only the time of the capture is known.
    pub as_of: Option<Timestamp>,
    /// What was stored of files that say nothing of how much the data changed, as far as that can be
    /// told: WAL segments, whose unused end is whatever an older segment held.
    pub beside: AddedBytes,
}

/// The implementation for a dataset of the configuration; `None` for a kind that this version
/// cannot capture.
///
/// # Errors
/// If a secret cannot be read or a URL does not parse.
pub fn dataset_of(
    dataset: &stack::Dataset,
    surroundings: &Surroundings,
) -> Result<Option<Box<dyn Dataset>>, CaptureError> {
    match dataset {
        stack::Dataset::Postgres(settings) => {
            let mut settings = settings.clone();
            settings.url = surroundings.reachable(&settings.url, postgres::PORT);
            let cluster = postgres::PostgresCluster::from_settings(&settings)?;
            let there = surroundings.command_prefix(Tools::passed_on());
            Ok(Some(Box::new(cluster.with_tools_there(there))))
        }
        stack::Dataset::Meilisearch(settings) => {
            let server = meilisearch::MeilisearchServer::from_settings(settings, surroundings)?;
            Ok(Some(Box::new(server)))
        }
        stack::Dataset::Redis(settings) => {
            let server = redis::RedisServer::from_settings(settings, surroundings)?;
            Ok(Some(Box::new(server)))
        }
        stack::Dataset::Files(settings) => {
            let sets = files::FileSets::from_settings(settings, surroundings)?;
            Ok(Some(Box::new(sets)))
        }
        stack::Dataset::S3(settings) => {
            let buckets = s3::S3Buckets::from_settings(settings, surroundings)?;
            Ok(Some(Box::new(buckets)))
        }
        _ => Ok(None),
    }
}

/// Seconds of a moment since 1970, for entries that have no time of their own.
pub(crate) fn entry_time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or_default()
}
