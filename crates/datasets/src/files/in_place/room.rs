//! Room on a disk for what is built beside what is there.

use std::path::Path;

use super::{io, refused};
use crate::InPlaceError;

/// Refuses if the file system of a directory has no room for so many bytes more: what is there stays beside them.
pub(crate) fn ensure_room(folder: &Path, needed_bytes: u64) -> Result<(), InPlaceError> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|errno| io("ask for the free space of", folder)(errno.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if needed_bytes <= free {
        return Ok(());
    }
    let reason = format!(
        "{} has {free} bytes free, and {needed_bytes} are needed: what is there is kept beside what is restored",
        folder.display()
    );
    Err(refused(
        reason,
        Some("make room, or restore to another disk with `--to`"),
    ))
}
