//! What there is in the vault: index files, packs, snapshots. Every file is read, or it is an error.

use std::collections::HashSet;

use super::{PruneError, ledger::Ledger};
use crate::{
    error::VaultError, id::Id, index::StoredIndex, snapshot::StoredSnapshot, store::FileKind,
    together, unpacked, vault::Vault,
};

/// Index files that are in memory at the same time: as text they take several times their room in
/// the ledger.
const FILES_AT_ONCE: usize = 16;
/// Snapshots that are in memory at the same time; they are small.
const SNAPSHOTS_AT_ONCE: usize = 256;

/// A pack that no index file names.
#[derive(Clone, Copy)]
pub(super) struct UnlistedPack {
    pub id: Id,
    pub size_bytes: u64,
}

/// Takes index files that the ledger does not know into it. One that it knows and that is gone
/// means that somebody else writes the index.
pub(super) fn read_index(vault: &Vault, ledger: &mut Ledger) -> Result<(), PruneError> {
    let listed = vault.list_ids(FileKind::Index)?;
    let known: HashSet<Id> = ledger.files.iter().map(|file| file.id).collect();
    let there: HashSet<Id> = listed.iter().copied().collect();
    if !known.is_subset(&there) {
        return Err(PruneError::ChangedMeanwhile);
    }
    let mut new: Vec<Id> = there.difference(&known).copied().collect();
    new.sort_unstable();
    for some in new.chunks(FILES_AT_ONCE) {
        let read = together::each(some, |id| load::<StoredIndex>(vault, FileKind::Index, id));
        for (id, stored) in some.iter().zip(read) {
            match stored {
                Ok(stored) => ledger.add_file(*id, &stored),
                Err(error) if error.is_not_found() => return Err(PruneError::ChangedMeanwhile),
                Err(error) => return Err(error.into()),
            }
        }
    }
    ledger.sort();
    Ok(())
}

/// Notes which packs are there; returns those that no index file names. To be called after the
/// index was read: a pack is stored before it is listed.
pub(super) fn list_packs(
    vault: &Vault,
    ledger: &mut Ledger,
) -> Result<Vec<UnlistedPack>, PruneError> {
    let listed = vault.store.list(FileKind::Pack.folder());
    for pack in &mut ledger.packs {
        pack.size = None;
    }
    let mut unlisted = Vec::new();
    for object in listed.map_err(VaultError::from)? {
        // Other names are other programs' temporary files.
        let Ok(id) = object.key.name().parse() else {
            continue;
        };
        let size_bytes = object.size_bytes;
        match ledger.number_of(&id) {
            Some(number) => ledger.packs[number as usize].size = Some(size_bytes),
            None => unlisted.push(UnlistedPack { id, size_bytes }),
        }
    }
    unlisted.sort_unstable_by_key(|pack| pack.id);
    Ok(unlisted)
}

/// The roots of all snapshots that `known` does not name; they are noted there.
pub(super) fn new_roots(vault: &Vault, known: &mut HashSet<Id>) -> Result<Vec<Id>, PruneError> {
    let listed = vault.list_ids(FileKind::Snapshot)?;
    let new: Vec<Id> = listed
        .into_iter()
        .filter(|id| !known.contains(id))
        .collect();
    let mut roots = HashSet::new();
    let mut vanished = HashSet::new();
    for some in new.chunks(SNAPSHOTS_AT_ONCE) {
        let read = vault.each(some, |id| {
            load::<StoredSnapshot>(vault, FileKind::Snapshot, id)
        });
        for (id, stored) in some.iter().zip(read) {
            match stored {
                Ok(stored) => {
                    known.insert(*id);
                    roots.insert(stored.tree);
                }
                Err(error) if error.is_not_found() => {
                    vanished.insert(*id);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    if !vanished.is_empty() {
        ensure_forgotten(vault, &vanished)?;
    }
    let mut roots: Vec<Id> = roots.into_iter().collect();
    roots.sort_unstable();
    Ok(roots)
}

/// A snapshot that was listed and then not found was forgotten meanwhile, or the store contradicts
/// itself.
fn ensure_forgotten(vault: &Vault, vanished: &HashSet<Id>) -> Result<(), PruneError> {
    let listed = vault.list_ids(FileKind::Snapshot)?;
    match listed.iter().find(|id| vanished.contains(id)) {
        None => Ok(()),
        Some(id) => {
            let reason = "it is listed, and cannot be found";
            Err(VaultError::damaged(FileKind::Snapshot, id, reason).into())
        }
    }
}

fn load<T: serde::de::DeserializeOwned>(
    vault: &Vault,
    kind: FileKind,
    id: &Id,
) -> Result<T, VaultError> {
    unpacked::load(&*vault.store, &vault.key, kind, id)
}
