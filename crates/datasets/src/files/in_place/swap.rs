//! One path changes places with its successor, and back.

use std::{fs, io::ErrorKind, os::unix::fs::MetadataExt, path::Path};

use super::{
    Stage, Swap, content, io, mounts, refused,
    renames::{is_there, rename},
};
use crate::InPlaceError;

/// The inode number of what has this name.
pub(crate) fn inode(path: &Path) -> Result<u64, InPlaceError> {
    let metadata = fs::symlink_metadata(path).map_err(io("look at", path))?;
    Ok(metadata.ino())
}

/// The inode number of what has this name, if anything has.
fn inode_if_there(path: &Path) -> Result<Option<u64>, InPlaceError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("look at", path)(error)),
    }
}

/// Sets aside what is there.
pub(super) fn set_aside(swap: &Swap) -> Result<(), InPlaceError> {
    if swap.content.is_some() {
        return content::set_aside(swap);
    }
    let found = inode_if_there(&swap.live)?;
    if found != swap.old_inode {
        let reason = format!(
            "{} was replaced by somebody else in this very moment",
            swap.live.display()
        );
        return Err(refused(
            reason,
            Some("stop what writes there, and try again"),
        ));
    }
    match found {
        Some(_) => rename(&swap.live, &swap.aside),
        None => Ok(()),
    }
}

/// Gives the successor its place.
pub(super) fn promote(swap: &Swap) -> Result<(), InPlaceError> {
    if swap.content.is_some() {
        return content::promote(swap);
    }
    if swap.is_vacated {
        return Ok(());
    }
    rename(&swap.candidate, &swap.live)?;
    if swap.candidate != swap.holder {
        fs::remove_dir(&swap.holder).map_err(io("remove the empty directory", &swap.holder))?;
    }
    Ok(())
}

/// Puts back what was there, wherever it is now. Returns what was done, in words.
pub(super) fn undo(swap: &Swap) -> Result<Vec<String>, InPlaceError> {
    if swap.content.is_some() {
        return content::undo(swap);
    }
    if swap.old_inode.is_none() {
        return undo_new(swap);
    }
    let live = is_there(&swap.live).map_err(io("look at", &swap.live))?;
    // Only this program gives the name aside, and only to what was there.
    if !is_there(&swap.aside).map_err(io("look at", &swap.aside))? {
        if live {
            return Ok(Vec::new());
        }
        let reason = format!(
            "what was {} before is neither there nor at {}",
            swap.live.display(),
            swap.aside.display()
        );
        return Err(refused(
            reason,
            Some("look for it by hand: this program deleted nothing of it"),
        ));
    }
    let mut done = Vec::new();
    if live {
        rename(&swap.live, &swap.restored)?;
        done.push(renamed(&swap.live, &swap.restored));
    }
    rename(&swap.aside, &swap.live)?;
    done.push(renamed(&swap.aside, &swap.live));
    Ok(done)
}

/// Where nothing was before, only what was restored goes: anything else there is somebody's new work. What a server has
/// under a name of its own goes with the rest, once: later it is new work as well.
fn undo_new(swap: &Swap) -> Result<Vec<String>, InPlaceError> {
    let live = inode_if_there(&swap.live)?;
    let was_undone = is_there(&swap.restored).map_err(io("look at", &swap.restored))?;
    let goes = live == swap.new_inode || (swap.is_owned && !was_undone);
    if live.is_none() || !goes {
        return Ok(Vec::new());
    }
    rename(&swap.live, &swap.restored)?;
    Ok(vec![renamed(&swap.live, &swap.restored)])
}

pub(super) fn renamed(from: &Path, to: &Path) -> String {
    format!("renamed {} to {}", from.display(), to.display())
}

/// What is deleted must not be the only one there is, and nothing may be mounted in it. What was there goes only if its
/// successor got its place and no undo has begun.
pub(super) fn ensure_discardable(swap: &Swap, stage: Stage) -> Result<(), InPlaceError> {
    let all = mounts::all()?;
    for path in [&swap.aside, &swap.restored, &swap.holder] {
        if let Some(mount) = mounts::below(&all, path).next() {
            let reason = format!(
                "{} is mounted in {}, which would be deleted",
                mount.display(),
                path.display()
            );
            return Err(refused(reason, Some("unmount it first")));
        }
    }
    if swap.content.is_some() {
        content::ensure_settled(swap)?;
    }
    let there = |path: &Path| is_there(path).map_err(io("look at", path));
    let has_successor = swap.is_vacated || there(&swap.live)?;
    let is_done = stage == Stage::Held && has_successor && !there(&swap.restored)?;
    if there(&swap.aside)? && !is_done {
        let reason = format!(
            "{} is not settled, and what was there stands at {}",
            swap.live.display(),
            swap.aside.display()
        );
        return Err(refused(reason, Some("take the restore back first")));
    }
    Ok(())
}

/// Deletes whatever stands aside.
pub(super) fn discard(swap: &Swap) -> Result<Vec<String>, InPlaceError> {
    let mut done = Vec::new();
    for path in [&swap.aside, &swap.restored, &swap.holder] {
        if remove(path)? {
            done.push(format!("deleted {}", path.display()));
        }
    }
    Ok(done)
}

/// Removes a successor that was never promoted.
pub(super) fn remove_candidate(swap: &Swap) -> Result<(), InPlaceError> {
    let all = mounts::all()?;
    if mounts::below(&all, &swap.holder).next().is_none() {
        remove(&swap.holder)?;
    }
    Ok(())
}

/// Deletes a file or a directory with all that is in it, following no link; whether there was one.
fn remove(path: &Path) -> Result<bool, InPlaceError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => Err(error),
    };
    removed.map(|()| true).map_err(io("delete", path))
}
