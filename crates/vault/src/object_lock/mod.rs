//! Locks of objects in the store, against whoever has this machine's credentials: extended while what they protect is
//! needed, looked at, and what a thief hid brought back.
//!
//! The store locks each object as it writes it. What is needed for longer than that is extended by
//! [`Vault::extend_object_locks`], at the end of a backup or of a copy, once a day at most. Needed is what the index lists:
//! writers count on it whether or not a point uses it now, and a prune marks what is no longer needed.

mod extend;
mod history;
mod needed;
mod plan;
mod record;
mod status;
mod undelete;

use std::collections::HashMap;

use jiff::Timestamp;

pub use extend::{ExtendReport, WhenToExtend};
pub use record::{LockRecord, LockRecordError};
pub use status::{HiddenKind, HiddenObjects, LockStatus, ObjectLockStatus};
pub use undelete::{HiddenObject, UndeletePlan, UndeleteReport, Undeletion};

use crate::{
    error::VaultError,
    id::Id,
    store::{FileKind, ObjectKey, ObjectLocks, Store, StoreErrorKind},
    together,
    vault::Vault,
};

/// Small requests that wait for the store most of the time.
const REQUESTS_AT_ONCE: usize = 32;

impl Vault {
    /// What its store can do about locks of objects, if that is configured.
    #[must_use]
    pub fn object_locks(&self) -> Option<&dyn ObjectLocks> {
        self.store.object_locks()
    }

    /// Those of these packs that cannot be destroyed at `now`, and until when. Without Object Lock none.
    pub(crate) fn locked_packs(
        &self,
        packs: &[Id],
        now: Timestamp,
    ) -> Result<HashMap<Id, Timestamp>, VaultError> {
        let Some(locks) = self.object_locks() else {
            return Ok(HashMap::new());
        };
        let ends = together::each_of(REQUESTS_AT_ONCE, packs, |id| {
            match locks.locked_until(&ObjectKey::of(FileKind::Pack, id), None) {
                Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
                other => other,
            }
        });
        let mut locked = HashMap::new();
        for (id, end) in packs.iter().zip(ends) {
            if let Some(end) = end?.filter(|end| *end > now) {
                locked.insert(*id, end);
            }
        }
        Ok(locked)
    }
}

fn locks_of(store: &dyn Store) -> Result<&dyn ObjectLocks, VaultError> {
    store
        .object_locks()
        .ok_or_else(|| VaultError::NoObjectLocks {
            location: store.location(),
        })
}
