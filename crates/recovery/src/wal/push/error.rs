//! Why a file was not archived.

use std::{io, path::Path};

use rekindle_postgres as pg;
use rekindle_vault::{WalArchive, WalArchiveError};

use crate::RecoveryError;

/// Why a file was not archived. PostgreSQL keeps the file and tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The path that was given names no file of PostgreSQL's WAL.
    #[error("`{path}` is no file that PostgreSQL archives")]
    NotWal {
        /// What was given.
        path: String,
    },
    /// The configuration does not say that a service archives its WAL so.
    #[error("no service of the configuration archives its WAL by `wal: push`")]
    NobodyPushes,
    /// The service that was named does not archive its WAL so.
    #[error("service `{service}` does not archive its WAL by `wal: push`")]
    DoesNotPush {
        /// Which.
        service: String,
    },
    /// There is no control file around, and the file does not say of which cluster it is.
    #[error("`{path}` lies in no data directory, so that its cluster cannot be told")]
    WhichCluster {
        /// The file.
        path: String,
    },
    /// The cluster's control file cannot be read.
    #[error("read which cluster it is")]
    ControlFile(#[source] pg::Error),
    /// A file system said no.
    #[error("{action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The file is not what its name says: cut short, of another cluster, or another segment.
    #[error("{path} is not archived: {reason}")]
    Unsound {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive has another file of this name, and keeps it.
    #[error("it is not archived: the archive keeps what it has")]
    Differs {
        /// Where.
        location: String,
        /// Which.
        source: WalArchiveError,
    },
    /// The archive did not take it.
    #[error("write to the archive of {location}")]
    Archive {
        /// Where.
        location: String,
        /// Why not.
        source: WalArchiveError,
    },
    /// Time was up before it was this file's turn.
    #[error("it was not archived in time")]
    NotTried,
    /// The vault could not be opened.
    #[error(transparent)]
    Vault(#[from] RecoveryError),
}

impl PushError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn of_archive(archive: &WalArchive, source: WalArchiveError) -> Self {
        let location = archive.location();
        match source {
            WalArchiveError::Differs { .. } => Self::Differs { location, source },
            source => Self::Archive { location, source },
        }
    }

    /// Whether another file may well be archived.
    pub(crate) fn is_about_one_file(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Unsound { .. } | Self::Differs { .. } => true,
            Self::WhichCluster { .. } | Self::NotWal { .. } => true,
            Self::Archive { source, .. } => matches!(
                source,
                WalArchiveError::NeedsPassword { .. }
                    | WalArchiveError::Damaged { .. }
                    | WalArchiveError::AnotherKey { .. }
                    | WalArchiveError::TooLong { .. }
                    | WalArchiveError::BadName(_)
            ),
            _ => false,
        }
    }

    /// Whether the archive only lacks the password to compare.
    pub(crate) fn needs_password(&self) -> bool {
        matches!(
            self,
            Self::Archive {
                source: WalArchiveError::NeedsPassword { .. },
                ..
            }
        )
    }

    /// What to do next, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotWal { .. } => "archive_command = 'rekindle --config FILE wal push %p'",
            Self::NobodyPushes | Self::DoesNotPush { .. } => {
                "set `wal: push` in the postgres dataset of the service whose server calls this"
            }
            Self::WhichCluster { .. } => {
                "run it in the data directory, as PostgreSQL does, with a path like pg_wal/NAME"
            }
            Self::Unsound { .. } => {
                "archiving stops at this file and the server keeps its WAL; later files that are \
                 ready were archived nonetheless. If the file is beyond repair, make a new base \
                 backup (`rekindle backup`) and then remove its .ready file in pg_wal/archive_status"
            }
            Self::Differs { .. } => {
                "two servers write the same history: a restored copy must run with archive_mode=off \
                 or be promoted to a timeline of its own. Later files that are ready were archived \
                 nonetheless. If this server is the right one, make a new base backup and then \
                 remove the .ready file in pg_wal/archive_status"
            }
            Self::Archive { source, .. } => return source.hint().map(str::to_owned),
            Self::Vault(error) => return error.hint(),
            _ => return None,
        };
        Some(text.to_owned())
    }
}
