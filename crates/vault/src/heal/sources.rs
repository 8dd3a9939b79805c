//! Vaults that may have what this one lost.

use super::HealReport;
use crate::{
    blob::BlobKind,
    error::VaultError,
    id::Id,
    index::Index,
    lock::Lock,
    snapshot::Snapshot,
    store::{FileKind, ObjectKey},
    vault::Vault,
};

/// A vault to heal from, read as far as it can be read.
pub(crate) struct Source {
    pub vault: Vault,
    pub index: Index,
    pub snapshots: Vec<Snapshot>,
    _lock: Option<Lock>,
}

impl Source {
    /// Opens what can be opened; the others are told.
    pub fn open_all(vaults: &[Vault], report: &mut HealReport) -> Vec<Self> {
        let mut sources = Vec::new();
        for vault in vaults {
            match Self::open(vault) {
                Ok((source, told)) => {
                    report.sources_failed.extend(told);
                    sources.push(source);
                }
                Err(error) => report.sources_failed.push(told(vault, &error)),
            }
        }
        sources
    }

    fn open(vault: &Vault) -> Result<(Self, Vec<String>), VaultError> {
        let lock = vault.lock_for_reading()?;
        let (index, lost) = vault.load_readable_index()?;
        let (snapshots, failed) = vault.readable_snapshots()?;
        let failures = lost.iter().chain(&failed);
        let told = failures.map(|error| told(vault, error)).collect();
        let source = Self {
            vault: vault.clone(),
            index,
            snapshots,
            _lock: lock,
        };
        Ok((source, told))
    }

    /// Whether it says that it has this blob.
    pub fn has(&self, kind: BlobKind, id: &Id) -> bool {
        self.index.find(kind, id).is_some()
    }

    /// The blob, verified; `None` if it is not there or not whole.
    pub fn blob(&self, kind: BlobKind, id: &Id) -> Option<Vec<u8>> {
        if !self.has(kind, id) {
            return None;
        }
        let read = self.vault.read_blob(&self.index, kind, id);
        read.inspect_err(|error| {
            tracing::warn!(
                source = %self.vault.location(), error = error.in_full(),
                "a source did not give a blob"
            );
        })
        .ok()
    }

    /// The bytes of a file of this very name, if they are what the name says: a source that was copied file by file has
    /// them, one with keys of its own has not.
    pub fn same_file(&self, kind: FileKind, id: &Id) -> Option<Vec<u8>> {
        let bytes = self.vault.store.read(&ObjectKey::of(kind, id)).ok()?;
        (Id::of(&bytes) == *id).then_some(bytes)
    }
}

/// The first source's blob.
pub(super) fn find_blob(sources: &[Source], kind: BlobKind, id: &Id) -> Option<Vec<u8>> {
    sources.iter().find_map(|source| source.blob(kind, id))
}

fn told(vault: &Vault, error: &VaultError) -> String {
    format!("{}: {}", vault.location(), error.in_full())
}
