//! Base backups of a data directory within reach of our own hands.
//!
//! [`Session::start`] puts the server into backup mode, [`Session::plan`] says what to copy,
//! [`Session::stop`] returns what the server says of the backup, and [`Session::wal_files`] the WAL
//! that belongs to it. The copying is the caller's: in as many threads as are good for its storage.

mod page;
mod plan;
mod session;
mod wal;
mod walk;

pub use page::{PageVerdict, PageVerifier};
pub use plan::{FileKind, Plan, PlannedDirectory, PlannedFile, PlannedSymlink};
pub use session::{NotInPlace, Session, StartError};
pub use wal::WalFile;
