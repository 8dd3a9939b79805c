//! The last failure, kept for `doctor`: PostgreSQL counts failures and does not say why.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use super::PushError;
use crate::wal::place::Place;

const FILE: &str = "last-failure";

/// Why the newest `wal push` of this data directory failed; `None` if it did not, or that cannot
/// be read from here.
#[must_use]
pub fn last_failure(pgdata: &Path) -> Option<String> {
    let place = Place::of(&pgdata.join("pg_wal/x")).ok()?;
    let text = fs::read_to_string(place.ours().join(FILE)).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Notes why it failed. That it failed is what counts, and PostgreSQL is told that anyway.
pub(super) fn note(place: &Place, error: &PushError) {
    if let Err(error) = write(place, error) {
        tracing::debug!(%error, "why it failed is not noted");
    }
}

fn write(place: &Place, error: &PushError) -> io::Result<()> {
    let text = rekindle_datasets::with_causes(error);
    File::create(place.ours().join(FILE))?.write_all(text.as_bytes())
}

/// Notes that it did not.
pub(super) fn forget(place: &Place) {
    // Usually there is none.
    let _ = fs::remove_file(place.ours().join(FILE));
}
