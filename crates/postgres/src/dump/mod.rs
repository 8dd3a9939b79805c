//! Logical dumps by the server's own tools.
//!
//! [`Tools::find`] looks for `pg_dump` and its companions of a fitting version, [`databases`] says
//! what there is to dump, [`Dump`] streams a dump and says at its end whether it is whole, and
//! [`restore_database`] brings one back under a new name.

mod created;
mod databases;
pub mod foreign;
mod load;
mod restore;
mod running;
mod stream;
mod swap;
mod tools;

use std::io;
use std::path::PathBuf;

pub use created::{UnfinishedDatabase, unfinished_databases};
pub use databases::{
    DatabaseInfo, Selection, Snapshot, TableCount, databases, row_counts, row_counts_in,
};
pub use load::{LeaveOut, Load, LoadSource, load_database, row_differences};
pub use restore::{RestoreOptions, restore_database, restore_into};
pub use stream::{Dump, GlobalsOptions, WholeDump};
pub use swap::{Swapped, swap_databases};
pub use tools::Tools;

use crate::error::Error;

/// Why there is no whole dump, or why one could not be brought back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The server refused or went away.
    #[error(transparent)]
    Postgres(#[from] Error),
    /// No client tools that fit the server were found.
    #[error(
        "no pg_dump of version {wanted} or later was found; looked at {}",
        listed(looked_at)
    )]
    NoTools {
        /// The server's major version.
        wanted: u32,
        /// Where was looked, and what was there.
        looked_at: Vec<String>,
    },
    /// A tool could not be started.
    #[error("start {tool}")]
    Start {
        /// Its path.
        tool: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A tool failed.
    #[error("{tool} failed ({status}): {stderr}")]
    ToolFailed {
        /// Its name.
        tool: &'static str,
        /// Its exit status, in words.
        status: String,
        /// What it wrote to stderr, without secrets.
        stderr: String,
    },
    /// A dump came to an end that is not the end of a whole one.
    #[error("{what} is not whole: {reason}")]
    NotWhole {
        /// Of what.
        what: String,
        /// What is missing.
        reason: String,
    },
    /// The archive to restore could not be read.
    #[error("read the archive")]
    ReadArchive {
        /// What its reader said.
        source: io::Error,
    },
    /// A dump from elsewhere is not what it should be.
    #[error(transparent)]
    Foreign(#[from] foreign::ForeignError),
    /// A database of that name exists; nothing was changed.
    #[error("database `{name}` exists already")]
    DatabaseExists {
        /// The name.
        name: String,
    },
}

fn listed(looked_at: &[String]) -> String {
    match looked_at {
        [] => "nothing".to_owned(),
        places => places.join(", "),
    }
}
