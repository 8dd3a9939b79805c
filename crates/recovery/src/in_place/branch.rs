//! A server that comes back after another one stood in its place.
//!
//! Both wrote from the same moment on. The restored one began a timeline; if the old one went on
//! with its own, the archive's newest history would be the one that was given up, and `latest` would
//! lead there. So the old server begins a newer one.

use std::{fs, io, path::Path};

use rekindle_postgres::{ControlFile, Timeline, layout::WalFileKind, server::Owner};
use rekindle_vault::durable;

use super::{
    InPlaceError,
    candidate::{forget_recovery, take_histories},
};
use crate::wal::write_recovery_of_its_own;

const SIGNAL: &str = "recovery.signal";

/// Has the server on `old` begin a timeline above that of `restored` at its next start, if that one
/// had begun any. Can be repeated until the server has started.
pub(super) fn prepare(old: &Path, restored: &Path) -> Result<bool, InPlaceError> {
    let Ok(ours) = ControlFile::read(old) else {
        tracing::warn!(
            directory = %old.display(),
            "the control file cannot be read: the server that comes back keeps its timeline"
        );
        return Ok(false);
    };
    // Histories, because a control file lags a promotion.
    if newest_history(restored) <= Some(ours.timeline) {
        return Ok(false);
    }
    let auto = old.join("postgresql.auto.conf");
    let signal = old.join(SIGNAL);
    if signal.exists() {
        // From an attempt that was cut short.
        forget_recovery(old)
            .map_err(InPlaceError::file("clear the recovery settings of", &auto))?;
    }
    write_recovery_of_its_own(old)
        .map_err(InPlaceError::file("write the recovery settings to", &auto))?;
    match durable::create(&signal, b"", 0o600) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.map_err(InPlaceError::file("create", &signal))?,
    }
    let owner = Owner::of(old)?;
    for path in [auto, signal, old.join("postgresql.conf")] {
        if path.exists() {
            owner.give(&path)?;
        }
    }
    take_histories(restored, old)?;
    Ok(true)
}

/// The newest timeline that a directory's own WAL has a history of.
fn newest_history(directory: &Path) -> Option<Timeline> {
    let entries = fs::read_dir(directory.join("pg_wal")).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| name.parse() == Ok(WalFileKind::History))
        .filter_map(|name| u32::from_str_radix(&name[..8], 16).ok())
        .map(Timeline::new)
        .max()
}

/// Takes back what the start was told, once it is over.
pub(super) fn finish(old: &Path) -> Result<(), InPlaceError> {
    let auto = old.join("postgresql.auto.conf");
    if fs::exists(old.join(SIGNAL)).unwrap_or(false) {
        return Ok(());
    }
    forget_recovery(old).map_err(InPlaceError::file("clear the recovery settings of", &auto))
}
