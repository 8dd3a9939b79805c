//! The end of a hold.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rekindle_postgres::server::{ControlError, processes_on};
use rekindle_stack::Stack;
use rekindle_vault::Vault;
use serde::Serialize;

use super::{InPlaceError, Stage, journal::Journal, live::Place};
use crate::RecoveryError;

/// What would be removed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiscardPlan {
    /// The live directory, which is not touched.
    pub data_directory: PathBuf,
    /// The directories.
    pub directories: Vec<PathBuf>,
    /// Bytes on disk that are free afterwards.
    pub bytes: u64,
    /// Whether the old directory is among them, after which nothing can be undone.
    pub ends_undo: bool,
}

/// What was removed.
pub type DiscardOutcome = DiscardPlan;

/// Says what discarding would remove. Nothing is changed.
///
/// # Errors
/// [`InPlaceError::NothingHeld`]; [`InPlaceError::NotOver`] while something is half done.
pub fn plan_discard(
    stack: &Stack,
    service: &str,
    vault: Option<&Vault>,
) -> Result<DiscardPlan, RecoveryError> {
    let place = Place::find(stack, service, vault)?;
    Ok(plan(&place)?)
}

/// Removes what earlier restores in place set aside, and the journal. The live directory is kept.
///
/// # Errors
/// As [`plan_discard`]; or if something cannot be removed: the same command goes on then.
pub fn discard_in_place(
    stack: &Stack,
    service: &str,
    vault: Option<&Vault>,
) -> Result<DiscardOutcome, RecoveryError> {
    let place = Place::find(stack, service, vault)?;
    let _lock = place.site.lock()?;
    let plan = plan(&place)?;
    for directory in &plan.directories {
        if let Some(process) = processes_on(directory).first() {
            let (path, pid) = (directory.clone(), process.pid);
            return Err(InPlaceError::from(ControlError::Busy { path, pid }).into());
        }
    }
    for directory in &plan.directories {
        let removed = fs::remove_dir_all(directory);
        removed.map_err(InPlaceError::file("remove", directory))?;
    }
    Journal::remove(&place.site)?;
    Ok(plan)
}

fn plan(place: &Place<'_>) -> Result<DiscardPlan, InPlaceError> {
    let pgdata = place.site.pgdata();
    let journal = Journal::read(&place.site)?.ok_or_else(|| InPlaceError::NothingHeld {
        path: pgdata.to_owned(),
    })?;
    // What was interrupted while building has touched nothing live.
    if !(journal.stage.is_settled() || journal.stage == Stage::Building) {
        return Err(InPlaceError::NotOver {
            path: pgdata.to_owned(),
            state: journal.state(),
        });
    }
    let directories = journal.directories();
    let bytes = directories.iter().map(|path| disk_bytes(path)).sum();
    Ok(DiscardPlan {
        data_directory: pgdata.to_owned(),
        ends_undo: journal.stage == Stage::Held && journal.set_aside.exists(),
        bytes,
        directories,
    })
}

/// Bytes that a tree takes up; what cannot be read counts nothing.
fn disk_bytes(path: &Path) -> u64 {
    let walk = || -> io::Result<u64> {
        let metadata = fs::symlink_metadata(path)?;
        let own = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
        if !metadata.is_dir() {
            return Ok(own);
        }
        let entries = fs::read_dir(path)?.flatten();
        Ok(own + entries.map(|entry| disk_bytes(&entry.path())).sum::<u64>())
    };
    walk().unwrap_or(0)
}
