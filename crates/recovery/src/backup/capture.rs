//! Captures datasets side by side.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use jiff::Timestamp;
use rekindle_datasets::{CaptureContext, Captured};
use rekindle_runtimes::Runtime;
use rekindle_vault::{Backup, BackupError, TreePath};

use super::{BackupRequest, jobs::Job, quiesce::Quiet};
use crate::{
    RecoveryError,
    manifest::{DatasetEntry, Manifest},
    tripwire::Watch,
};

/// What captures need to know.
pub(super) struct Captures<'a> {
    pub backup: &'a Backup,
    pub request: &'a BackupRequest<'a>,
    /// What the parent point says of itself.
    pub previous: Option<&'a Manifest>,
    pub runtime: Option<&'a Arc<dyn Runtime>>,
}

/// A dataset that was captured.
pub(super) struct CapturedJob {
    service: String,
    path: String,
    started: Timestamp,
    ended: Timestamp,
    captured: Captured,
}

impl Captures<'_> {
    /// Captures everything, or nothing: after the first failure the others are told to give up. What was paused or
    /// stopped goes on when this returns, whatever happened; `warnings` say what does not.
    ///
    /// # Errors
    /// The first failure.
    pub fn all(
        &self,
        jobs: &[Job<'_>],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<CapturedJob>, RecoveryError> {
        let quiet = Quiet::new(self.request.stack, self.runtime, warnings)?;
        let writers = quiet.rest_writers()?;
        let (databases, others): (Vec<_>, Vec<_>) = jobs
            .iter()
            .partition(|job| job.dataset.kind() == "postgres");
        let mut done = self.wave(&quiet, &databases, warnings)?;
        done.extend(self.wave(&quiet, &others, warnings)?);
        warnings.extend(writers.wake());
        Ok(done)
    }

    /// Captures these at the same time.
    fn wave(
        &self,
        quiet: &Quiet<'_>,
        jobs: &[&Job<'_>],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<CapturedJob>, RecoveryError> {
        let resting = quiet.rest_owners(jobs.iter().map(|job| job.service))?;
        let first_failure = Mutex::new(None);
        let run = |job: &Job<'_>| {
            let outcome = self.one(job);
            outcome
                .map_err(|error| {
                    let mut first = first_failure.lock().unwrap_or_else(PoisonError::into_inner);
                    // The others fail because of this one; theirs would only tell that.
                    first.get_or_insert(error);
                    self.backup.give_up();
                })
                .ok()
        };
        let captured: Vec<Option<CapturedJob>> = match jobs {
            [only] => vec![run(only)],
            _ => thread::scope(|scope| {
                let threads: Vec<_> = jobs.iter().map(|job| scope.spawn(|| run(job))).collect();
                let joined = threads
                    .into_iter()
                    .map(|thread| thread.join().ok().flatten());
                joined.collect()
            }),
        };
        if let Some(error) = first_failure
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            return Err(error);
        }
        self.backup.wait_for_files()?;
        warnings.extend(resting.wake());
        let all: Option<Vec<_>> = captured.into_iter().collect();
        all.ok_or_else(|| BackupError::Panicked.into())
    }

    fn one(&self, job: &Job<'_>) -> Result<CapturedJob, RecoveryError> {
        let started = Timestamp::now();
        let at = TreePath::new(&job.path).map_err(BackupError::from)?;
        self.backup.measure(&at);
        let context = CaptureContext {
            at,
            label: format!("rekindle {} {}", self.request.stack.name, job.name()),
            previous: self
                .previous
                .and_then(|manifest| manifest.dataset_at(&job.path))
                .map(|entry| &entry.record),
            progress: &self.request.progress,
        };
        let captured = job
            .dataset
            .capture(self.backup, &context)
            .map_err(|source| RecoveryError::Capture {
                service: job.name().to_owned(),
                source: Box::new(source),
            })?;
        Ok(CapturedJob {
            service: job.name().to_owned(),
            path: job.path.clone(),
            started,
            ended: Timestamp::now(),
            captured,
        })
    }
}

impl CapturedJob {
    /// Puts it into the manifest, held against what is usual.
    pub fn note(
        self,
        backup: &Backup,
        watch: &mut Watch<'_>,
        manifest: &mut Manifest,
    ) -> Result<(), RecoveryError> {
        let Self {
            service, captured, ..
        } = self;
        let at = TreePath::new(&self.path).map_err(BackupError::from)?;
        let added = backup.added_below(&at).since(captured.beside);
        let named = |text: String| format!("{service}: {text}");
        manifest
            .warnings
            .extend(captured.warnings.into_iter().map(named));
        manifest
            .partly
            .extend(captured.partly.into_iter().map(named));
        let mut entry = DatasetEntry {
            service,
            path: self.path,
            started: self.started,
            captured: self.ended,
            as_of: captured.as_of,
            tripwire: None,
            record: captured.record,
        };
        entry.tripwire = watch.look(backup, &entry, added)?;
        manifest.datasets.push(entry);
        Ok(())
    }
}
