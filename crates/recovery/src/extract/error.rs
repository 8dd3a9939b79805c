//! Why a table or database was not brought back.

use std::{io, path::PathBuf};

use rekindle_postgres::{self as pg, dump::DumpError, server::ControlError};

/// Why a table or database was not brought back. Nothing that existed was touched.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// No directory has room for a restored data directory.
    #[error("no directory to work in has room for {needed_bytes} bytes; looked at {}", looked_at.join(", "))]
    NoRoom {
        /// What is needed.
        needed_bytes: u64,
        /// Where was looked, and what was there.
        looked_at: Vec<String>,
    },
    /// A server cannot run as root, and nobody says as whom else.
    #[error("as which user a scratch server could run is not known: this is root")]
    NoUser,
    /// There was no such table at that moment.
    #[error("there was no table {table} in database `{database}` then; it had {known}")]
    NoTable {
        /// What was asked for.
        table: String,
        /// Where.
        database: String,
        /// What there was.
        known: String,
    },
    /// Several schemas had a table of that name.
    #[error("several schemas had a table of that name: {}", found.join(", "))]
    Ambiguous {
        /// Them.
        found: Vec<String>,
    },
    /// Something that cannot be brought back like this.
    #[error("{what} cannot be brought back alone: {reason}")]
    Unsupported {
        /// What.
        what: String,
        /// Why not.
        reason: String,
    },
    /// The name is in use in the live server.
    #[error("{what} exists already")]
    NameTaken {
        /// What.
        what: String,
    },
    /// The scratch server did not do as asked.
    #[error("run a scratch server on the restored directory")]
    Scratch(#[from] ControlError),
    /// A server refused or went away.
    #[error("{doing}")]
    Postgres {
        /// What was being done.
        doing: String,
        /// Why not.
        source: Box<pg::Error>,
    },
    /// Dumping or restoring failed.
    #[error("{doing}")]
    Dump {
        /// What was being done.
        doing: String,
        /// Why not.
        source: Box<DumpError>,
    },
    /// What arrived is not what was sent; it was removed again.
    #[error("the rows that arrived are not those that were sent: {differences}")]
    RowsDiffer {
        /// Where they differ.
        differences: String,
    },
    /// A file system said no.
    #[error("{action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl ExtractError {
    /// What to do next, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoRoom { .. } => {
                "the whole cluster is restored for a moment: name a directory with room by \
                 `--work-dir`"
                    .to_owned()
            }
            Self::NoUser => {
                "run this as the user of the server, such as postgres, or install a user of that name"
                    .to_owned()
            }
            Self::NoTable { .. } => {
                "another moment, or another `--database`? `rekindle wal find` tells when a table was \
                 dropped"
                    .to_owned()
            }
            Self::Ambiguous { .. } => "say which, as in `--table schema.table`".to_owned(),
            Self::NameTaken { .. } => "choose another name by `--as`".to_owned(),
            Self::Scratch(error) => return error.hint().map(str::to_owned),
            Self::Postgres { source, .. } => match source.root() {
                pg::Error::NotPermitted { .. } => {
                    "the role of the service's URL needs CREATE on the database and the schema; a \
                     configuration whose URL names a superuser works"
                        .to_owned()
                }
                _ => return source.hint().map(str::to_owned),
            },
            Self::Dump { source, .. } => return rekindle_datasets::dump_hint(source),
            _ => return None,
        })
    }
}

/// Says what was being done when a server refused.
pub(super) trait Doing<T> {
    fn doing(self, doing: impl Into<String>) -> Result<T, ExtractError>;
}

impl<T> Doing<T> for Result<T, pg::Error> {
    fn doing(self, doing: impl Into<String>) -> Result<T, ExtractError> {
        self.map_err(|source| ExtractError::Postgres {
            doing: doing.into(),
            source: Box::new(source),
        })
    }
}

impl<T> Doing<T> for Result<T, DumpError> {
    fn doing(self, doing: impl Into<String>) -> Result<T, ExtractError> {
        self.map_err(|source| ExtractError::Dump {
            doing: doing.into(),
            source: Box::new(source),
        })
    }
}
