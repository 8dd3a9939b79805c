//! Base backups over nothing but a connection.
//!
//! Start at [`take`].

mod base_backup;
mod checksum;
mod manifest;
mod origin;
mod progress;
mod take;
mod tar;
mod tree;
pub(crate) mod wal;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use progress::Progress;
pub use take::take;

use crate::error::Error;
use crate::identity::ServerIdentity;
use crate::layout::{Lsn, Timeline};

/// How a base backup is to be taken.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// What the backup is called, in its label and in the server's log.
    pub label: String,
    /// Whether the server writes its checkpoint as fast as it can, rather than spread over minutes.
    pub fast_checkpoint: bool,
    /// Whether the server first adds up the sizes of all files, for progress in per cent.
    pub estimate_size: bool,
    /// Whether to ask for a `backup_manifest`, with which `pg_verifybackup -n` verifies the restored
    /// tree. It is changed where the tree differs from what the server sent.
    pub manifest: bool,
    /// Counts what arrives, for whoever wants to show it.
    pub progress: Option<Arc<Progress>>,
}

impl BackupRequest {
    /// A backup with a fast checkpoint, sizes and a manifest.
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            fast_checkpoint: true,
            estimate_size: true,
            manifest: true,
            progress: None,
        }
    }
}

/// Why there is no base backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError<E> {
    /// The server or the connection failed.
    #[error(transparent)]
    Postgres(#[from] Error),
    /// The sink failed; the backup was given up.
    #[error(transparent)]
    Sink(E),
}

/// A tablespace of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its OID; in the tree it lies under `tablespaces/<oid>/`.
    pub oid: u32,
    /// Where it lay on the source.
    pub original_location: String,
    /// Bytes of its files.
    pub size_bytes: u64,
}

/// A page whose checksum does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecksumFailure {
    /// The file, relative to PGDATA, if it is known.
    pub file: Option<String>,
    /// The page's number, counted as the reporter counts: the server within the file, the reader in
    /// place within the relation's fork.
    pub block: Option<u32>,
    /// What was reported, for a person.
    pub message: String,
}

/// A finished base backup. All WAL from `start_lsn` to `stop_lsn` was handed over with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupResult {
    /// Which cluster it is of.
    pub identity: ServerIdentity,
    /// What it is called.
    pub label: String,
    /// Where replay begins.
    pub start_lsn: Lsn,
    /// Where replay makes it consistent: the first place that is not needed.
    pub stop_lsn: Lsn,
    /// The timeline of both.
    pub start_timeline: Timeline,
    /// When it began, by our clock.
    pub start_time: jiff::Timestamp,
    /// When it stopped, by our clock.
    pub stop_time: jiff::Timestamp,
    /// The source's tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// The content of `backup_label`, which is in the tree too.
    pub backup_label: String,
    /// The content of `tablespace_map` as it is in the tree, with relative targets.
    pub tablespace_map: Option<String>,
    /// The names of the WAL segments handed over, in order.
    pub wal_segments: Vec<String>,
    /// Pages that are damaged on the source. The backup holds them as they are.
    pub checksum_failures: Vec<ChecksumFailure>,
}
