//! Makes a recovery point.
//!
//! Datasets are captured side by side, in two waves: databases first, then what their rows may refer to (objects, files,
//! indexes, caches), so that no row in the point names what came into being after it was looked at.

mod capture;
mod commit;
mod jobs;
mod parent;
mod quiesce;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rekindle_stack::Stack;
use rekindle_vault::{BackupOptions, Progress, Vault};
use serde::Serialize;

pub(crate) use commit::commit;
pub(crate) use jobs::{dataset, names};
pub use quiesce::wake_services;

use self::{
    capture::Captures,
    jobs::{jobs, wanted},
    parent::{newest_like, previous_manifest, readable_snapshots},
};
use crate::{
    PointSummary, RecoveryError,
    configuration::add_configuration,
    manifest::Manifest,
    object_lock,
    runtime::runtime_of,
    tripwire::{Tripped, Watch},
    vault::{LOCK_WAIT, compression_of},
};

/// What to back up.
pub struct BackupRequest<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// Which of its services; all if empty.
    pub services: Vec<String>,
    /// Words to find the point by.
    pub tags: Vec<String>,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

/// A dataset that would be captured.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedDataset {
    /// Whose.
    pub service: String,
    /// Its kind.
    pub kind: String,
    /// What would be captured, in words.
    pub what: String,
    /// Whether this version can.
    pub supported: bool,
}

/// A recovery point that was made.
#[derive(Debug)]
pub struct BackupOutcome {
    /// As in the list.
    pub point: PointSummary,
    /// What it says of itself.
    pub manifest: Manifest,
    /// From the first look to the commit.
    pub took: Duration,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// What is not in the point. It is then only partly what was asked for.
    pub skipped: Vec<String>,
    /// What is missing in datasets that are in the point.
    pub partly: Vec<String>,
    /// Why not all that the vault needs is locked against deletion, if the configuration asks for that.
    pub unlocked: Option<String>,
    /// Services whose backup is suspicious, or was before and nobody has said that it is fine.
    pub tripped: Vec<Tripped>,
}

/// Says what a backup would capture, without looking at any service.
///
/// # Errors
/// If a service is not in the configuration, or its settings cannot be used.
pub fn plan_backup(request: &BackupRequest<'_>) -> Result<Vec<PlannedDataset>, RecoveryError> {
    let runtime = runtime_of(request.stack);
    let mut planned = Vec::new();
    for service in wanted(request)? {
        for settings in &service.datasets {
            let dataset = dataset(request.stack, service, settings, runtime.as_ref())?;
            planned.push(PlannedDataset {
                service: service.name.to_string(),
                kind: settings.kind().to_owned(),
                what: dataset.as_ref().map_or_else(
                    || "not captured: this version cannot".to_owned(),
                    |dataset| dataset.describe(),
                ),
                supported: dataset.is_some(),
            });
        }
    }
    Ok(planned)
}

/// Makes a recovery point of all wanted services, or none at all.
///
/// # Errors
/// [`RecoveryError::Capture`] for the first dataset that could not be captured; the vault holds no
/// new point then, and the next backup finds again what was stored.
pub fn backup(vault: &Vault, request: &BackupRequest<'_>) -> Result<BackupOutcome, RecoveryError> {
    let clock = Instant::now();
    let runtime = runtime_of(request.stack);
    let (jobs, skipped) = jobs(request, runtime.as_ref())?;
    let snapshots = readable_snapshots(vault)?;
    let parent = newest_like(&snapshots, request)?;
    let options = BackupOptions {
        compression: compression_of(&request.stack.vault),
        parent: parent.clone(),
        lock_wait: LOCK_WAIT,
        progress: Arc::clone(&request.progress),
        ..BackupOptions::default()
    };
    let options = match request
        .stack
        .vault
        .pack_size
        .and_then(|size| usize::try_from(size).ok())
    {
        Some(pack_bytes) => BackupOptions {
            pack_bytes,
            ..options
        },
        None => options,
    };
    let backup = vault.start_backup(options)?;
    let previous = parent
        .as_ref()
        .and_then(|snapshot| previous_manifest(vault, backup.index(), snapshot));
    let mut watch = Watch::new(vault, request.stack, snapshots);
    let mut manifest = Manifest::new(&request.stack.name, backup.started());
    manifest.skipped.clone_from(&skipped);
    let captures = Captures {
        backup: &backup,
        request,
        previous: previous.as_ref(),
        runtime: runtime.as_ref(),
    };
    for captured in captures.all(&jobs, &mut manifest.warnings)? {
        captured.note(&backup, &mut watch, &mut manifest)?;
    }
    manifest.captured = Timestamp::now();
    manifest.skew_seconds = manifest.skew();
    let configuration = add_configuration(&backup, request.stack, runtime.as_deref())?;
    manifest.configuration = Some(configuration);
    let tripped = watch.keep(&manifest);
    let warnings = manifest.warnings.clone();
    manifest.warnings.extend(suspicions(&tripped));
    let mut tags = request.tags.clone();
    tags.extend(tripped.iter().filter_map(Tripped::tag));
    let snapshot = commit(backup, &manifest, tags)?;
    tracing::info!(point = %snapshot.id, "recovery point made");
    let took = clock.elapsed();
    Ok(BackupOutcome {
        point: PointSummary::of(&snapshot),
        took,
        unlocked: object_lock::after_writing(vault),
        warnings,
        skipped,
        partly: manifest.partly.clone(),
        manifest,
        tripped,
    })
}

fn suspicions(tripped: &[Tripped]) -> Vec<String> {
    let of_each = tripped.iter().flat_map(|tripped| {
        let texts = tripped.suspicions.iter();
        texts.map(move |suspicion| format!("{}: {suspicion}", tripped.service))
    });
    of_each.collect()
}
