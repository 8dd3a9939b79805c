//! Why a server was not started, or not stopped.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;

/// What the server itself writes when recovery came to the end of WAL before the target.
const TARGET_NOT_REACHED: &str = "recovery ended before configured recovery target was reached";

/// Why a server was not started, or not stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The programs of the directory's major version are not here.
    #[error(
        "no server programs of PostgreSQL {wanted} were found; looked at {}",
        listed(looked_at)
    )]
    NoPrograms {
        /// The major version of the data directory.
        wanted: u32,
        /// Where was looked, and what was there.
        looked_at: Vec<String>,
    },
    /// PostgreSQL does not run as root, so it cannot run on root's directory.
    #[error("{} belongs to root, and PostgreSQL does not run as root", path.display())]
    OwnedByRoot {
        /// The data directory.
        path: PathBuf,
    },
    /// A server has to run as the owner of its directory, and only root can become somebody else.
    #[error("{} belongs to {owner}, and this is not run as that user", path.display())]
    NotOurs {
        /// The data directory.
        path: PathBuf,
        /// Its owner.
        owner: String,
    },
    /// A server runs on the directory already.
    #[error("a server runs on {} already (process {pid})", path.display())]
    Busy {
        /// The data directory.
        path: PathBuf,
        /// One of its processes.
        pid: u32,
    },
    /// A program could not be started.
    #[error("start {}", program.display())]
    Start {
        /// Its path.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A command said that it failed.
    #[error("`{command}` failed ({status}): {said}")]
    CommandFailed {
        /// The command line.
        command: String,
        /// Its exit status, in words.
        status: String,
        /// The end of what it wrote.
        said: String,
    },
    /// The server ended while it was waited for.
    #[error("the server on {} ended before it accepted connections ({status}); its log ends with:\n{log}", path.display())]
    Ended {
        /// The data directory.
        path: PathBuf,
        /// Its exit status, in words.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// The server shows no progress.
    #[error("the server on {} does not accept connections, and did nothing for {} s; its log ends with:\n{log}", path.display(), waited.as_secs())]
    Stuck {
        /// The data directory.
        path: PathBuf,
        /// How long nothing happened.
        waited: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// The server was told to stop and did not.
    #[error("the server on {} did not stop within {} s; still there: {still_there}", path.display(), waited.as_secs())]
    NotStopped {
        /// The data directory.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
        /// Its processes, or its lock file.
        still_there: String,
    },
    /// None of the names that were tried is a role with all rights.
    #[error("no superuser is known who could log in; tried {}", tried.join(", "))]
    NoSuperuser {
        /// The names.
        tried: Vec<String>,
    },
    /// A file could not be read, or a running server refused.
    #[error(transparent)]
    Postgres(#[from] Error),
}

impl ControlError {
    /// Whether the end of WAL came before the target of the recovery.
    pub fn is_target_not_reached(&self) -> bool {
        self.log().contains(TARGET_NOT_REACHED)
    }

    /// One sentence for a person about what to do next, where one is known.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoPrograms { .. } => {
                "install the server package of that version (on Debian: postgresql-VERSION), or name its bin directory by `bin_dir`"
            }
            Self::OwnedByRoot { .. } => "give it to the server's user, as in `--owner postgres`",
            Self::NotOurs { .. } => "run this as root, or as the owner",
            Self::Busy { .. } => "stop it first, or name another directory",
            Self::NoSuperuser { .. } => {
                "the user of the service's URL is tried first: name one there that existed at that moment"
            }
            Self::NotStopped { .. } => {
                "a client or an archive command may hold it back; nothing was moved"
            }
            _ if self.is_target_not_reached() => {
                "the target lies after the last WAL that is there; `rekindle wal windows` shows what can be reached"
            }
            _ if self.log().contains("Permission denied") => {
                "the server's user must be able to enter every directory above it"
            }
            _ if self.log().contains("No space left on device") => "make room on that disk",
            Self::Postgres(error) => return error.hint(),
            _ => return None,
        })
    }

    fn log(&self) -> &str {
        match self {
            Self::Ended { log, .. } | Self::Stuck { log, .. } => log,
            _ => "",
        }
    }
}

fn listed(looked_at: &[String]) -> String {
    match looked_at {
        [] => "nothing".to_owned(),
        places => places.join(", "),
    }
}
