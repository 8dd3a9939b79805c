//! How a stream is doing, for others to read: `<spool>/status.json`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use rekindle_postgres::{Lsn, Timeline, wal::receive::Place};
use serde::{Deserialize, Serialize};

use super::Gap;
use super::shared::{MAIN, Shared};

/// What a receiver is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// There is no connection.
    Connecting,
    /// WAL arrives as it is written.
    Streaming,
    /// The spool is full, and the server keeps its WAL meanwhile.
    WaitingForRoom,
    /// Receiving has ended; what is there is being stored.
    Ending,
    /// It ended.
    Stopped,
    /// It ended because of an error.
    Failed,
}

/// A moment and what was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// When.
    pub time: Timestamp,
    /// What.
    pub text: String,
}

/// How far one vault is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaneRecord {
    /// `vault`, or the copy's name.
    pub name: String,
    /// Where.
    pub location: String,
    /// Whether it was opened.
    pub is_open: bool,
    /// Up to where it has everything.
    pub stored: Option<Place>,
    /// Bytes that were received and that it has not.
    pub lag_bytes: u64,
    /// How long the oldest of those have been here.
    pub lag_seconds: f64,
    /// For how long it has been failing.
    pub failing_seconds: Option<u64>,
    /// What it said last when it failed.
    pub last_error: Option<Said>,
    /// Older WAL that it lacks and is getting from the main vault.
    pub lacks: Option<String>,
}

/// How a stream is doing. Fields are added, never renamed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamRecord {
    /// The service.
    pub service: String,
    /// The receiver's process.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// When this was written: once a second.
    pub updated: Timestamp,
    /// What it is doing.
    pub state: StreamState,
    /// The replication slot.
    pub slot: String,
    /// Whether the server may wait for it.
    pub synchronous: bool,
    /// The cluster's system identifier.
    pub system: Option<String>,
    /// The timeline that is being received.
    pub timeline: Option<Timeline>,
    /// Where received WAL ends.
    pub received: Option<Lsn>,
    /// Where WAL that is durable in the spool ends.
    pub durable: Option<Lsn>,
    /// What the server was told to be safe.
    pub reported: Lsn,
    /// Where the server's WAL ended when it last spoke.
    pub server_end: Option<Lsn>,
    /// Bytes received since it started.
    pub received_bytes: u64,
    /// Bytes in the spool.
    pub spool_bytes: u64,
    /// How many there may be.
    pub spool_limit: u64,
    /// The main vault first.
    pub vaults: Vec<LaneRecord>,
    /// What it said last when it failed.
    pub last_error: Option<Said>,
    /// WAL that could not be had.
    pub gaps: Vec<Gap>,
}

impl StreamRecord {
    pub(super) fn of(shared: &Shared) -> Self {
        let vaults = (0..shared.lane_count())
            .map(|index| LaneRecord::of(shared, index))
            .collect();
        let (spool_bytes, durable) = (shared.spool.used_bytes(), shared.spool.durable());
        let gaps = shared.gaps().all().to_vec();
        let mut progress = shared.progress();
        let slowest = (0..shared.lane_count())
            .filter_map(|index| shared.spool.stored(index))
            .min();
        if let Some(slowest) = slowest {
            progress.forget_until(slowest);
        }
        Self {
            service: shared.settings.service.clone(),
            pid: std::process::id(),
            started: shared.started,
            updated: Timestamp::now(),
            state: progress.state,
            slot: shared.settings.slot.to_string(),
            synchronous: shared.settings.synchronous,
            system: shared.spool.system().map(|(system, _)| system.to_string()),
            timeline: progress.received.or(durable).map(|place| place.timeline),
            received: progress.received.map(|place| place.lsn),
            durable: durable.map(|place| place.lsn),
            reported: progress.reported,
            server_end: progress.server_end,
            received_bytes: shared.received_bytes.load(Ordering::Relaxed),
            spool_bytes,
            spool_limit: shared.settings.spool_limit,
            vaults,
            last_error: said(&progress.last_error),
            gaps,
        }
    }

    /// Replaces the file, whole. It need not survive a power cut: whoever reads it then finds no receiver anyway.
    pub(super) fn write(&self, spool: &Path) -> io::Result<()> {
        let temporary = spool.join("status.json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(&temporary, spool.join("status.json"))
    }

    /// What the receiver of this spool wrote last; `None` if there never was one.
    pub(super) fn read(spool: &Path) -> io::Result<Option<Self>> {
        match fs::read(spool.join("status.json")) {
            Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The main vault.
    #[must_use]
    pub fn main(&self) -> Option<&LaneRecord> {
        self.vaults.get(MAIN)
    }
}

impl LaneRecord {
    fn of(shared: &Shared, index: usize) -> Self {
        let stored = shared.spool.stored(index);
        let lag_bytes = shared.spool.waiting_bytes(index);
        let age = match (stored, lag_bytes) {
            (_, 0) | (None, _) => 0.0,
            (Some(stored), _) => shared.progress().age_after(stored).as_secs_f64(),
        };
        let vault = &shared.settings.vaults[index];
        let lane = shared.lane(index);
        Self {
            name: vault.name.clone(),
            location: vault.settings.at.to_string(),
            is_open: lane.archive.is_some(),
            stored,
            lag_bytes,
            lag_seconds: (age * 1000.0).round() / 1000.0,
            failing_seconds: lane.failing_since.map(|since| since.elapsed().as_secs()),
            last_error: said(&lane.last_error),
            lacks: lane.lacks.clone(),
        }
    }
}

fn said(error: &Option<(Timestamp, String)>) -> Option<Said> {
    error.clone().map(|(time, text)| Said { time, text })
}
