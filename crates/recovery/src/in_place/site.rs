//! The place of a data directory: what lies there and beside it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rekindle_vault::durable;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::{InPlaceError, Refusal};

/// The real path of a data directory, and the names that stand beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pgdata: PathBuf,
    parent: PathBuf,
    name: String,
}

impl Site {
    /// The place of `pgdata`, which need not exist now. A symbolic link is followed: what it leads to
    /// is replaced, and the link stays as it is.
    pub(super) fn of(pgdata: &Path) -> Result<Self, InPlaceError> {
        let not = |reason: &str| InPlaceError::NotADirectory {
            path: pgdata.to_owned(),
            reason: reason.to_owned(),
        };
        let real = match real_path(pgdata) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not("there is no such directory"));
            }
            found => found.map_err(InPlaceError::file("find", pgdata))?,
        };
        let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
            return Err(not("it is the root of the file system"));
        };
        let name = name.to_str().ok_or_else(|| not("its name is not UTF-8"))?;
        Ok(Self {
            parent: parent.to_owned(),
            name: name.to_owned(),
            pgdata: real,
        })
    }

    /// The data directory.
    pub(super) fn pgdata(&self) -> &Path {
        &self.pgdata
    }

    /// What it lies in.
    pub(super) fn parent(&self) -> &Path {
        &self.parent
    }

    /// Where the candidate is built.
    pub(super) fn candidate(&self) -> PathBuf {
        self.beside("new")
    }

    /// Where the journal lies.
    pub(super) fn journal(&self) -> PathBuf {
        self.beside("swap.json")
    }

    /// Where the output of a server goes that `pg_ctl` started.
    pub(super) fn log(&self) -> PathBuf {
        self.beside("server.log")
    }

    /// A name for what is set aside now, such as `data.rekindle-before-20261121T142959Z`.
    pub(super) fn aside(&self, what: &str, now: Timestamp) -> PathBuf {
        self.beside(&format!("{what}-{}", now.strftime("%Y%m%dT%H%M%SZ")))
    }

    fn beside(&self, what: &str) -> PathBuf {
        self.parent.join(format!("{}.rekindle-{what}", self.name))
    }

    /// Keeps other restores in place away from here, until it is dropped.
    pub(super) fn lock(&self) -> Result<File, InPlaceError> {
        let open = File::open(&self.parent);
        let handle = open.map_err(InPlaceError::file("open", &self.parent))?;
        match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(handle),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(InPlaceError::Busy {
                path: self.parent.clone(),
            }),
            Err(error) => Err(InPlaceError::file("lock", &self.parent)(error.into())),
        }
    }

    /// What of the place itself makes a swap impossible.
    pub(super) fn refusals(&self) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let shown = self.pgdata.display();
        if is_mount_point(&self.pgdata) {
            refusals.push(Refusal::new(
                format!("{shown} is a mount point, and cannot be renamed"),
                "restore with `--to` a directory on that file system, stop the server and move the \
                 content by hand; or keep PGDATA in a subdirectory of the mount",
            ));
        }
        if let Err(error) = rustix::fs::access(&self.parent, rustix::fs::Access::WRITE_OK) {
            refusals.push(Refusal::new(
                format!("{} cannot be written to: {error}", self.parent.display()),
                "run this as root: directories are renamed there",
            ));
        }
        refusals
    }

    /// Free bytes beside the data directory; `None` if that cannot be asked.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.parent).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Renames a directory, and makes that durable. Nothing is replaced.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), InPlaceError> {
    let renamed = renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
    let renamed = match renamed {
        // Some file systems cannot refuse to replace; the lock keeps our own kind away.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => {
            fs::rename(from, to)
        }
        other => other.map_err(io::Error::from),
    };
    renamed.map_err(InPlaceError::file("rename", from))?;
    let parent = to.parent().unwrap_or(to);
    durable::sync_folder(parent).map_err(InPlaceError::file("make durable", parent))
}

/// The path without symbolic links; of what does not exist, that of its parent and its own name.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(fs::canonicalize(parent)?.join(name))
        }
        (found, ..) => found,
    }
}

/// Whether something is mounted exactly there: a file system of its own, or a bind mount.
fn is_mount_point(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let parent = path.parent().unwrap_or(path);
    device(path) != device(parent) && path.exists() || is_mounted(path)
}

/// Source: proc_pid_mountinfo(5); spaces and backslashes are written in octal.
fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let shown = path.display().to_string();
    let escaped = shown.replace('\\', "\\134").replace(' ', "\\040");
    table
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&*escaped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_beside_the_real_directory() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        fs::create_dir(root.join("data")).unwrap();
        std::os::unix::fs::symlink(root.join("data"), root.join("link")).unwrap();
        let site = Site::of(&root.join("link")).unwrap();
        assert_eq!(site.pgdata(), root.join("data"));
        assert_eq!(site.candidate(), root.join("data.rekindle-new"));
        let now = "2026-11-21T14:29:59.5Z".parse().unwrap();
        assert_eq!(
            site.aside("before", now),
            root.join("data.rekindle-before-20261121T142959Z")
        );
        fs::remove_dir(root.join("data")).unwrap();
        assert_eq!(
            Site::of(&root.join("data")).unwrap().pgdata(),
            root.join("data")
        );
    }

    #[test]
    fn a_mount_point_is_refused_and_a_directory_is_not() {
        assert!(is_mount_point(Path::new("/proc")));
        let root = tempfile::tempdir().unwrap();
        assert!(!is_mount_point(root.path()));
    }

    #[test]
    fn nothing_is_replaced_by_a_rename() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        assert!(rename(&a, &b).is_err());
        fs::remove_dir(&b).unwrap();
        rename(&a, &b).unwrap();
        assert!(b.is_dir() && !a.exists());
    }

    #[test]
    fn two_restores_in_one_place_keep_out_of_each_others_way() {
        let root = tempfile::tempdir().unwrap();
        let site = Site::of(&root.path().join("data")).unwrap();
        let held = site.lock().unwrap();
        assert!(matches!(site.lock(), Err(InPlaceError::Busy { .. })));
        drop(held);
        site.lock().unwrap();
    }
}
