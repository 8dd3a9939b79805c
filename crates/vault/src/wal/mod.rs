//! The WAL archive: what a database server wrote since its base backups, one object per file.
//!
//! Start at [`Vault::wal_archive`](crate::Vault::wal_archive). An object is zstd frames in a file
//! of age, so that `age -d | zstd -d` gives back what was archived (docs/format.md). A name is
//! given away once: archiving the same content again is success, and other content is refused.
//!
//! Absent on purpose: what is in the files, which of them are needed, and when they may go.

mod archive;
mod check;
mod copy;
mod error;
mod frame;
mod keys;
mod name;
mod public;
mod put;

pub use archive::{WalArchive, WalListed};
pub use copy::WalCopyReport;
pub use error::WalArchiveError;
pub(crate) use frame::decompress as decompress_frames;
pub use frame::{WalEffort, wal_frame};
pub use name::{BadWalName, WalFile};
pub use public::{BadWalPublic, WalPublic};
pub use put::{SealedWal, WalPut};

const FOLDER: &str = "rekindle/wal";
