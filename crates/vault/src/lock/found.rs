//! The locks that lie in a vault: who is in the way, and what nobody can be behind.
//!
//! A lock that cannot be read may be anybody's. Who shares goes on beside it, with a warning; who wants to be alone does
//! not. Stock restic from 0.15 on refuses to take any lock beside one, except an empty one, and its `unlock` leaves it
//! unless told `--remove-all` (restic's `internal/restic/lock.go`, pull request 4152); 0.14 passes over it. We remove it
//! once its file is too old to be anybody's.

use std::sync::Arc;

use jiff::Timestamp;

use super::{FoundLock, Lock, LockConflict, LockInfo, LockMode, LockOwner, STALE_AFTER, held};
use crate::{
    crypto::Key,
    error::VaultError,
    host::Host,
    id::Id,
    store::{FileKind, ObjectKey, Store, StoreErrorKind},
    unpacked,
};

/// All locks. One that vanishes meanwhile is none.
pub(crate) fn list(store: &dyn Store, key: &Key) -> Result<Vec<FoundLock>, VaultError> {
    let mut locks = Vec::new();
    for listed in store.list(FileKind::Lock.folder())? {
        let Ok(id) = listed.key.name().parse::<Id>() else {
            continue;
        };
        let owner = match unpacked::load(store, key, FileKind::Lock, &id) {
            Ok(info) => LockOwner::Known(info),
            Err(error) if error.is_not_found() => continue,
            Err(VaultError::Damaged { reason, .. }) => LockOwner::Unreadable { reason },
            Err(error) => return Err(error),
        };
        locks.push(FoundLock { id, owner });
    }
    Ok(locks)
}

/// Says who is in the way of a lock of this mode, but for `own`. Locks of dead processes of this
/// machine are removed if they would be.
pub(super) fn refuse_conflicts(
    store: &dyn Store,
    key: &Key,
    host: &Host,
    mode: LockMode,
    own: Option<Id>,
) -> Result<(), VaultError> {
    for FoundLock { id, owner } in list(store, key)? {
        if Some(id) == own {
            continue;
        }
        if !conflicts(&owner, mode) {
            // Told once: everybody looks twice.
            if let (LockOwner::Unreadable { reason }, Some(_)) = (&owner, own) {
                tracing::warn!(lock = %id, reason, "a lock cannot be read, and was passed over");
            }
            continue;
        }
        if let LockOwner::Known(info) = &owner
            && is_abandoned(&id, info, host)
        {
            remove(store, &id)?;
            tracing::warn!(lock = %id.short(), pid = info.pid, "removed the lock of a dead process");
            continue;
        }
        let is_stale =
            matches!(&owner, LockOwner::Known(info) if info.is_stale(host, Timestamp::now()));
        return Err(LockConflict {
            id,
            owner,
            is_stale,
        }
        .into());
    }
    Ok(())
}

const fn conflicts(owner: &LockOwner, mode: LockMode) -> bool {
    match (owner, mode) {
        (_, LockMode::Exclusive) => true,
        (LockOwner::Known(info), LockMode::Shared) => info.exclusive,
        (LockOwner::Unreadable { .. }, LockMode::Shared) => false,
    }
}

/// Whether the process behind a lock is gone: it is of this machine and dead, or would be us.
fn is_abandoned(id: &Id, owner: &LockInfo, host: &Host) -> bool {
    let would_be_ours = owner.hostname == host.name && owner.pid == host.pid;
    owner.is_of_dead_process(host) || (would_be_ours && !held().contains(id))
}

/// Removes locks that nobody can be behind; returns them.
pub(crate) fn remove_stale(
    store: &Arc<dyn Store>,
    key: &Key,
    host: &Host,
) -> Result<Vec<FoundLock>, VaultError> {
    let (readable, unreadable): (Vec<_>, Vec<_>) = list(&**store, key)?
        .into_iter()
        .partition(|lock| lock.info().is_some());
    let now = Timestamp::now();
    let is_stale = |lock: &FoundLock| {
        lock.info()
            .is_some_and(|info| info.is_stale(host, now) || is_abandoned(&lock.id, info, host))
    };
    let mut stale: Vec<_> = readable.into_iter().filter(is_stale).collect();
    stale.extend(old_among(unreadable, store, key, host)?);
    for lock in &stale {
        remove(&**store, &lock.id)?;
    }
    Ok(stale)
}

/// Those of the unreadable locks that are too old to be anybody's: a living owner writes a new file every
/// five minutes, and gives up before one is so old. Both ends of the age are told by the store's own
/// clock: that of a lock of ours, written now, and that of the file.
fn old_among(
    unreadable: Vec<FoundLock>,
    store: &Arc<dyn Store>,
    key: &Key,
    host: &Host,
) -> Result<Vec<FoundLock>, VaultError> {
    if unreadable.is_empty() {
        return Ok(Vec::new());
    }
    let ours = Lock::put(
        Arc::clone(store),
        key.clone(),
        host.clone(),
        LockMode::Shared,
    )?;
    let mut old = Vec::new();
    for lock in unreadable {
        let age = ours.age_in_store(&ObjectKey::of(FileKind::Lock, &lock.id))?;
        if age.is_some_and(|age| age > STALE_AFTER) && !held().contains(&lock.id) {
            old.push(lock);
        }
    }
    ours.release()?;
    Ok(old)
}

/// `None` if the store does not say, or has it no more.
pub(super) fn written_at(
    store: &dyn Store,
    key: &ObjectKey,
) -> Result<Option<Timestamp>, VaultError> {
    match store.written_at(key) {
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        other => Ok(other?),
    }
}

/// Removes a lock that somebody else may be removing too.
pub(super) fn remove(store: &dyn Store, id: &Id) -> Result<(), VaultError> {
    match store.delete(&ObjectKey::of(FileKind::Lock, id)) {
        Err(error) if error.kind != StoreErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
