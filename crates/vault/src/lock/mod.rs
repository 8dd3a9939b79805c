//! restic's lock files: taken, refreshed, honoured.
//!
//! A lock is a file whose presence says that somebody works in the vault. Backups and restores
//! take a shared one; whoever deletes takes an exclusive one. Source: restic's design document,
//! "Locks"; the times are those of restic itself.

mod found;
mod owner;
mod wait;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use jiff::{SignedDuration, Timestamp};

use crate::{
    crypto::Key,
    error::VaultError,
    host::Host,
    id::Id,
    store::{FileKind, ObjectKey, Store, StoreErrorKind},
    unpacked,
};

pub(crate) use found::{list, remove_stale};
use found::{refuse_conflicts, remove};
pub use owner::{FoundLock, LockConflict, LockInfo, LockOwner};

/// A lock is renewed this often.
const REFRESH_EVERY: Duration = Duration::from_secs(5 * 60);
/// A lock this old belongs to nobody any more: whoever could not renew it gave up before.
const STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// The locks that this process holds. One in the vault that names this process and is not among
/// them was left by an earlier process of the same number (in a container every service is number
/// 1), or by us when the store did not take its removal.
static HELD: Mutex<BTreeSet<Id>> = Mutex::new(BTreeSet::new());

/// The locks of this process on any vault, for when it ends by a signal.
static OWN: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

fn held() -> MutexGuard<'static, BTreeSet<Id>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether others may work at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// With others who do not delete.
    Shared,
    /// Alone.
    Exclusive,
}

/// Our lock, renewed by a thread of its own and removed when dropped.
pub struct Lock {
    shared: Arc<Shared>,
    stop: Option<Sender<()>>,
    refresher: Option<JoinHandle<()>>,
    is_released: bool,
}

struct Shared {
    store: Arc<dyn Store>,
    key: Key,
    host: Host,
    mode: LockMode,
    current: Mutex<Id>,
    is_lost: AtomicBool,
    /// The program ends: it is not to be written any more.
    is_ended: AtomicBool,
    /// Held while one is being written, so that the end of the program can wait for it and remove it.
    writing: Mutex<()>,
}

impl Lock {
    /// Takes a lock, or says who is in the way. Exclusive locks of processes of this machine that
    /// are dead are removed on the way; others' abandoned locks are left to `vault unlock`.
    ///
    /// # Errors
    /// [`VaultError::Locked`], or as the store failed.
    pub(crate) fn take(
        store: Arc<dyn Store>,
        key: Key,
        host: Host,
        mode: LockMode,
    ) -> Result<Self, VaultError> {
        refuse_conflicts(&*store, &key, &host, mode, None)?;
        let mut lock = Self::put(store, key, host, mode)?;
        let id = lock.shared.current();
        if mode == LockMode::Exclusive {
            // A shared one taken at the same moment shows itself within this time.
            thread::sleep(lock.shared.store.listing_lag());
        }
        let Shared {
            store, key, host, ..
        } = &*lock.shared;
        refuse_conflicts(&**store, key, host, mode, Some(id))?;
        lock.start_refreshing();
        Ok(lock)
    }

    /// Writes a lock, whoever else may have one; it is not renewed.
    fn put(
        store: Arc<dyn Store>,
        key: Key,
        host: Host,
        mode: LockMode,
    ) -> Result<Self, VaultError> {
        let sealed = Sealed::new(&key, &LockInfo::new(&host, mode))?;
        let id = sealed.id;
        let shared = Arc::new(Shared {
            store,
            key,
            host,
            mode,
            current: Mutex::new(id),
            is_lost: AtomicBool::new(false),
            is_ended: AtomicBool::new(false),
            writing: Mutex::new(()),
        });
        // Before it can be seen: whoever ends the program must find it.
        shared.make_known();
        shared.write_first(&sealed)?;
        Ok(Self {
            shared,
            stop: None,
            refresher: None,
            is_released: false,
        })
    }

    /// Whether the lock still lies in the store and was renewed in time. Asked right before
    /// anything is committed: without a lock, somebody's prune may have taken the new packs for
    /// waste.
    ///
    /// # Errors
    /// [`VaultError::LockLost`] if not; the store's error if it could not be asked.
    pub fn ensure_held(&self) -> Result<(), VaultError> {
        let lost = |reason: &str| VaultError::LockLost {
            reason: reason.to_owned(),
        };
        if self.shared.is_lost.load(Ordering::SeqCst) {
            return Err(lost("it could not be renewed for 25 minutes"));
        }
        match self.shared.store.read(&self.shared.current_key()) {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                Err(lost("somebody removed it"))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn is_exclusive(&self) -> bool {
        self.shared.mode == LockMode::Exclusive
    }

    /// Whether nobody else has a lock now, readable or not; a shared one is no promise that nobody comes.
    pub(crate) fn is_alone(&self) -> Result<bool, VaultError> {
        let ours = self.shared.current();
        let locks = list(&*self.shared.store, &self.shared.key)?;
        Ok(locks.iter().all(|lock| lock.id == ours))
    }

    /// How long before this lock was last renewed an object was written, by the store's own clock; `None` if the store
    /// does not say.
    fn age_in_store(&self, object: &ObjectKey) -> Result<Option<SignedDuration>, VaultError> {
        let shared = &*self.shared;
        let renewed = found::written_at(&*shared.store, &shared.current_key())?;
        let written = found::written_at(&*shared.store, object)?;
        let age = |(renewed, written): (Timestamp, Timestamp)| renewed.duration_since(written);
        Ok(renewed.zip(written).map(age))
    }

    /// As [`Lock::ensure_held`], and that nobody else may be in the vault.
    pub(crate) fn ensure_exclusive(&self) -> Result<(), VaultError> {
        if !self.is_exclusive() {
            return Err(VaultError::LockLost {
                reason: "it is shared with others".to_owned(),
            });
        }
        self.ensure_held()
    }

    fn start_refreshing(&mut self) {
        let (stop, stopped) = bounded::<()>(0);
        let shared = Arc::clone(&self.shared);
        self.refresher = Some(thread::spawn(move || {
            let mut renewed = Timestamp::now();
            while stopped.recv_timeout(REFRESH_EVERY) == Err(RecvTimeoutError::Timeout) {
                match shared.refresh() {
                    Ok(()) => renewed = Timestamp::now(),
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the lock on the vault could not be renewed"
                        );
                        let age = Timestamp::now().duration_since(renewed);
                        let lost = age > SignedDuration::from_mins(25);
                        shared.is_lost.fetch_or(lost, Ordering::SeqCst);
                    }
                }
            }
        }));
        self.stop = Some(stop);
    }
}

/// Removes the locks of this very process from all vaults on which it holds one, for a program that
/// ends by a signal. What it was doing can no longer commit: [`Lock::ensure_held`] fails from now on.
///
/// # Errors
/// The first error, after all were tried.
pub fn release_all_locks() -> Result<(), VaultError> {
    let own = std::mem::take(&mut *OWN.lock().unwrap_or_else(PoisonError::into_inner));
    let ended = own.iter().filter_map(Weak::upgrade).map(|lock| lock.end());
    ended.fold(Ok(()), Result::and)
}

impl Shared {
    fn make_known(self: &Arc<Self>) {
        let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|lock| lock.strong_count() > 0);
        own.push(Arc::downgrade(self));
    }

    fn write_first(&self, sealed: &Sealed) -> Result<(), VaultError> {
        let _writing = self.writing();
        if self.is_ended.load(Ordering::SeqCst) {
            let reason = "the program ends".to_owned();
            return Err(VaultError::LockLost { reason });
        }
        sealed.write(&*self.store)
    }

    /// Removes it for good, while it may just be being written.
    fn end(&self) -> Result<(), VaultError> {
        self.is_ended.store(true, Ordering::SeqCst);
        let _writing = self.writing();
        remove(&*self.store, &self.current())
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Id {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current_key(&self) -> ObjectKey {
        ObjectKey::of(FileKind::Lock, &self.current())
    }

    /// Writes a younger lock, then removes the old one, so that there is always one.
    fn refresh(&self) -> Result<(), VaultError> {
        let _writing = self.writing();
        if self.is_ended.load(Ordering::SeqCst) {
            return Ok(());
        }
        let new = Sealed::new(&self.key, &LockInfo::new(&self.host, self.mode))?;
        new.write(&*self.store)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, new.id);
        drop(current);
        held().remove(&old);
        // The new one counts. Whoever may write and not delete leaves the old one to become stale.
        if let Err(error) = self.store.delete(&ObjectKey::of(FileKind::Lock, &old)) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the lock was renewed, but the old one could not be removed"
            );
        }
        Ok(())
    }
}

impl Lock {
    /// Removes the lock, and tells whether that could be done: who may write and not delete leaves
    /// it behind, and it becomes stale in 30 minutes.
    ///
    /// # Errors
    /// As the store failed.
    pub fn release(mut self) -> Result<(), VaultError> {
        self.let_go()
    }

    /// Does nothing the second time.
    fn let_go(&mut self) -> Result<(), VaultError> {
        if self.is_released {
            return Ok(());
        }
        self.is_released = true;
        drop(self.stop.take());
        if let Some(refresher) = self.refresher.take()
            && refresher.join().is_err()
        {
            tracing::warn!("the thread that renews the lock had failed");
        }
        let id = self.shared.current();
        held().remove(&id);
        let key = ObjectKey::of(FileKind::Lock, &id);
        Ok(self.shared.store.delete(&key)?)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.let_go() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "our lock could not be removed; it becomes stale in 30 minutes"
            );
        }
    }
}

/// A lock file that may be written.
struct Sealed {
    id: Id,
    content: Vec<u8>,
}

impl Sealed {
    fn new(key: &Key, info: &LockInfo) -> Result<Self, VaultError> {
        let (id, content) = unpacked::seal(key, FileKind::Lock, &serde_json::to_vec(info)?)?;
        Ok(Self { id, content })
    }

    /// One that may lie in the store although it was not acknowledged is removed again.
    fn write(&self, store: &dyn Store) -> Result<(), VaultError> {
        let object = ObjectKey::of(FileKind::Lock, &self.id);
        // Before it can be seen: another thread of ours must not take it for abandoned.
        held().insert(self.id);
        store.create(&object, &self.content).inspect_err(|_| {
            held().remove(&self.id);
            if let Err(error) = store.delete(&object) {
                tracing::debug!(%error, "no lock was left behind, or it cannot be removed");
            }
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Listed, MemoryStore, StoreError};

    fn setting() -> (Arc<dyn Store>, Key, Host) {
        (
            Arc::new(MemoryStore::new()),
            Key::random().unwrap(),
            Host::current(),
        )
    }

    fn leave(store: &dyn Store, key: &Key, host: &Host, mode: LockMode) -> Id {
        unpacked::save(store, key, FileKind::Lock, &LockInfo::new(host, mode)).unwrap()
    }

    #[test]
    fn shared_locks_live_together_and_are_removed() {
        let (store, key, host) = setting();
        let take = || {
            Lock::take(
                Arc::clone(&store),
                key.clone(),
                host.clone(),
                LockMode::Shared,
            )
        };
        let (one, two) = (take().unwrap(), take().unwrap());
        assert_eq!(list(&*store, &key).unwrap().len(), 2);
        drop((one, two));
        assert_eq!(list(&*store, &key).unwrap().len(), 0);
    }

    #[test]
    fn an_exclusive_lock_of_another_machine_is_in_the_way() {
        let (store, key, host) = setting();
        let other = Host {
            name: "elsewhere".to_owned(),
            ..host.clone()
        };
        leave(&*store, &key, &other, LockMode::Exclusive);
        let error = Lock::take(Arc::clone(&store), key.clone(), host, LockMode::Shared)
            .err()
            .expect("it is locked");
        assert!(error.to_string().contains("on elsewhere"), "{error}");
        assert_eq!(
            list(&*store, &key).unwrap().len(),
            1,
            "our own lock is gone"
        );
    }

    #[test]
    fn a_dead_process_of_this_machine_is_not_in_the_way() {
        let (store, key, host) = setting();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let dead = Host {
            pid: child.id(),
            ..host.clone()
        };
        leave(&*store, &key, &dead, LockMode::Exclusive);
        Lock::take(Arc::clone(&store), key.clone(), host, LockMode::Shared).unwrap();
    }

    #[test]
    fn a_lock_of_our_own_number_that_nobody_here_holds_is_not_in_the_way() {
        let (store, key, host) = setting();
        leave(&*store, &key, &host, LockMode::Exclusive);
        let take = |mode| Lock::take(Arc::clone(&store), key.clone(), host.clone(), mode);
        let held = take(LockMode::Shared).unwrap();
        assert_eq!(list(&*store, &key).unwrap().len(), 1);
        take(LockMode::Exclusive)
            .err()
            .expect("one that is held is in the way");
        drop(held);
        take(LockMode::Exclusive).unwrap();
    }

    #[test]
    fn a_lock_whose_acknowledgement_is_lost_is_removed_again() {
        use crate::store::{Fault, FaultyStore};
        let (inner, key, host) = setting();
        let fault = Fault::LostAcknowledgement;
        let store = FaultyStore::failing_once(Arc::clone(&inner), 1, fault);
        let taken = Lock::take(Arc::new(store), key.clone(), host, LockMode::Exclusive);
        assert!(taken.is_err());
        assert!(list(&*inner, &key).unwrap().is_empty());
    }

    #[test]
    fn a_program_that_ends_leaves_its_locks_on_no_vault() {
        let (here, key, host) = setting();
        let (there, other_key, _) = setting();
        let take = |store: &Arc<dyn Store>, key: &Key| {
            let mode = LockMode::Shared;
            Lock::take(Arc::clone(store), key.clone(), host.clone(), mode).unwrap()
        };
        let locks = [take(&here, &key), take(&there, &other_key)];
        let others = leave(&*there, &other_key, &host, LockMode::Shared);
        // As `release_all_locks` does, which in one process with other tests would take theirs.
        for lock in &locks {
            assert!(is_known(lock));
            lock.shared.end().unwrap();
        }
        assert!(list(&*here, &key).unwrap().is_empty());
        let left = list(&*there, &other_key).unwrap();
        assert_eq!(
            left.iter().map(|lock| lock.id).collect::<Vec<_>>(),
            [others]
        );
        // Renewed after that, it does not come back.
        locks[0].shared.refresh().unwrap();
        assert!(list(&*here, &key).unwrap().is_empty());
        assert!(locks[0].ensure_held().is_err());
        let shared = Arc::downgrade(&locks[0].shared);
        drop(locks);
        assert!(shared.upgrade().is_none(), "it is not kept for ever");
    }

    #[test]
    fn a_program_that_ends_waits_for_the_lock_that_it_is_writing() {
        let (inner, key, host) = setting();
        let (is_asked, asked) = bounded(0);
        let (go_on, may_go_on) = bounded(0);
        let slow: Arc<dyn Store> = Arc::new(Slow {
            inner: Arc::clone(&inner),
            is_asked,
            may_go_on,
        });
        let taking = thread::spawn({
            let (slow, key) = (Arc::clone(&slow), key.clone());
            // Not dropped: at its end, a program drops nothing.
            move || Lock::take(slow, key, host, LockMode::Shared).map(std::mem::forget)
        });
        asked.recv().unwrap();
        let known: Vec<_> = OWN
            .lock()
            .unwrap()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let mut known = known.into_iter();
        let own = known.find(|own| Arc::ptr_eq(&own.store, &slow)).unwrap();
        let ending = thread::spawn({
            let own = Arc::clone(&own);
            move || own.end()
        });
        while !own.is_ended.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        go_on.send(()).unwrap();
        ending.join().unwrap().unwrap();
        taking.join().unwrap().unwrap();
        assert!(list(&*inner, &key).unwrap().is_empty());
    }

    /// Writes when it is told to.
    struct Slow {
        inner: Arc<dyn Store>,
        is_asked: Sender<()>,
        may_go_on: crossbeam_channel::Receiver<()>,
    }

    impl Store for Slow {
        fn location(&self) -> String {
            self.inner.location()
        }

        fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
            self.inner.read(key)
        }

        fn read_range(
            &self,
            key: &ObjectKey,
            offset: u64,
            buffer: &mut [u8],
        ) -> Result<(), StoreError> {
            self.inner.read_range(key, offset, buffer)
        }

        fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
            self.is_asked.send(()).unwrap();
            self.may_go_on.recv().unwrap();
            self.inner.create(key, content)
        }

        fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
            self.inner.replace(key, content)
        }

        fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
            self.inner.delete(key)
        }

        fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
            self.inner.list(folder)
        }
    }

    fn is_known(lock: &Lock) -> bool {
        let own = OWN.lock().unwrap();
        own.iter()
            .any(|known| Weak::ptr_eq(known, &Arc::downgrade(&lock.shared)))
    }

    #[test]
    fn a_lock_that_somebody_removed_is_lost() {
        let (store, key, host) = setting();
        let lock = Lock::take(Arc::clone(&store), key, host, LockMode::Shared).unwrap();
        lock.ensure_held().unwrap();
        store
            .delete(&ObjectKey::of(FileKind::Lock, &lock.shared.current()))
            .unwrap();
        assert!(matches!(
            lock.ensure_held(),
            Err(VaultError::LockLost { .. })
        ));
    }

    #[test]
    fn a_renewed_lock_is_one_younger_lock() {
        let (store, key, host) = setting();
        let lock = Lock::take(Arc::clone(&store), key.clone(), host, LockMode::Shared).unwrap();
        let before = lock.shared.current();
        lock.shared.refresh().unwrap();
        assert_ne!(before, lock.shared.current());
        assert_eq!(list(&*store, &key).unwrap().len(), 1);
        lock.ensure_held().unwrap();
    }

    #[test]
    fn old_locks_are_stale_and_young_ones_are_not() {
        let host = Host::current();
        let other = Host {
            name: "elsewhere".to_owned(),
            ..host.clone()
        };
        let info = LockInfo::new(&other, LockMode::Exclusive);
        let now = Timestamp::now();
        assert!(!info.is_stale(&host, now));
        assert!(info.is_stale(&host, now + SignedDuration::from_mins(31)));
    }
}
