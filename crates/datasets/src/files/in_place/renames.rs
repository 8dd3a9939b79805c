//! Renames that replace nothing and are durable.

use std::{fs, io, path::Path};

use rekindle_vault::durable;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use crate::InPlaceError;

/// Gives a file or directory a name that is free; durable when this returns.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), InPlaceError> {
    let failed = |source| InPlaceError::Io {
        doing: format!("rename {} to {}", from.display(), to.display()),
        source,
    };
    rename_only(from, to).map_err(failed)?;
    let folders = [from.parent(), to.parent()];
    let folders = folders.into_iter().flatten();
    for folder in folders {
        durable::sync_folder(folder).map_err(failed)?;
    }
    Ok(())
}

/// The same without making it durable, for many in one folder.
pub(super) fn rename_only(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot refuse to replace. Nobody else makes names like ours.
        Err(Errno::INVAL | Errno::NOSYS) if !is_there(to)? => fs::rename(from, to),
        other => Ok(other?),
    }
}

/// Whether there is something of this name, whatever it is.
pub(crate) fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
