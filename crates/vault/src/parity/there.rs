//! What there is to protect.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::kind::{self, FOLDERS, Kind};
use crate::{
    error::VaultError,
    id::Id,
    index::StoredIndex,
    store::{FileKind, ObjectKey, StoreErrorKind},
    together, unpacked,
    vault::Vault,
};

/// Index files that are in memory at a time: of each only the names of its packs are kept.
const FILES_AT_ONCE: usize = 16;

/// Files of the vault that may be protected.
#[derive(Default)]
pub(super) struct There {
    /// Those that are there, with their lengths.
    pub files: BTreeMap<String, u64>,
    /// Packs that count. Others wait for their removal, or to be listed by a backup that runs.
    pub listed_packs: HashSet<Id>,
}

impl There {
    /// Lists all that is there. An index file that cannot be read is an error: what it lists would look superfluous.
    pub fn look(vault: &Vault) -> Result<Self, VaultError> {
        let mut there = Self::default();
        // Before the packs: a backup stores a pack, then lists it.
        for some in vault.list_ids(FileKind::Index)?.chunks(FILES_AT_ONCE) {
            for packs in together::each(some, |id| packs_of(vault, id)) {
                there.listed_packs.extend(packs?);
            }
        }
        for folder in FOLDERS {
            for object in vault.store.list(folder)? {
                if kind::kind(object.key.as_str()).is_some() {
                    let key = object.key.as_str().to_owned();
                    there.files.insert(key, object.size_bytes);
                }
            }
        }
        Ok(there)
    }

    /// Whether a file is there and counts.
    pub fn is_living(&self, key: &str) -> bool {
        self.files.contains_key(key)
            && match kind::kind(key) {
                Some(Kind::Pack(id)) => self.listed_packs.contains(&id),
                other => other.is_some(),
            }
    }

    /// All files that count.
    pub fn living(&self) -> impl Iterator<Item = (&str, u64)> {
        let living = self.files.iter().filter(|(key, _)| self.is_living(key));
        living.map(|(key, bytes)| (key.as_str(), *bytes))
    }

    /// Packs that the index lists and that are gone.
    pub fn lost_packs(&self) -> BTreeSet<String> {
        let keys = self
            .listed_packs
            .iter()
            .map(|id| ObjectKey::of(FileKind::Pack, id));
        keys.map(|key| key.as_str().to_owned())
            .filter(|key| !self.files.contains_key(key))
            .collect()
    }
}

fn packs_of(vault: &Vault, id: &Id) -> Result<Vec<Id>, VaultError> {
    let stored: StoredIndex = match unpacked::load(&*vault.store, &vault.key, FileKind::Index, id) {
        // Replaced by somebody meanwhile, who has listed the packs elsewhere.
        Err(VaultError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    Ok(stored.packs.iter().map(|pack| pack.id).collect())
}
