//! A snapshot of Redis from elsewhere, as a recovery point.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rekindle_datasets::{
    DatasetRecord,
    redis::{
        DUMP_FILE, RdbRecord, RdbSummary, RdbWay, RedisError, RedisRecord, check_rdb, open_rdb,
        read_rdb,
    },
};
use rekindle_stack::{Dataset, Stack};
use rekindle_vault::{
    BackupError, BackupOptions, Chunking, Node, NodeKind, Progress, TreePath, Vault,
};
use serde::Serialize;

use super::checksum::verify_checksum;
use crate::{
    PointSummary, RecoveryError,
    backup::{commit, names},
    manifest::{DatasetEntry, Manifest},
    point::IMPORTED,
    vault::{LOCK_WAIT, compression_of},
};

/// Which snapshot.
pub struct RdbRequest<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// The service that it is of.
    pub service: String,
    /// The file: an RDB, or one in gzip.
    pub file: PathBuf,
    /// Words to find the point by.
    pub tags: Vec<String>,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

/// What an import of a snapshot would store.
#[derive(Clone, Debug, Serialize)]
pub struct RdbPlan {
    /// Where it lies.
    pub from: PathBuf,
    /// Whether there is a `.sha256` beside it, which fits.
    pub is_verified: bool,
    /// What it holds. It is whole.
    pub summary: RdbSummary,
}

/// A recovery point made of a snapshot.
#[derive(Debug)]
pub struct RdbOutcome {
    /// As in the list.
    pub point: PointSummary,
    /// What was imported.
    pub plan: RdbPlan,
    /// From the first look to the commit.
    pub took: Duration,
}

/// Reads the snapshot to its end, and says what an import would store.
///
/// # Errors
/// [`RecoveryError::Checksum`]; [`RecoveryError::ReadForeign`] if it is none, cut or damaged.
pub fn plan_rdb(request: &RdbRequest<'_>) -> Result<RdbPlan, RecoveryError> {
    let service = request.stack.service(&request.service);
    let service = service.ok_or_else(|| RecoveryError::UnknownService {
        name: request.service.clone(),
        known: names(request.stack),
    })?;
    let is_redis = |dataset: &Dataset| matches!(dataset, Dataset::Redis(_));
    if !service.datasets.iter().any(is_redis) {
        return Err(RecoveryError::NothingToDo {
            reason: format!("`{}` has no dataset of kind `redis`", request.service),
        });
    }
    let is_verified = verify_checksum(&request.file, &request.progress)?;
    let summary = check_rdb(&request.file).map_err(|error| failed(request, error))?;
    Ok(RdbPlan {
        from: std::path::absolute(&request.file).unwrap_or_else(|_| request.file.clone()),
        is_verified,
        summary,
    })
}

/// Makes a recovery point of a snapshot. It is tagged `imported`, and never counts as the newest state of the service.
///
/// # Errors
/// As [`plan_rdb`]; as the vault failed.
pub fn import_rdb(vault: &Vault, request: &RdbRequest<'_>) -> Result<RdbOutcome, RecoveryError> {
    let clock = Instant::now();
    let plan = plan_rdb(request)?;
    let options = BackupOptions {
        compression: compression_of(&request.stack.vault),
        lock_wait: LOCK_WAIT,
        progress: Arc::clone(&request.progress),
        ..BackupOptions::default()
    };
    let backup = vault.start_backup(options)?;
    let mut manifest = Manifest::new(&request.stack.name, backup.started());
    let started = Timestamp::now();
    let path = format!("{}/redis", request.service);
    let node = |kind, mode| Node {
        kind,
        mode: Node::go_mode(kind, mode),
        mtime: started,
        ..Node::default()
    };
    let at = |path: String| TreePath::new(path).map_err(BackupError::from);
    backup.add_node(&at(path.clone())?, node(NodeKind::Dir, 0o700))?;
    let file = at(format!("{path}/{DUMP_FILE}"))?;
    let mut writer =
        backup.file_writer(file, node(NodeKind::File, 0o600), Chunking::ContentDefined);
    let mut source = open_rdb(&request.file).map_err(|error| failed(request, error))?;
    // Read to its end once more on the way: what is stored is what was looked at.
    let stored = read_rdb(&mut source, &mut writer);
    let stored = stored.map_err(|error| RecoveryError::ReadForeign {
        path: request.file.clone(),
        source: std::io::Error::other(error),
    })?;
    if (stored.bytes, &stored.checksum) != (plan.summary.bytes, &plan.summary.checksum) {
        return Err(RecoveryError::ReadForeign {
            path: request.file.clone(),
            source: std::io::Error::other("it changed while it was imported"),
        });
    }
    writer.finish()?;
    let from = plan.from.display();
    let record = RedisRecord {
        version: plan.summary.written_by.clone().unwrap_or_default(),
        rdb: Some(RdbRecord {
            way: RdbWay::Imported,
            as_of: made_at(&plan.summary).unwrap_or(started),
            summary: plan.summary.clone(),
        }),
        imported: Some(from.to_string()),
        ..RedisRecord::default()
    };
    manifest.captured = Timestamp::now();
    manifest.datasets.push(DatasetEntry::imported(
        request.service.clone(),
        path,
        started,
        DatasetRecord::Redis(record),
    ));
    let mut tags = vec![IMPORTED.to_owned()];
    tags.extend(request.tags.iter().filter(|tag| *tag != IMPORTED).cloned());
    let snapshot = commit(backup, &manifest, tags)?;
    tracing::info!(point = %snapshot.id, "a snapshot of Redis imported");
    Ok(RdbOutcome {
        point: PointSummary::of(&snapshot),
        plan,
        took: clock.elapsed(),
    })
}

fn made_at(summary: &RdbSummary) -> Option<Timestamp> {
    Timestamp::from_second(summary.created?).ok()
}

fn failed(request: &RdbRequest<'_>, error: RedisError) -> RecoveryError {
    RecoveryError::ReadForeign {
        path: request.file.clone(),
        source: std::io::Error::other(error),
    }
}
