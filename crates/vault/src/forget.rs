//! Forgetting recovery points: their snapshot files go, and nothing else.

use crate::{
    error::VaultError,
    id::Id,
    lock::{Lock, LockMode},
    snapshot::{Snapshot, StoredSnapshot},
    store::{FileKind, ObjectKey, StoreErrorKind},
    unpacked,
    vault::Vault,
};

/// Whether the lock is still ours is asked again after so many files.
const FILES_PER_LOOK: usize = 16;

impl Vault {
    /// Removes the snapshot files of these points while nobody else uses the vault. What only they
    /// referred to stays until a prune. One that is gone already is no failure. Returns how many
    /// files were removed.
    ///
    /// # Errors
    /// [`VaultError::Locked`] if anybody works in the vault; [`VaultError::ForgotInPart`] if it
    /// ended in the middle.
    pub fn forget(&self, snapshots: &[Id]) -> Result<usize, VaultError> {
        let lock = self.lock(LockMode::Exclusive)?;
        self.forget_under(&lock, snapshots)
    }

    /// As [`Vault::forget`], for a caller who holds the exclusive lock since before it chose.
    ///
    /// # Errors
    /// [`VaultError::LockLost`] if the lock is not exclusive, or not held; else as
    /// [`Vault::forget`].
    pub fn forget_under(&self, lock: &Lock, snapshots: &[Id]) -> Result<usize, VaultError> {
        let mut forgotten = Vec::new();
        for (done, id) in snapshots.iter().enumerate() {
            let gone = self.forget_one(lock, id, done % FILES_PER_LOOK == 0);
            match gone {
                Ok(true) => forgotten.push(*id),
                Ok(false) => {}
                Err(source) if forgotten.is_empty() => return Err(source),
                Err(source) => {
                    return Err(VaultError::ForgotInPart {
                        forgotten,
                        left: snapshots[done..].to_vec(),
                        source: Box::new(source),
                    });
                }
            }
        }
        Ok(forgotten.len())
    }

    fn forget_one(&self, lock: &Lock, id: &Id, looks: bool) -> Result<bool, VaultError> {
        if looks {
            lock.ensure_exclusive()?;
        }
        match self.store.delete(&ObjectKey::of(FileKind::Snapshot, id)) {
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }

    /// As [`Vault::set_tags`], for a caller who holds the exclusive lock.
    ///
    /// # Errors
    /// [`VaultError::NoSnapshot`] if the point was forgotten since it was read: written anew, it
    /// would name what a prune may have removed. As the store failed; there may be two then, and
    /// there is never none.
    pub fn set_tags_under(
        &self,
        lock: &Lock,
        snapshot: &Snapshot,
        tags: Vec<String>,
    ) -> Result<Snapshot, VaultError> {
        lock.ensure_exclusive()?;
        let kind = FileKind::Snapshot;
        let current = unpacked::load::<StoredSnapshot>(&*self.store, &self.key, kind, &snapshot.id);
        let mut stored = current.map_err(|error| match error {
            gone if gone.is_not_found() => VaultError::NoSnapshot {
                wanted: snapshot.id.to_string(),
            },
            other => other,
        })?;
        stored.original = stored.original.or(Some(snapshot.id));
        stored.tags = tags;
        let id = unpacked::save(&*self.store, &self.key, kind, &stored)?;
        lock.ensure_exclusive()?;
        self.store.delete(&ObjectKey::of(kind, &snapshot.id))?;
        Ok(Snapshot { id, stored })
    }
}

impl Snapshot {
    /// The id that stays the same when tags are changed, or the snapshot is copied to another vault.
    #[must_use]
    pub fn lasting_id(&self) -> Id {
        self.stored.original.unwrap_or(self.id)
    }
}
