//! A mount point cannot be renamed, so what is in it changes places.
//!
//! How far that is, is told by the names of the directories in it: `.rekindle-aside-…partial` while the old entries move
//! in, `.rekindle-aside-…` once all have, `.rekindle-back-…` while they move out again. So whatever else lies there is
//! old before the second of them is there, new while it is, and old again after that.

use std::{
    ffi::OsString,
    fs::{self, Permissions},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rekindle_vault::durable;

use super::{
    OldRoot, Swap, io, refused,
    renames::{is_there, rename, rename_only},
    swap::renamed,
};
use crate::{InPlaceError, files::exclude::is_own_name};

/// Moves everything that is there into a directory beside it.
pub(super) fn set_aside(swap: &Swap) -> Result<(), InPlaceError> {
    let partial = partial(swap);
    make_directory(&partial)?;
    move_all(&swap.live, &partial)?;
    rename(&partial, &swap.aside)
}

/// Moves everything that was restored to its place.
pub(super) fn promote(swap: &Swap) -> Result<(), InPlaceError> {
    let new = fs::symlink_metadata(&swap.candidate).map_err(io("look at", &swap.candidate))?;
    move_all(&swap.candidate, &swap.live)?;
    dress(&swap.live, OldRoot::of(&new))?;
    fs::remove_dir(&swap.holder).map_err(io("remove the empty directory", &swap.holder))
}

/// Puts back what was there.
pub(super) fn undo(swap: &Swap) -> Result<Vec<String>, InPlaceError> {
    let (partial, back) = (partial(swap), back(swap));
    let mut done = Vec::new();
    if there(&swap.aside)? {
        if !there(&swap.restored)? {
            make_directory(&swap.restored)?;
        }
        move_all(&swap.live, &swap.restored)?;
        done.push(format!(
            "moved what was restored to {}",
            swap.restored.display()
        ));
        rename(&swap.aside, &back)?;
        done.push(renamed(&swap.aside, &back));
    }
    for old in [&partial, &back] {
        if there(old)? {
            move_all(old, &swap.live)?;
            fs::remove_dir(old).map_err(io("remove the empty directory", old))?;
            done.push(format!(
                "moved what was set aside back to {}",
                swap.live.display()
            ));
        }
    }
    if let Some(root) = swap.content {
        dress(&swap.live, root)?;
    }
    // Empty if nothing had been promoted.
    fs::remove_dir(&swap.restored).ok();
    Ok(done)
}

/// Whether nothing is half done.
pub(super) fn ensure_settled(swap: &Swap) -> Result<(), InPlaceError> {
    for path in [partial(swap), back(swap)] {
        if there(&path)? {
            let reason = format!("{} holds a part of what was there", path.display());
            return Err(refused(reason, Some("take the restore back first")));
        }
    }
    // Set aside, and the successor not promoted or not wholly.
    if there(&swap.aside)? && there(&swap.holder)? {
        let reason = format!("{} is not whole", swap.live.display());
        return Err(refused(reason, Some("take the restore back first")));
    }
    Ok(())
}

fn partial(swap: &Swap) -> PathBuf {
    let mut name = swap.aside.clone().into_os_string();
    name.push(".partial");
    name.into()
}

/// Of the same stamp as the directory set aside.
fn back(swap: &Swap) -> PathBuf {
    let name = swap.aside.file_name().unwrap_or_default().to_string_lossy();
    swap.aside.with_file_name(name.replacen("aside", "back", 1))
}

fn there(path: &Path) -> Result<bool, InPlaceError> {
    is_there(path).map_err(io("look at", path))
}

fn make_directory(path: &Path) -> Result<(), InPlaceError> {
    let made = fs::DirBuilder::new().mode(0o700).create(path);
    made.map_err(io("make the directory", path))
}

/// Moves every entry but our own; durable when this returns.
fn move_all(from: &Path, to: &Path) -> Result<(), InPlaceError> {
    let failed = || io("list", from);
    let listed: std::io::Result<Vec<OsString>> = fs::read_dir(from)
        .map_err(failed())?
        .map(|entry| Ok(entry?.file_name()))
        .collect();
    let names = listed.map_err(failed())?;
    for name in names.iter().filter(|name| is_moved(name)) {
        let path = from.join(name);
        rename_only(&path, &to.join(name)).map_err(io("move", &path))?;
    }
    for folder in [from, to] {
        durable::sync_folder(folder).map_err(io("make durable", folder))?;
    }
    Ok(())
}

/// `lost+found` belongs to the file system itself.
fn is_moved(name: &OsString) -> bool {
    name != "lost+found" && !is_own_name(Path::new(name))
}

/// Owner and mode of a directory. The mode comes after the owner, because a change of owner clears set-group-ID.
pub(super) fn dress(path: &Path, root: OldRoot) -> Result<(), InPlaceError> {
    let now = fs::symlink_metadata(path).map_err(io("look at", path))?;
    if (now.uid(), now.gid()) != (root.uid, root.gid) {
        chown(path, Some(root.uid), Some(root.gid)).map_err(io("set the owner of", path))?;
    }
    fs::set_permissions(path, Permissions::from_mode(root.mode))
        .map_err(io("set the mode of", path))
}
