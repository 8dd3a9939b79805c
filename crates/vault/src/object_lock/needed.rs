//! Which objects must not be destroyed.

use crate::{
    error::VaultError,
    store::{FileKind, LOCKED_FOLDERS, ObjectKey, is_lockable},
    vault::Vault,
};

/// Objects that must not be destroyed, and why not all of them may be known.
pub(super) struct Needed {
    pub objects: Vec<ObjectKey>,
    /// Index files that cannot be read; what only they list is not among the objects.
    pub unreadable: Vec<VaultError>,
}

impl Vault {
    /// Packs that the index lists (not those on their way out), and all else that is worth a lock.
    ///
    /// # Errors
    /// As the store failed to list.
    pub(super) fn needed_objects(&self) -> Result<Needed, VaultError> {
        let (index, unreadable) = self.load_index_files()?;
        // Not those on their way out, of which the index has heard, too.
        let packs = index.least_pack_bytes();
        drop(index);
        let mut objects = vec![ObjectKey::config()];
        for folder in LOCKED_FOLDERS {
            if folder == FileKind::Pack.folder() {
                continue;
            }
            let listed = self.store.list(folder)?;
            let lockable = listed.into_iter().map(|listed| listed.key);
            objects.extend(lockable.filter(is_lockable));
        }
        let packs = packs
            .iter()
            .map(|(id, _)| ObjectKey::of(FileKind::Pack, id));
        objects.extend(packs);
        Ok(Needed {
            objects,
            unreadable,
        })
    }
}
