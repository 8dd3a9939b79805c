//! Notes: one small durable file for each service that rests.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rekindle_vault::durable;
use serde::{Deserialize, Serialize};

use super::Rest;
use crate::Identity;

/// What was done to a service, by whom, and when. Fields are only added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    pub stack: String,
    pub service: String,
    pub rest: Rest,
    pub by: Identity,
    pub at: Timestamp,
}

pub(super) fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => durable::sync_folder(path.parent().unwrap_or(Path::new("/"))),
    }
}

impl Note {
    /// Writes it down; durable when this returns.
    pub fn leave(&self, directory: &Path) -> io::Result<PathBuf> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let name = format!("{:016x}.json", u64::from_le_bytes(bytes));
        let path = directory.join(name);
        durable::create(&path, &serde_json::to_vec_pretty(self)?, 0o600)?;
        Ok(path)
    }

    /// All notes, the newest first.
    pub fn all(directory: &Path) -> io::Result<Vec<(PathBuf, Self)>> {
        let mut notes = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = match fs::read(&path) {
                Ok(text) => text,
                // Its owner removed it in this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let note = serde_json::from_slice::<Self>(&text).map_err(|error| {
                io::Error::other(format!("{} is no note: {error}", path.display()))
            })?;
            notes.push((path, note));
        }
        // The last that was laid to rest goes on first: what needs others was stopped before them.
        notes.sort_by_key(|(_, note)| std::cmp::Reverse(note.at));
        Ok(notes)
    }
}
