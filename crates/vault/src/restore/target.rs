//! The directory that is being filled.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{
    RestoreError,
    metadata::{self, Ownership},
};
use crate::{durable, snapshot::Snapshot, tree::Node};

/// Lies in the directory from the first change to the last. What lies beside it is ours: the
/// directory was empty when the mark was made.
const MARK: &str = "REKINDLE-RESTORE-UNFINISHED";

/// An empty directory that nobody else restores into.
pub(super) struct Target {
    directory: PathBuf,
    mark: File,
}

impl Target {
    /// Makes the directory, or takes an empty one, or clears what an unfinished restore left.
    pub fn prepare(
        directory: &Path,
        snapshot: &Snapshot,
        needed_bytes: u64,
    ) -> Result<Self, RestoreError> {
        make_directory(directory).map_err(RestoreError::target("make the directory", directory))?;
        let mark = mark(directory, snapshot)?;
        let target = Self {
            directory: directory.to_owned(),
            mark,
        };
        target.clear()?;
        target.ensure_room(needed_bytes)?;
        Ok(target)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Removes what an unfinished restore left.
    fn clear(&self) -> Result<(), RestoreError> {
        let failed = |path: &Path| RestoreError::target("clear what is left of a restore", path);
        let entries = fs::read_dir(&self.directory).map_err(failed(&self.directory))?;
        for entry in entries {
            let entry = entry.map_err(failed(&self.directory))?;
            if entry.file_name() == MARK {
                continue;
            }
            let path = entry.path();
            let is_directory = entry.file_type().map_err(failed(&path))?.is_dir();
            let removed = if is_directory {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(failed(&path))?;
        }
        Ok(())
    }

    fn ensure_room(&self, needed_bytes: u64) -> Result<(), RestoreError> {
        let stat = rustix::fs::statvfs(&self.directory)
            .map_err(|errno| errno.into())
            .map_err(RestoreError::target(
                "ask for the free space of",
                &self.directory,
            ))?;
        let available_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        if needed_bytes > available_bytes {
            let directory = self.directory.clone();
            self.unmark()?;
            return Err(RestoreError::NoSpace {
                directory,
                needed_bytes,
                available_bytes,
            });
        }
        Ok(())
    }

    fn unmark(&self) -> Result<(), RestoreError> {
        fs::remove_file(self.directory.join(MARK)).map_err(RestoreError::target(
            "remove the mark of an unfinished restore in",
            &self.directory,
        ))
    }

    /// Says that the directory is whole.
    pub fn finish(self, root: Option<&Node>, ownership: Ownership) -> Result<(), RestoreError> {
        let failed = || RestoreError::target("set owner, mode and times of", &self.directory);
        // Root may remove the mark whatever the mode is, and then a process killed after that
        // leaves nothing undone but a time.
        let is_root = rustix::process::geteuid().is_root();
        if let Some(node) = root.filter(|_| is_root) {
            metadata::apply(&self.directory, node, ownership).map_err(failed())?;
        }
        self.unmark()?;
        drop(self.mark);
        if let Some(node) = root {
            metadata::apply(&self.directory, node, ownership).map_err(failed())?;
        }
        durable::sync_folder(&self.directory)
            .map_err(RestoreError::target("make durable", &self.directory))
    }
}

/// Makes the directory for its owner alone until it is whole, and the way to it as anybody would: where the way were
/// closed to others, a server could not reach what was restored for it.
fn make_directory(directory: &Path) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        made => made,
    }
}

/// Marks the directory as being filled, and keeps others out by a lock on the mark.
fn mark(directory: &Path, snapshot: &Snapshot) -> Result<File, RestoreError> {
    let path = directory.join(MARK);
    let failed = |operation| RestoreError::target(operation, &path);
    let entries = fs::read_dir(directory).map_err(RestoreError::target("list", directory))?;
    let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let names = names.map_err(RestoreError::target("list", directory))?;
    if !names.iter().any(|name| name == MARK)
        && let Some(first) = names.iter().find(|name| *name != "lost+found")
    {
        let first = first.to_string_lossy().into_owned();
        return Err(RestoreError::TargetNotEmpty {
            directory: directory.to_owned(),
            first,
        });
    }
    let mut file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("mark as unfinished:"))?;
    use rustix::fs::FlockOperation::NonBlockingLockExclusive;
    if rustix::fs::flock(&file, NonBlockingLockExclusive).is_err() {
        return Err(RestoreError::TargetBusy {
            directory: directory.to_owned(),
        });
    }
    let text = format!(
        "Rekindle is restoring {} into this directory, which was empty.\n\
         While this file is here the directory is not whole; restoring into it again begins anew.\n",
        snapshot.id
    );
    file.set_len(0)
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| durable::sync_folder(directory))
        .map_err(failed("mark as unfinished:"))?;
    Ok(file)
}
