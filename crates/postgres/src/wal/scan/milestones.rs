//! Records of the server about itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{Numbers, Record, Rmgr, time};
use crate::layout::{Lsn, Timeline};

/// A place that somebody named with `pg_create_restore_point`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// Its name; nothing keeps two from having the same.
    pub name: String,
    /// When it was made.
    pub time: Timestamp,
    /// Where its record begins.
    pub lsn: Lsn,
    /// Where its record ends.
    pub lsn_end: Lsn,
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Where its record begins.
    pub lsn: Lsn,
    /// Where replay from it begins.
    pub redo: Lsn,
    /// The timeline it was made on.
    pub timeline: Timeline,
    /// When it began, to the second.
    pub time: Timestamp,
    /// Whether the server stopped with it, or began a timeline; else it was made in passing.
    pub is_shutdown: bool,
}

/// How much the server writes to the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalLevel {
    /// Enough to survive a crash; no archive is of use with it.
    Minimal,
    /// Enough for archives and standbys.
    Replica,
    /// Enough to read row changes out of it, too.
    Logical,
}

/// The server started with other settings than before. A server that recovers needs at least as
/// much of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterChange {
    /// Where its record begins.
    pub lsn: Lsn,
    /// `max_connections`.
    pub max_connections: u32,
    /// `max_worker_processes`.
    pub max_worker_processes: u32,
    /// `max_wal_senders`.
    pub max_wal_senders: u32,
    /// `max_prepared_transactions`.
    pub max_prepared_transactions: u32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_transaction: u32,
    /// `wal_level`; `None` for one that this program does not know.
    pub wal_level: Option<WalLevel>,
}

/// What kind of record of the server about itself. Source: PostgreSQL's `catalog/pg_control.h` and
/// `access/xlog_internal.h`.
pub(super) enum Milestone {
    RestorePoint(RestorePoint),
    Checkpoint(Checkpoint),
    Parameters(ParameterChange),
}

impl Milestone {
    pub(super) fn of(record: &Record<'_>) -> Option<Self> {
        if record.rmgr() != Rmgr::XLOG {
            return None;
        }
        let data = || record.main_data();
        match record.info() {
            0x00 => checkpoint(record, data()?, true).map(Self::Checkpoint),
            0x10 => checkpoint(record, data()?, false).map(Self::Checkpoint),
            0x60 => parameters(record, data()?).map(Self::Parameters),
            0x70 => restore_point(record, data()?).map(Self::RestorePoint),
            _ => None,
        }
    }
}

impl RestorePoint {
    /// The named place that a record makes, if it makes one.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        match Milestone::of(record)? {
            Milestone::RestorePoint(point) => Some(point),
            _ => None,
        }
    }
}

fn restore_point(record: &Record<'_>, data: &[u8]) -> Option<RestorePoint> {
    let name = data.get(8..)?;
    let length = name.iter().position(|byte| *byte == 0)?;
    Some(RestorePoint {
        name: String::from_utf8_lossy(&name[..length]).into_owned(),
        time: time::from_postgres(data.i64_at(0)?)?,
        lsn: record.start(),
        lsn_end: record.end(),
    })
}

/// The place of the time has been the same since 13; 17's `wal_level` went into padding.
fn checkpoint(record: &Record<'_>, data: &[u8], is_shutdown: bool) -> Option<Checkpoint> {
    Some(Checkpoint {
        lsn: record.start(),
        redo: Lsn::new(data.u64_at(0)?),
        timeline: Timeline::new(data.u32_at(8)?),
        time: Timestamp::from_second(data.i64_at(64)?).ok()?,
        is_shutdown,
    })
}

fn parameters(record: &Record<'_>, data: &[u8]) -> Option<ParameterChange> {
    Some(ParameterChange {
        lsn: record.start(),
        max_connections: data.u32_at(0)?,
        max_worker_processes: data.u32_at(4)?,
        max_wal_senders: data.u32_at(8)?,
        max_prepared_transactions: data.u32_at(12)?,
        max_locks_per_transaction: data.u32_at(16)?,
        wal_level: match data.u32_at(20)? {
            0 => Some(WalLevel::Minimal),
            1 => Some(WalLevel::Replica),
            2 => Some(WalLevel::Logical),
            _ => None,
        },
    })
}
