//! Why a file was not brought back from the archive.

use std::{io, path::Path};

use rekindle_postgres as pg;
use rekindle_vault::WalArchiveError;

use crate::RecoveryError;

/// Why a file was not brought back, other than that the archive does not have it. Recovery must
/// not go on as if it had ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// PostgreSQL has no WAL file of such a name.
    #[error("`{name}` is no name of a WAL file")]
    NotWal {
        /// What was asked for.
        name: String,
    },
    /// The cluster's control file cannot be read.
    #[error("read which cluster it is")]
    ControlFile(#[source] pg::Error),
    /// There is no data directory around, and the archive has WAL of several clusters, or of none.
    #[error("the archive of {location} has WAL of {count} clusters, and none was named")]
    WhichSystem {
        /// Where.
        location: String,
        /// How many.
        count: usize,
    },
    /// The archive has nothing at all of this cluster.
    #[error("the archive of {location} has nothing of the cluster with system identifier {system}")]
    NothingOfSystem {
        /// Where.
        location: String,
        /// Of which.
        system: u64,
    },
    /// The archive could not be read, or what it has is damaged.
    #[error("read `{name}` from the archive of {location}")]
    Archive {
        /// What was asked for.
        name: String,
        /// Where.
        location: String,
        /// Why not.
        source: WalArchiveError,
    },
    /// The archive could not be listed.
    #[error("list the archive of {location}")]
    List {
        /// Where.
        location: String,
        /// Why not.
        source: WalArchiveError,
    },
    /// What the archive has is not what the name says.
    #[error("`{name}` in the archive of {location} is damaged: {reason}")]
    Unsound {
        /// What was asked for.
        name: String,
        /// Where.
        location: String,
        /// What was noticed.
        reason: String,
    },
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
    /// The vault could not be opened.
    #[error(transparent)]
    Vault(#[from] RecoveryError),
}

impl GetError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// What to do next, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotWal { .. } => "restore_command = 'rekindle --config FILE wal get %f \"%p\"'",
            Self::WhichSystem { .. } => {
                "run it in the data directory, as PostgreSQL does, or name the cluster by --system"
            }
            Self::NothingOfSystem { .. } => {
                "recovery is stopped rather than ended early: is it the right vault? If nothing was \
                 ever archived for this cluster, start it without restore_command"
            }
            Self::Archive { .. } | Self::List { .. } | Self::Unsound { .. } => {
                "recovery is stopped rather than ended early; start the server again once the \
                 archive can be read, or recover to a moment before the damage"
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on the disk of pg_wal and start the server again"
            }
            Self::Vault(error) => return error.hint(),
            _ => return None,
        };
        Some(text.to_owned())
    }
}
