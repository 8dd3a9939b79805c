//! Where the state of supervised services lies: one folder for each.

use std::{
    env,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

/// How often a lock that is taken is tried again.
const AGAIN: Duration = Duration::from_millis(5);

/// The folder of the state of all stacks: `$REKINDLE_RUN_DIR`, else `/run/rekindle` for root, else
/// `$XDG_RUNTIME_DIR/rekindle`, else below the home directory. What lies in it is of use until the
/// machine is started anew.
pub(crate) fn run_directory() -> PathBuf {
    let variable = |name| env::var_os(name).map(PathBuf::from);
    let absolute = |path: &PathBuf| path.is_absolute();
    if let Some(told) = variable("REKINDLE_RUN_DIR").filter(absolute) {
        return told;
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/rekindle");
    }
    let ours = variable("XDG_RUNTIME_DIR").filter(absolute);
    ours.map_or_else(
        || home().join(".local/state/rekindle/run"),
        |dir| dir.join("rekindle"),
    )
}

/// Where logs go that the configuration does not place.
pub(crate) fn log_directory() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/log/rekindle");
    }
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.filter(|path| path.is_absolute());
    let state = state.unwrap_or_else(|| home().join(".local/state"));
    state.join("rekindle/log")
}

fn home() -> PathBuf {
    let home = env::var_os("HOME").map(PathBuf::from);
    home.filter(|path| path.is_absolute())
        .unwrap_or_else(|| PathBuf::from("/var/tmp"))
}

/// The folder of one service's state.
#[derive(Clone, Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// Of a service of a stack. Names are checked where they are read: they hold no `/`.
    pub fn of(directory: &Path, service: &str) -> Self {
        Self(directory.join(service))
    }

    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder; others than its owner may not look into it.
    pub fn make(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
    }

    /// What the supervisor says of the service.
    pub fn record(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// How a supervisor that is asked to stop is told for how long to wait.
    pub fn wish(&self) -> PathBuf {
        self.0.join("stop.json")
    }

    /// What the supervisor itself has to say.
    pub fn supervisor_log(&self) -> PathBuf {
        self.0.join("supervisor.log")
    }

    /// The supervisor holds it while it lives; nobody else takes it for longer than a look.
    pub fn supervisors_lock(&self) -> PathBuf {
        self.0.join("supervisor.lock")
    }

    /// Held by whoever changes something, so that two commands do not.
    pub fn clients_lock(&self) -> PathBuf {
        self.0.join("client.lock")
    }
}

/// A lock on a file, given back when dropped, or when the process ends.
#[derive(Debug)]
pub(crate) struct FileLock(#[allow(dead_code, reason = "held, not used")] File);

impl FileLock {
    /// Takes it, waiting for `limit` at most; `None` if somebody else has it all the time.
    pub fn take(path: &Path, limit: Duration) -> io::Result<Option<Self>> {
        Self::with(path, FlockOperation::NonBlockingLockExclusive, limit)
    }

    /// Whether somebody holds it exclusively.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        // Shared, so that those who look at the same time do not take each other for its holder.
        let shared = Self::with(path, FlockOperation::NonBlockingLockShared, Duration::ZERO)?;
        Ok(shared.is_none())
    }

    fn with(path: &Path, how: FlockOperation, limit: Duration) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(path)?;
        let begun = Instant::now();
        loop {
            match flock(&file, how) {
                Ok(()) => return Ok(Some(Self(file))),
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < limit => {
                    thread::sleep(AGAIN);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
