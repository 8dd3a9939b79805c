//! Builds a data directory whose server recovers to a moment by itself.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rekindle_datasets::postgres::{BASE, NAMED_LAST};
use rekindle_postgres::prepare_restored;
use rekindle_vault::{Ownership, RestoreOptions, TreePath, Vault, durable};

use super::{
    fetch::{Fetched, fetch},
    plan::{Prepared, prepare},
    settings,
    target::{RecoveryTarget, RestoreAtRequest, TargetAction},
    windows::Moment,
};
use crate::{PointSummary, RecoveryError};

/// A directory whose server recovers to the moment when it is started.
#[derive(Clone, Debug)]
pub struct RestoreAtOutcome {
    /// The point that it began from.
    pub point: PointSummary,
    /// The moment, in words.
    pub target: String,
    /// Where it ends, as far as that is known before the server has replayed.
    pub end: Moment,
    /// The server's major version.
    pub major: u32,
    /// Files of the base backup.
    pub files: u64,
    /// Bytes of the base backup.
    pub bytes: u64,
    /// WAL files fetched from the archive.
    pub wal_segments: u64,
    /// From the first look at the vault to the last fsync.
    pub took: Duration,
    /// Entries that this system would not make, and why.
    pub left_out: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What a person does next.
    pub next: Vec<String>,
}

/// Restores a base backup and all WAL up to a moment into an empty directory. Its server needs
/// neither vault nor network to recover.
///
/// # Errors
/// [`RecoveryError::Target`] if the moment cannot be restored, with the nearest that can; nothing
/// was written then. [`RecoveryError::Restore`] and [`RecoveryError::Wal`] leave a directory that is
/// marked as unfinished and that no server starts on; the same request begins anew.
pub fn restore_at(
    vault: &Vault,
    request: &RestoreAtRequest,
) -> Result<RestoreAtOutcome, RecoveryError> {
    let clock = Instant::now();
    let prepared = prepare(vault, request)?;
    let failed = |source| RecoveryError::Restore {
        point: prepared.snapshot.id,
        to: request.to.display().to_string(),
        source: Box::new(source),
    };
    let options = RestoreOptions {
        ownership: request.ownership.unwrap_or_else(Ownership::of_this_process),
        last: vec![tree_path(NAMED_LAST)?],
        also_needed_bytes: prepared.wal_bytes(),
        progress: Arc::clone(&request.progress),
        ..RestoreOptions::default()
    };
    let base = tree_path(&format!("{}/{BASE}", prepared.chosen.base.path))?;
    let unfinished = vault
        .begin_restore(&prepared.snapshot, &base, &request.to, &options)
        .map_err(failed)?;
    let fetched = fetch(&prepared, unfinished.directory(), &request.progress)?;
    make_recover(&prepared, request, &fetched)?;
    let report = unfinished.finish().map_err(failed)?;
    prepare_restored(&request.to).map_err(|source| RecoveryError::NotStartable {
        to: request.to.display().to_string(),
        source: Box::new(source),
    })?;
    tracing::info!(
        point = %prepared.snapshot.id, target = %request.target, to = %request.to.display(), "restored"
    );
    let chosen = &prepared.chosen;
    Ok(RestoreAtOutcome {
        point: PointSummary::of(&prepared.snapshot),
        target: request.target.to_string(),
        end: chosen.end,
        major: chosen.base.major,
        files: report.files,
        bytes: report.bytes,
        wal_segments: prepared.wal_files(),
        took: clock.elapsed(),
        left_out: report.left_out,
        notes: chosen.notes.clone(),
        next: next_steps(request, chosen.base.major),
    })
}

fn tree_path(path: &str) -> Result<TreePath, RecoveryError> {
    Ok(TreePath::new(path).map_err(rekindle_vault::BackupError::from)?)
}

/// Settings and signal file, owned as the rest, and everything durable.
fn make_recover(
    prepared: &Prepared,
    request: &RestoreAtRequest,
    fetched: &Fetched,
) -> Result<(), RecoveryError> {
    let directory = &request.to;
    let failed = |path: PathBuf| {
        move |source| RecoveryError::Prepare {
            path: path.display().to_string(),
            source,
        }
    };
    let chosen = &prepared.chosen;
    let settings = settings::settings(request, &chosen.target, &chosen.lineage, &fetched.raised);
    settings::write(directory, &settings, &request.target)
        .map_err(failed(directory.join("postgresql.auto.conf")))?;
    let signal = directory.join("recovery.signal");
    durable::create(&signal, b"", 0o600).map_err(failed(signal))?;
    for name in ["postgresql.auto.conf", "postgresql.conf", "recovery.signal"] {
        let path = directory.join(name);
        if path.exists() {
            fetched.owner.give(&path).map_err(failed(path))?;
        }
    }
    durable::sync_file_system(directory).map_err(failed(directory.clone()))
}

fn next_steps(request: &RestoreAtRequest, major: u32) -> Vec<String> {
    let to = request.to.display();
    let mut next = vec![
        format!(
            "start it with PostgreSQL {major}, as the user who owns {to}; it recovers by itself:"
        ),
        format!("  pg_ctl -D {to} -o '-p 5433' -l {to}.log -w start"),
        "it answers when it has arrived, and not before:".to_owned(),
        "  until psql -p 5433 -c 'select now()' 2>/dev/null; do sleep 1; done".to_owned(),
    ];
    if request.action == TargetAction::Pause && request.target != RecoveryTarget::Latest {
        next.push(
            "  psql -p 5433 -c 'select pg_wal_replay_resume()'    when it is the right moment"
                .to_owned(),
        );
    }
    if !request.keeps_archiving {
        next.push(
            "it archives nothing and cannot be a standby; before it takes the place of the real \
             one, remove the lines below `# Recovery to` from its postgresql.auto.conf, and restart it"
                .to_owned(),
        );
    }
    next
}

/// Whose the files of a data directory are.
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// The owner of the data directory's own files.
    pub fn of(directory: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(directory.join("PG_VERSION"))?;
        Ok(Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
        })
    }

    /// Gives a file away, unless it is theirs.
    pub fn give(&self, path: &Path) -> std::io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path)?;
        if (metadata.uid(), metadata.gid()) == (self.uid, self.gid) {
            return Ok(());
        }
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
    }
}
