//! A directory to work in, which goes away again.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, chown},
    path::{Path, PathBuf},
    process,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use rekindle_postgres::server::stop_all_scratch;
use rekindle_vault::{Ownership, durable};
use rustix::fs::{FlockOperation, flock};

use super::ExtractError;

const PREFIX: &str = "rekindle-scratch-";
/// Held by whoever works in the directory; what nobody holds is left over.
const LOCK: &str = "lock";

/// What a handler of signals has to remove.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Stops all scratch servers of this process and removes their directories, for a handler of signals
/// that ends the process without unwinding.
pub fn remove_temporary() {
    stop_all_scratch();
    let directories = TEMPORARY
        .lock()
        .map(|mut directories| std::mem::take(&mut *directories))
        .unwrap_or_default();
    for directory in directories {
        // Threads that still restore make files meanwhile. What is left after a few attempts is
        // removed by the next one that works there.
        let _ = (0..10).find(|_| fs::remove_dir_all(&directory).is_ok() || !directory.exists());
    }
}

/// As whom a server runs on what is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerUser {
    pub uid: u32,
    pub gid: u32,
}

impl ServerUser {
    /// Ourselves, unless we are root; then the owner of the live directory, else the user postgres.
    pub(super) fn find(live: Option<&Path>) -> Result<Self, ExtractError> {
        let (us, ours) = (rustix::process::geteuid(), rustix::process::getegid());
        if !us.is_root() {
            return Ok(Self {
                uid: us.as_raw(),
                gid: ours.as_raw(),
            });
        }
        let owner = live
            .and_then(|path| fs::metadata(path).ok())
            .map(|metadata| (metadata.uid(), metadata.gid()));
        let named = || {
            let user = uzers::get_user_by_name("postgres")?;
            Some((user.uid(), user.primary_group_id()))
        };
        let found = owner.filter(|(uid, _)| *uid != 0).or_else(named);
        let (uid, gid) = found.ok_or(ExtractError::NoUser)?;
        Ok(Self { uid, gid })
    }

    pub(super) fn ownership(self) -> Ownership {
        match rustix::process::geteuid().is_root() {
            true => Ownership::Of {
                uid: self.uid,
                gid: self.gid,
            },
            false => Ownership::OfThisProcess,
        }
    }

    /// Whether this user can pass through a directory, as far as its permissions say.
    fn can_enter(self, directory: &Path) -> bool {
        let Ok(metadata) = fs::metadata(directory) else {
            return false;
        };
        let bit = match metadata.uid() == self.uid {
            true => 0o100,
            false if metadata.gid() == self.gid => 0o010,
            false => 0o001,
        };
        metadata.mode() & bit != 0
    }
}

/// Chooses where to work: `wanted`, else beside a local vault, else where temporary files go.
/// Nothing is made.
pub(super) fn choose(
    wanted: Option<&Path>,
    vault: &str,
    needed_bytes: u64,
    user: ServerUser,
) -> Result<PathBuf, ExtractError> {
    let places = match wanted {
        Some(wanted) => vec![wanted.to_owned()],
        None => usual_places(vault),
    };
    let mut looked_at = Vec::new();
    for place in places {
        match judge(&place, needed_bytes, user) {
            Ok(()) => return Ok(place),
            Err(reason) => looked_at.push(format!("{} ({reason})", place.display())),
        }
    }
    Err(ExtractError::NoRoom {
        needed_bytes,
        looked_at,
    })
}

fn usual_places(vault: &str) -> Vec<PathBuf> {
    let beside = Path::new(vault).parent().filter(|path| path.is_absolute());
    let mut places: Vec<PathBuf> = beside.map(Path::to_owned).into_iter().collect();
    places.extend([std::env::temp_dir(), PathBuf::from("/var/tmp")]);
    places.dedup();
    places
}

fn judge(place: &Path, needed_bytes: u64, user: ServerUser) -> Result<(), String> {
    let real = fs::canonicalize(place).map_err(|error| error.to_string())?;
    if rustix::fs::access(&real, rustix::fs::Access::WRITE_OK).is_err() {
        return Err("cannot be written to".to_owned());
    }
    if let Some(closed) = real.ancestors().find(|dir| !user.can_enter(dir)) {
        return Err(format!(
            "the server's user cannot enter {}",
            closed.display()
        ));
    }
    let stat = rustix::fs::statvfs(&real).map_err(|error| error.to_string())?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    match free < needed_bytes {
        true => Err(format!("{free} bytes free")),
        false => Ok(()),
    }
}

/// A directory of our own. Dropping it removes it with all that is in it.
pub(super) struct WorkDirectory {
    path: PathBuf,
    _lock: File,
}

impl WorkDirectory {
    /// Makes one in `parent`, and removes those that killed processes left there.
    pub(super) fn create(parent: &Path) -> Result<Self, ExtractError> {
        let parent = fs::canonicalize(parent).map_err(failed("find", parent))?;
        sweep(&parent);
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let name = format!("{PREFIX}{}-{}", process::id(), since.as_nanos());
        let path = parent.join(name);
        // Others may pass through, to the data directory that is closed by itself.
        let made = DirBuilder::new().mode(0o711).create(&path);
        made.map_err(failed("make", &path))?;
        let lock = durable::create(&path.join(LOCK), b"", 0o600)
            .and_then(|()| File::open(path.join(LOCK)))
            .and_then(|lock| {
                Ok(flock(&lock, FlockOperation::NonBlockingLockExclusive).map(|()| lock)?)
            });
        let lock = lock.map_err(failed("lock", &path))?;
        if let Ok(mut temporary) = TEMPORARY.lock() {
            temporary.push(path.clone());
        }
        Ok(Self { path, _lock: lock })
    }

    /// Where the data directory goes.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Gives the data directory itself to the server's user.
    pub(super) fn hand_over(&self, user: ServerUser) -> Result<(), ExtractError> {
        let data = self.data();
        let owner = fs::metadata(&data).map_err(failed("look at", &data))?.uid();
        if owner == user.uid {
            return Ok(());
        }
        chown(&data, Some(user.uid), Some(user.gid)).map_err(failed("give away", &data))
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "a directory to work in was left behind");
        }
        let mut temporary = TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner);
        temporary.retain(|path| *path != self.path);
    }
}

/// Removes what nobody works in any more.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let Ok(lock) = File::open(entry.path().join(LOCK)) else {
            continue;
        };
        if !is_ours || flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        tracing::info!(path = %entry.path().display(), "removing what a killed process left");
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "it could not be removed");
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ExtractError {
    let path = path.to_owned();
    move |source| ExtractError::File {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYBODY: ServerUser = ServerUser {
        uid: 65_534,
        gid: 65_534,
    };

    #[test]
    fn what_is_left_over_is_removed_and_what_is_in_use_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let used = WorkDirectory::create(parent.path()).unwrap();
        let dead = parent.path().join(format!("{PREFIX}1-1"));
        fs::create_dir(&dead).unwrap();
        durable::create(&dead.join(LOCK), b"", 0o600).unwrap();
        let own = parent.path().join(format!("{PREFIX}mine"));
        fs::create_dir(&own).unwrap();
        let second = WorkDirectory::create(parent.path()).unwrap();
        assert!(!dead.exists() && own.exists() && used.path.exists());
        drop(second);
        drop(used);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_without_room_or_way_is_refused_with_the_reason() {
        let parent = tempfile::tempdir().unwrap();
        let error = choose(Some(parent.path()), "/x/vault", u64::MAX, ANYBODY).unwrap_err();
        assert!(matches!(error, ExtractError::NoRoom { .. }), "{error}");
        let error = choose(Some(Path::new("/nonexistent")), "", 1, ANYBODY).unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
    }
}
