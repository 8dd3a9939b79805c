//! What is known of a captured cluster.

use jiff::Timestamp;
use rekindle_postgres::{
    Lsn, ServerIdentity, Timeline,
    dump::{DatabaseInfo, TableCount, foreign::DumpForm},
    wire::{ChecksumFailure, Tablespace},
};
use serde::{Deserialize, Serialize};

use super::{Base, ImportedDump};

/// A captured cluster. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PostgresRecord {
    /// Which cluster: system identifier, version, timeline and more.
    pub identity: ServerIdentity,
    /// The base backup under `base/`.
    #[serde(default)]
    pub physical: Option<PhysicalRecord>,
    /// The dumps under `dump/`.
    #[serde(default)]
    pub logical: Option<LogicalRecord>,
    /// Where the dumps came from, if they were imported. Then `identity` is made up from what the
    /// dumps say, and its system identifier is 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<ImportedDump>,
}

/// How a base backup was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhysicalMethod {
    /// From the data directory.
    InPlace,
    /// Over a replication connection.
    Wire,
}

/// A base backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhysicalRecord {
    /// How it was read.
    pub method: PhysicalMethod,
    /// What the server knows it as.
    pub label: String,
    /// Where replay begins.
    pub start_lsn: Lsn,
    /// Where it is consistent.
    pub stop_lsn: Lsn,
    /// The timeline of both.
    pub timeline: Timeline,
    /// When it began, by our clock.
    pub start_time: Timestamp,
    /// When it had stopped, by our clock. What it holds is all that was committed before `stop_lsn`,
    /// which is a little earlier.
    pub stop_time: Timestamp,
    /// The source's tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// The first WAL segment that is in the point.
    pub first_wal_segment: Option<String>,
    /// The last one.
    pub last_wal_segment: Option<String>,
    /// Damaged pages of the source, which are in the point as they are.
    pub checksum_failures: Vec<ChecksumFailure>,
    /// Length of the chunks of relation files, in bytes.
    pub page_chunk_bytes: u32,
    /// Bytes of the cluster's files, without WAL.
    pub bytes: u64,
}

impl PhysicalRecord {
    pub(crate) fn new(base: &Base) -> Self {
        let result = &base.result;
        Self {
            method: base.method,
            label: result.label.clone(),
            start_lsn: result.start_lsn,
            stop_lsn: result.stop_lsn,
            timeline: result.start_timeline,
            start_time: result.start_time,
            stop_time: result.stop_time,
            tablespaces: result.tablespaces.clone(),
            first_wal_segment: result.wal_segments.first().cloned(),
            last_wal_segment: result.wal_segments.last().cloned(),
            checksum_failures: result.checksum_failures.clone(),
            page_chunk_bytes: base.page_chunk_bytes,
            bytes: base.bytes,
        }
    }
}

/// Dumps of databases.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogicalRecord {
    /// The major version of the tools that wrote them.
    pub tool_major: u32,
    /// The databases.
    pub databases: Vec<DumpedDatabase>,
}

/// A dumped database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DumpedDatabase {
    /// What is needed to make one like it.
    pub database: DatabaseInfo,
    /// The archive's name below `dump/`.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Rows of each table, counted in the snapshot that the dump is of; for an imported dump,
    /// counted in it.
    pub rows: Vec<TableCount>,
    /// How it is written: a custom archive, unless it was imported.
    #[serde(default = "custom", skip_serializing_if = "is_custom")]
    pub format: DumpForm,
    /// Which database of the file it is, from 0. Only SQL text of a cluster has several.
    #[serde(default, skip_serializing_if = "is_first")]
    pub section: usize,
}

const fn custom() -> DumpForm {
    DumpForm::Custom
}

fn is_custom(format: &DumpForm) -> bool {
    *format == DumpForm::Custom
}

fn is_first(section: &usize) -> bool {
    *section == 0
}
