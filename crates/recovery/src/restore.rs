//! Brings a recovery point, or a part of one, back to a directory.

mod cluster;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rekindle_datasets::{
    DatasetRecord,
    postgres::{BASE, NAMED_LAST},
    redis::{RedisRecord, prepare_point},
};
use rekindle_postgres::prepare_restored;
use rekindle_vault::{
    Index, Node, NodeKind, Ownership, Progress, RestoreOptions, Snapshot, TreePath, Vault,
};
use serde::Serialize;

use crate::{PointSummary, RecoveryError, find_point::find_point, manifest::Manifest};

/// What to restore, and where to.
pub struct RestoreRequest {
    /// An id, the beginning of one, or `latest`.
    pub point: String,
    /// Only this service: a PGDATA for PostgreSQL, else its files as they lie.
    pub service: Option<String>,
    /// Only this file or directory: of the service if one is named, else of the point.
    pub path: Option<String>,
    /// An empty or new directory.
    pub to: PathBuf,
    /// Whose the files shall be. If `None`, as they were; this process's own where it may not give
    /// files away.
    pub ownership: Option<Ownership>,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

/// What a restore would do.
#[derive(Clone, Debug, Serialize)]
pub struct RestorePlan {
    /// The point.
    pub point: PointSummary,
    /// What would be restored, in words.
    pub what: String,
    /// Where that lies in the point.
    pub tree_path: String,
    /// Where it would go.
    pub to: PathBuf,
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Free bytes where it would go; `None` if that cannot be asked.
    pub free_bytes: Option<u64>,
    /// What would be done, in order.
    pub steps: Vec<String>,
}

/// What a restored directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RestoredKind {
    /// A data directory that PostgreSQL starts on.
    PostgresDirectory {
        /// Of this major version.
        major: u32,
    },
    /// A directory for each shard of a Redis cluster, on which a node of a new one starts.
    RedisCluster {
        /// The directories, in the order of their slots.
        shards: Vec<PathBuf>,
    },
    /// Files as they lie in the point.
    AsStored,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct RestoreOutcome {
    /// The point.
    pub point: PointSummary,
    /// What the directory is.
    pub kind: RestoredKind,
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// From the first look at the vault to the last fsync.
    pub took: Duration,
    /// Entries that this system would not make, and why.
    pub left_out: Vec<String>,
    /// What a person does next.
    pub next: Vec<String>,
}

/// What is to be restored, found in the point.
struct Goal {
    snapshot: Snapshot,
    index: Index,
    tree_path: TreePath,
    what: String,
    postgres: bool,
    /// What is known of a Redis server, if all of its files are restored and nothing else.
    redis: Option<RedisRecord>,
    last: Vec<TreePath>,
}

/// Says what a restore would do.
///
/// # Errors
/// If the point, service or path is not there.
pub fn plan_restore(vault: &Vault, request: &RestoreRequest) -> Result<RestorePlan, RecoveryError> {
    let goal = goal(vault, request)?;
    let (files, bytes) = sizes(vault, &goal)?;
    let to = request.to.display();
    let mut steps = vec![
        format!("make sure that {to} is empty and has room; mark it as unfinished"),
        format!("restore {files} file(s), every blob verified against its hash"),
        "set owners, modes and times; make everything durable".to_owned(),
    ];
    if goal.postgres {
        steps.push(format!("name {NAMED_LAST}, without which no server starts"));
        steps.push("make sure that the directory is one that PostgreSQL starts on".to_owned());
    }
    steps.push("remove the mark".to_owned());
    Ok(RestorePlan {
        point: PointSummary::of(&goal.snapshot),
        what: goal.what,
        tree_path: goal.tree_path.to_string(),
        to: request.to.clone(),
        files,
        bytes,
        free_bytes: free_bytes(&request.to),
        steps,
    })
}

/// Restores into an empty directory.
///
/// # Errors
/// [`RecoveryError::Restore`], with what was hit if data is damaged;
/// [`RecoveryError::NotStartable`] if a data directory turned out incomplete.
pub fn restore(vault: &Vault, request: &RestoreRequest) -> Result<RestoreOutcome, RecoveryError> {
    let mut goal = goal(vault, request)?;
    let ownership = request.ownership.unwrap_or_else(Ownership::of_this_process);
    let options = RestoreOptions {
        ownership,
        last: std::mem::take(&mut goal.last),
        progress: Arc::clone(&request.progress),
        ..RestoreOptions::default()
    };
    let report = vault
        .restore(&goal.snapshot, &goal.tree_path, &request.to, &options)
        .map_err(|error| RecoveryError::Restore {
            point: goal.snapshot.id,
            to: request.to.display().to_string(),
            source: Box::new(error),
        })?;
    let kind = if goal.postgres {
        postgres_directory(&request.to)?
    } else {
        let known = goal.redis.as_ref();
        let shards = known.and_then(|record| cluster::shards(record, &request.to));
        shards.map_or(RestoredKind::AsStored, |shards| {
            RestoredKind::RedisCluster { shards }
        })
    };
    make_ready_for_its_server(&goal, &request.to)?;
    tracing::info!(point = %goal.snapshot.id, to = %request.to.display(), "restored");
    Ok(RestoreOutcome {
        point: PointSummary::of(&goal.snapshot),
        next: next_steps(&kind, &request.to),
        kind,
        files: report.files,
        bytes: report.bytes,
        took: report.took,
        left_out: report.left_out,
    })
}

/// Makes the files of a Redis server such that it loads them whatever its settings. Of one that was imported nothing is
/// known that would ask for more than the RDB.
fn make_ready_for_its_server(goal: &Goal, to: &Path) -> Result<(), RecoveryError> {
    let known = goal.redis.as_ref();
    let Some(record) = known.filter(|record| record.imported.is_none()) else {
        return Ok(());
    };
    prepare_point(to, record)
        .map(drop)
        .map_err(|source| RecoveryError::NotLoadable {
            to: to.display().to_string(),
            source: Box::new(source),
        })
}

fn postgres_directory(to: &Path) -> Result<RestoredKind, RecoveryError> {
    let restored = prepare_restored(to).map_err(|source| RecoveryError::NotStartable {
        to: to.display().to_string(),
        source: Box::new(source),
    })?;
    Ok(RestoredKind::PostgresDirectory {
        major: restored.major,
    })
}

fn next_steps(kind: &RestoredKind, to: &Path) -> Vec<String> {
    let to = to.display();
    match kind {
        RestoredKind::PostgresDirectory { major } => vec![
            format!("start it with PostgreSQL {major}, as the user who owns {to}:"),
            format!("  pg_ctl -D {to} -o '-p 5433 -c archive_mode=off' -l {to}.log -w start"),
            "  psql -p 5433 -c 'select now()'".to_owned(),
            "its configuration is the source's own: look at archive_command and listen_addresses \
             before it serves anybody"
                .to_owned(),
        ],
        RestoredKind::RedisCluster { shards } => cluster::next_steps(shards),
        RestoredKind::AsStored => vec![format!("ls {to}")],
    }
}

fn goal(vault: &Vault, request: &RestoreRequest) -> Result<Goal, RecoveryError> {
    let snapshot = find_point(vault, &request.point, request.service.as_deref())?;
    let (index, _) = vault.load_readable_index()?;
    let mut goal = Goal {
        tree_path: TreePath::root(),
        what: format!("everything in recovery point {}", snapshot.id.short()),
        postgres: false,
        redis: None,
        last: Vec::new(),
        snapshot,
        index,
    };
    match &request.service {
        Some(service) => aim_at_service(vault, &mut goal, service, request.path.as_deref())?,
        None => aim_at_path(
            vault,
            &mut goal,
            request.path.as_deref().unwrap_or_default(),
        )?,
    }
    Ok(goal)
}

fn aim_at_service(
    vault: &Vault,
    goal: &mut Goal,
    service: &str,
    path: Option<&str>,
) -> Result<(), RecoveryError> {
    let manifest = Manifest::read(vault, &goal.index, &goal.snapshot)?;
    let entry = manifest
        .dataset(service)
        .ok_or_else(|| RecoveryError::ServiceNotInPoint {
            point: goal.snapshot.id,
            service: service.to_owned(),
            known: manifest.services(),
        })?;
    let base = manifest
        .postgres(service)
        .filter(|(_, record)| record.physical.is_some())
        .map(|(entry, _)| format!("{}/{BASE}", entry.path));
    let of_service = manifest.datasets.iter().filter(|e| e.service == service);
    if path.is_none() && base.is_none() && of_service.count() > 1 {
        return aim_at_path(vault, goal, service);
    }
    if path.is_none()
        && let DatasetRecord::Redis(record) = &entry.record
    {
        goal.redis = Some(record.clone());
    }
    match (path, base) {
        (None, Some(base)) => {
            goal.tree_path = tree_path(&base)?;
            goal.what = format!("the PostgreSQL data directory of `{service}`");
            goal.postgres = true;
            goal.last = vec![tree_path(NAMED_LAST)?];
            Ok(())
        }
        (path, _) => {
            // Of the service, or below its kind: `postgres/dump/x.dump` and `dump/x.dump`.
            let below = path.unwrap_or_default().trim_matches('/');
            let whole = below == service || below.starts_with(&format!("{service}/"));
            let in_kind = format!("{}/{below}", entry.path);
            let candidates = if whole {
                vec![below.to_owned()]
            } else {
                vec![in_kind, format!("{service}/{below}")]
            };
            let found = candidates.iter().find(|candidate| {
                vault
                    .find_node(&goal.index, &goal.snapshot, candidate)
                    .is_ok()
            });
            aim_at_path(vault, goal, found.unwrap_or(&candidates[0]))
        }
    }
}

fn aim_at_path(vault: &Vault, goal: &mut Goal, path: &str) -> Result<(), RecoveryError> {
    goal.tree_path = tree_path(path)?;
    let node = vault.find_node(&goal.index, &goal.snapshot, path)?;
    if let Some(node) = node {
        let kind = if node.kind == NodeKind::Dir {
            "the directory"
        } else {
            "the file"
        };
        goal.what = format!("{kind} {}", goal.tree_path);
    }
    goal.last = data_directories_below(vault, goal)?;
    Ok(())
}

/// Control files of the PostgreSQL directories that lie whole in what is restored.
fn data_directories_below(vault: &Vault, goal: &Goal) -> Result<Vec<TreePath>, RecoveryError> {
    let Ok(manifest) = Manifest::read(vault, &goal.index, &goal.snapshot) else {
        return Ok(Vec::new());
    };
    let root = goal.tree_path.as_bytes();
    let mut last = Vec::new();
    for entry in &manifest.datasets {
        let control = format!("{}/{BASE}/{NAMED_LAST}", entry.path);
        let Some(rest) = control.as_bytes().strip_prefix(root) else {
            continue;
        };
        let relative = if root.is_empty() {
            Some(rest)
        } else {
            rest.strip_prefix(b"/")
        };
        if let Some(relative) = relative.filter(|relative| !relative.is_empty()) {
            last.push(TreePath::new(relative).map_err(rekindle_vault::BackupError::from)?);
        }
    }
    Ok(last)
}

fn tree_path(path: &str) -> Result<TreePath, RecoveryError> {
    Ok(TreePath::new(path).map_err(rekindle_vault::BackupError::from)?)
}

/// Files and bytes of what would be restored.
fn sizes(vault: &Vault, goal: &Goal) -> Result<(u64, u64), RecoveryError> {
    let path = String::from_utf8_lossy(goal.tree_path.as_bytes()).into_owned();
    let mut totals = (0, 0);
    match vault.find_node(&goal.index, &goal.snapshot, &path)? {
        None => add_tree(vault, goal, &goal.snapshot.stored.tree, &mut totals)?,
        Some(node) => add_node(vault, goal, &node, &mut totals)?,
    }
    Ok(totals)
}

fn add_tree(
    vault: &Vault,
    goal: &Goal,
    tree: &rekindle_vault::Id,
    totals: &mut (u64, u64),
) -> Result<(), RecoveryError> {
    for node in vault.read_tree(&goal.index, tree)?.nodes {
        add_node(vault, goal, &node, totals)?;
    }
    Ok(())
}

fn add_node(
    vault: &Vault,
    goal: &Goal,
    node: &Node,
    totals: &mut (u64, u64),
) -> Result<(), RecoveryError> {
    if node.kind == NodeKind::File {
        totals.0 += 1;
        totals.1 += node.size;
    }
    node.subtree
        .map_or(Ok(()), |subtree| add_tree(vault, goal, &subtree, totals))
}

/// Free bytes of the file system that a directory is on, or would be.
pub(crate) fn free_bytes(directory: &Path) -> Option<u64> {
    let absolute = std::path::absolute(directory).ok()?;
    let existing = absolute.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
