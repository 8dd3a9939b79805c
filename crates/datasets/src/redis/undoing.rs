//! What an undo has told the server, on disk while it lasts: a killed one must not leave the server a replica of nobody.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rekindle_vault::durable;
use serde::{Deserialize, Serialize};

use super::error::RedisError;
use super::prepare::{failed, with_suffix};

/// Where the server was told that its master is, and whether it was given a `masterauth`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Undoing {
    pub master: SocketAddr,
    pub masterauth_set: bool,
}

/// The note of an undo in work.
pub struct Note(PathBuf);

/// The note beside a copy that is given back.
pub fn undoing(safety: &Path) -> Note {
    Note(with_suffix(&safety.with_extension(""), "-undoing.json"))
}

impl Note {
    pub fn read(&self) -> Result<Option<Undoing>, RedisError> {
        let text = match fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(failed(&self.0))?,
        };
        let undoing = serde_json::from_slice(&text);
        undoing
            .map(Some)
            .map_err(|error| failed(&self.0)(error.into()))
    }

    pub fn write(&self, undoing: &Undoing) -> Result<(), RedisError> {
        let text = serde_json::to_vec(undoing).map_err(|error| failed(&self.0)(error.into()))?;
        durable::replace(&self.0, &text, 0o600).map_err(failed(&self.0))
    }

    pub fn remove(&self) -> Result<(), RedisError> {
        fs::remove_file(&self.0).map_err(failed(&self.0))
    }
}
