//! How large a vault is.

use serde::Serialize;

use crate::{error::VaultError, store::FileKind, vault::Vault};

/// Counts and sizes of what is stored.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VaultStats {
    /// Recovery points.
    pub snapshots: u64,
    /// Pack files.
    pub packs: u64,
    /// Blobs in the index.
    pub blobs: u64,
    /// Bytes of all files of the repository.
    pub stored_bytes: u64,
    /// Bytes of the blobs before compression, each once.
    pub unique_bytes: u64,
}

impl Vault {
    /// Counts what is stored.
    ///
    /// # Errors
    /// As the store failed, or an index file could not be read.
    pub fn stats(&self) -> Result<VaultStats, VaultError> {
        let mut stats = VaultStats {
            stored_bytes: self.stored_bytes()?,
            ..VaultStats::default()
        };
        stats.snapshots = self.list_ids(FileKind::Snapshot)?.len() as u64;
        stats.packs = self.list_ids(FileKind::Pack)?.len() as u64;
        let index = self.load_index()?;
        stats.blobs = index.len() as u64;
        stats.unique_bytes = index.plain_bytes();
        Ok(stats)
    }

    /// Bytes of all files of the repository.
    ///
    /// # Errors
    /// As the store failed to list.
    pub fn stored_bytes(&self) -> Result<u64, VaultError> {
        use FileKind::{Index, Key, Pack, Snapshot};
        let mut bytes = 0;
        for kind in [Key, Snapshot, Index, Pack] {
            bytes += self
                .store
                .list(kind.folder())?
                .iter()
                .map(|o| o.size_bytes)
                .sum::<u64>();
        }
        Ok(bytes)
    }
}
