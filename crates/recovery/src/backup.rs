//! Makes a recovery point.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rekindle_datasets::{CaptureContext, Dataset, DatasetRecord, dataset_of};
use rekindle_stack::{self as stack, Stack};
use rekindle_vault::{
    AddedBytes, Backup, BackupOptions, Index, Node, NodeKind, Progress, Snapshot, SnapshotDraft,
    TreePath, Vault,
};
use serde::Serialize;

use crate::{
    PointSummary, RecoveryError,
    manifest::{self, DatasetEntry, Manifest},
    object_lock,
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
    /// Why not all that the vault needs is locked against deletion, if the configuration asks for that.
    pub unlocked: Option<String>,
    /// Services whose backup is suspicious, or was before and nobody has said that it is fine.
    pub tripped: Vec<Tripped>,
}

struct Job {
    service: String,
    dataset: Box<dyn Dataset>,
}

/// Says what a backup would capture, without looking at any service.
///
/// # Errors
/// If a service is not in the configuration, or its settings cannot be used.
pub fn plan_backup(request: &BackupRequest<'_>) -> Result<Vec<PlannedDataset>, RecoveryError> {
    let mut planned = Vec::new();
    for service in wanted(request)? {
        for settings in &service.datasets {
            let dataset = dataset(service, settings)?;
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
    let (jobs, skipped) = jobs(request)?;
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
    let mut backup = vault.start_backup(options)?;
    let previous = parent
        .as_ref()
        .and_then(|snapshot| previous_manifest(vault, backup.index(), snapshot));
    let mut watch = Watch::new(vault, request.stack, snapshots);
    let mut manifest = Manifest::new(&request.stack.name, backup.started());
    manifest.skipped.clone_from(&skipped);
    for job in &jobs {
        let added = backup.added();
        let (mut entry, beside) =
            capture(&mut backup, job, request, previous.as_ref(), &mut manifest)?;
        backup.wait_for_files()?;
        let added = backup.added().since(added).since(beside);
        entry.tripwire = watch.look(&backup, &entry, added)?;
        manifest.datasets.push(entry);
    }
    manifest.captured = Timestamp::now();
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
        manifest,
        tripped,
    })
}

fn capture(
    backup: &mut Backup,
    job: &Job,
    request: &BackupRequest<'_>,
    previous: Option<&Manifest>,
    manifest: &mut Manifest,
) -> Result<(DatasetEntry, AddedBytes), RecoveryError> {
    let started = Timestamp::now();
    let path = format!("{}/{}", job.service, job.dataset.kind());
    let at = TreePath::new(&path).map_err(rekindle_vault::BackupError::from)?;
    let context = CaptureContext {
        at,
        label: format!("rekindle {} {}", request.stack.name, job.service),
        previous: previous
            .and_then(|m| m.dataset(&job.service))
            .map(|entry| &entry.record),
        progress: &request.progress,
    };
    let captured =
        job.dataset
            .capture(backup, &context)
            .map_err(|source| RecoveryError::Capture {
                service: job.service.clone(),
                source: Box::new(source),
            })?;
    let named = |warning: String| format!("{}: {warning}", job.service);
    manifest
        .warnings
        .extend(captured.warnings.into_iter().map(named));
    let (record, beside): (DatasetRecord, _) = (captured.record, captured.beside);
    let captured = Timestamp::now();
    let entry = DatasetEntry {
        service: job.service.clone(),
        path,
        started,
        captured,
        tripwire: None,
        record,
    };
    Ok((entry, beside))
}

fn suspicions(tripped: &[Tripped]) -> Vec<String> {
    let of_each = tripped.iter().flat_map(|tripped| {
        let texts = tripped.suspicions.iter();
        texts.map(move |suspicion| format!("{}: {suspicion}", tripped.service))
    });
    of_each.collect()
}

/// The manifest goes in last, then the snapshot is written.
pub(crate) fn commit(
    backup: Backup,
    manifest: &Manifest,
    tags: Vec<String>,
) -> Result<Snapshot, RecoveryError> {
    let json = serde_json::to_vec_pretty(manifest).map_err(rekindle_vault::VaultError::from)?;
    let path = TreePath::new(manifest::PATH).map_err(rekindle_vault::BackupError::from)?;
    let node = Node {
        mode: Node::go_mode(NodeKind::File, 0o600),
        mtime: manifest.captured,
        ..Node::default()
    };
    backup.add_bytes(&path, node, &json)?;
    let paths = manifest
        .datasets
        .iter()
        .map(|entry| format!("/{}", entry.path))
        .collect();
    Ok(backup.finish(SnapshotDraft { paths, tags })?)
}

fn wanted<'a>(request: &BackupRequest<'a>) -> Result<Vec<&'a stack::Service>, RecoveryError> {
    let stack = request.stack;
    if request.services.is_empty() {
        return Ok(stack.services.iter().collect());
    }
    let find = |name: &String| {
        stack
            .service(name)
            .ok_or_else(|| RecoveryError::UnknownService {
                name: name.clone(),
                known: names(stack),
            })
    };
    request.services.iter().map(find).collect()
}

pub(crate) fn names(stack: &Stack) -> String {
    let names: Vec<_> = stack
        .services
        .iter()
        .map(|s| format!("`{}`", s.name))
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn dataset(
    service: &stack::Service,
    settings: &stack::Dataset,
) -> Result<Option<Box<dyn Dataset>>, RecoveryError> {
    dataset_of(settings).map_err(|source| RecoveryError::Settings {
        service: service.name.to_string(),
        source: Box::new(source),
    })
}

fn jobs(request: &BackupRequest<'_>) -> Result<(Vec<Job>, Vec<String>), RecoveryError> {
    let (mut jobs, mut skipped) = (Vec::new(), Vec::new());
    for service in wanted(request)? {
        for settings in &service.datasets {
            match dataset(service, settings)? {
                Some(dataset) => jobs.push(Job {
                    service: service.name.to_string(),
                    dataset,
                }),
                None => skipped.push(format!(
                    "{}: this version cannot back up a {} dataset",
                    service.name,
                    settings.kind()
                )),
            }
        }
    }
    if jobs.is_empty() {
        let reason = skipped
            .pop()
            .unwrap_or_else(|| "the services have no datasets".to_owned());
        return Err(RecoveryError::NothingToDo { reason });
    }
    Ok((jobs, skipped))
}

/// The newest point of the same machine that has one of the wanted services: most of its files are
/// still the same.
fn newest_like(
    snapshots: &[Snapshot],
    request: &BackupRequest<'_>,
) -> Result<Option<Snapshot>, RecoveryError> {
    let services: Vec<_> = wanted(request)?
        .iter()
        .map(|service| format!("/{}/", service.name))
        .collect();
    let host = rekindle_vault::Host::current().name;
    let newest = snapshots.iter().rev().find(|snapshot| {
        let has = |service: &String| {
            snapshot
                .stored
                .paths
                .iter()
                .any(|path| path.starts_with(service))
        };
        snapshot.stored.hostname == host && services.iter().any(has)
    });
    Ok(newest.cloned())
}

fn readable_snapshots(vault: &Vault) -> Result<Vec<Snapshot>, RecoveryError> {
    let (snapshots, failed) = vault.readable_snapshots()?;
    for error in failed {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a recovery point was passed over"
        );
    }
    Ok(snapshots)
}

/// A parent whose manifest cannot be read only costs the hints that are in it.
fn previous_manifest(vault: &Vault, index: &Index, snapshot: &Snapshot) -> Option<Manifest> {
    Manifest::read(vault, index, snapshot)
        .inspect_err(|error| tracing::debug!(%error, "the parent has no manifest"))
        .ok()
}
