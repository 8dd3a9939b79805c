//! A restic repository (format version 2) with its own engine, built for the speed of backup and
//! restore and for never calling a half-written thing done.
//!
//! Start at [`Vault`]: create or open one over a [`Store`]. [`Vault::start_backup`] gives a
//! [`Backup`] that takes files and streams and ends in a snapshot; [`Vault::restore`] brings one
//! back; [`Vault::check`] says whether every stored byte is what it was.
//!
//! Absent on purpose: what the data means. This crate knows nothing of PostgreSQL, services or
//! recovery points, and prints nothing.

pub mod age;
mod backup;
mod blob;
mod budget;
mod cache;
mod check;
mod chunk;
mod copy;
mod crypto;
mod diff;
mod direct;
pub mod durable;
mod elsewhere;
mod error;
mod forget;
#[doc(hidden)]
pub mod fuzzing;
mod goquote;
mod hash;
mod heal;
mod hold;
mod host;
mod id;
mod index;
mod keyfile;
mod keys;
mod lock;
mod note;
mod object_lock;
mod opener;
mod pack;
mod parity;
mod path;
mod polynomial;
mod progress;
mod prune;
mod reader;
mod reindex;
mod restore;
mod salvage;
#[cfg(test)]
mod scale_tests;
mod set_aside;
mod siblings;
mod snapshot;
mod stats;
pub mod store;
mod together;
mod tree;
mod unpacked;
mod vault;
mod wal;

pub use backup::{
    AddedBytes, Backup, BackupError, BackupOptions, FileSet, FileWriter, Inspect, Inspected,
    LocalFile, LocalTree, NewExtension, SnapshotDraft, Taken, TreeChange, TreeReport, Trouble,
    TroubleKind, WhenMissing,
};
pub use blob::{BlobKind, Compression, DataClass};
pub use check::{
    BudgetedCheck, CheckReport, Coverage, Hit, Problem, Thoroughness, VerifiedRecord,
    VerifiedRecordError,
};
pub use chunk::Chunking;
pub use copy::{
    CopiedSnapshot, CopiedSnapshots, CopyDamage, CopyEstimate, CopyOptions, CopyRecord, CopyReport,
    CopyToError,
};
pub use diff::{Change, Difference};
pub use error::VaultError;
pub use heal::{HealOptions, HealReport};
pub use hold::{HOLD_TAG, Hold, HoldScope, Holds};
pub use host::Host;
pub use id::{Id, ParseIdError};
pub use index::{Index, Location};
pub use keyfile::{KeyInfo, Password};
pub use keys::{Rotated, Rotation};
pub use lock::{FoundLock, Lock, LockConflict, LockInfo, LockMode, LockOwner, release_all_locks};
pub use object_lock::{
    ExtendReport, HiddenKind, HiddenObject, HiddenObjects, LockRecord, LockRecordError, LockStatus,
    ObjectLockStatus, UndeletePlan, UndeleteReport, Undeletion, WhenToExtend,
};
pub use pack::PackedBlob;
pub use parity::{BadParityScheme, ParityHealed, ParityReport, ParityScheme, ParityStatus};
pub use path::{BadPath, TreePath};
pub use progress::Progress;
pub use prune::{
    Grace, MaxUnused, PackStep, PlannedPack, PruneError, PruneOptions, PrunePlan, PruneReport,
};
pub use reader::FileReader;
pub use reindex::{ReindexPlan, ReindexReport, UnreadablePack};
pub use restore::{
    FileDamage, Ownership, RestoreError, RestoreOptions, RestoreReport, UnfinishedRestore,
};
pub use salvage::{ConfigRemade, Salvage, SalvagePoint, SalvagedPoint};
pub use snapshot::{Snapshot, StoredSnapshot, Summary};
pub use stats::VaultStats;
pub use store::Store;
pub use tree::{ExtendedAttribute, Node, NodeKind, Tree};
pub use vault::{Config, CopyError, Vault};
pub use wal::{
    BadWalName, BadWalPublic, SealedWal, WalArchive, WalArchiveError, WalCopyReport, WalEffort,
    WalFile, WalListed, WalPublic, WalPut, wal_frame,
};
