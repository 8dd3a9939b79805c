//! What a supervisor is told, and what it says of its service.

use std::{collections::BTreeMap, fs, io, path::PathBuf, time::Duration};

use jiff::Timestamp;
use rekindle_vault::durable;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::place::Place;
use crate::identity::Identity;

/// What to run and how: handed to the supervisor through its standard input, so that an
/// environment with secrets in it lies on no disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Tells this start from earlier ones.
    pub launch: String,
    pub argv: Vec<String>,
    pub directory: PathBuf,
    pub env: BTreeMap<String, String>,
    pub env_file: Option<PathBuf>,
    pub user: Option<String>,
    pub restart: Policy,
    pub stop_signal: String,
    pub log: PathBuf,
    /// The log is rotated at this size.
    pub log_limit_bytes: u64,
    pub pid_file: Option<PathBuf>,
    /// How long it is waited before the first restart; doubled each time.
    pub first_delay: Duration,
}

/// When it is started again after it ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    No,
    OnFailure,
    Always,
}

/// What a supervisor says of its service; stays when it ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub launch: String,
    pub phase: Phase,
    /// The process, while it lives.
    pub child: Option<Identity>,
    pub supervisor: Identity,
    /// Since when it is so.
    pub since: Timestamp,
    /// That of the last end; 128 and the signal's number for one by a signal.
    pub exit_code: Option<i64>,
    pub restarts: u64,
    pub policy: Policy,
    pub why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Running,
    /// It ended, and is started again in a moment.
    Waiting,
    Stopped,
    Failed,
}

/// How a supervisor is asked to stop its service.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct StopWish {
    pub limit: Duration,
}

impl Record {
    pub fn read(place: &Place) -> io::Result<Option<Self>> {
        read(&place.record())
    }

    pub fn write(&self, place: &Place) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        durable::replace(&place.record(), &text, 0o600)
    }
}

impl StopWish {
    /// Reads the wish and removes it, so that it counts once.
    pub fn take(place: &Place) -> Option<Self> {
        let wish = read(&place.wish()).ok().flatten();
        let _ = fs::remove_file(place.wish());
        wish
    }

    pub fn leave(self, place: &Place) -> io::Result<()> {
        durable::replace(&place.wish(), &serde_json::to_vec(&self)?, 0o600)
    }
}

fn read<T: DeserializeOwned>(path: &std::path::Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
