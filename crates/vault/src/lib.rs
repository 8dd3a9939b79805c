//! A restic repository (format version 2) with its own engine, built for the speed of backup and
//! restore and for never calling a half-written thing done.
//!
//! Start at [`Vault`]: create or open one over a [`Store`]. [`Vault::start_backup`] gives a
//! [`Backup`] that takes files and streams and ends in a snapshot; [`Vault::restore`] brings one
//! back; [`Vault::check`] says whether every stored byte is what it was.
//!
//! Absent on purpose: what the data means. This crate knows nothing of PostgreSQL, services or
//! recovery points, and prints nothing.

mod blob;
mod chunk;
mod crypto;
pub mod durable;
mod error;
mod goquote;
mod host;
mod id;
mod index;
mod keyfile;
mod lock;
mod pack;
mod polynomial;
mod snapshot;
pub mod store;
mod tree;
mod unpacked;
mod vault;

pub use blob::{BlobKind, Compression, DataClass};
pub use chunk::Chunking;
pub use error::VaultError;
pub use host::Host;
pub use id::{Id, ParseIdError};
pub use index::{Index, Location};
pub use keyfile::{KeyInfo, Password};
pub use lock::{Lock, LockConflict, LockInfo, LockMode};
pub use pack::PackedBlob;
pub use snapshot::{Snapshot, StoredSnapshot, Summary};
pub use store::Store;
pub use tree::{ExtendedAttribute, Node, NodeKind, Tree};
pub use vault::{Config, CopyError, Vault};
