//! Trying again what concerns locks and versions.

use jiff::Timestamp;
use rekindle_vault::store::{
    LockPeriod, LockSupport, ObjectKey, ObjectLocks, Operation, PageMark, Store, StoreError,
    VersionsPage,
};

use crate::Retrying;

impl<S: Store> Retrying<S> {
    fn keep_trying_locks<T>(
        &self,
        action: impl Fn(&dyn ObjectLocks) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(locks) = self.inner.object_locks() else {
            let none = std::io::ErrorKind::Unsupported.into();
            let location = self.inner.location();
            return Err(StoreError::new(Operation::Lock, "", location, none));
        };
        self.keep_trying(|_| action(locks))
    }
}

impl<S: Store> ObjectLocks for Retrying<S> {
    fn period(&self) -> LockPeriod {
        let locks = self.inner.object_locks();
        locks.map_or(LockPeriod::LONGEST, ObjectLocks::period)
    }

    fn support(&self) -> Result<LockSupport, StoreError> {
        self.keep_trying_locks(|locks| locks.support())
    }

    fn locked_until(
        &self,
        key: &ObjectKey,
        version: Option<&str>,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.keep_trying_locks(|locks| locks.locked_until(key, version))
    }

    fn lock_until(&self, key: &ObjectKey, end: Timestamp) -> Result<(), StoreError> {
        self.keep_trying_locks(|locks| locks.lock_until(key, end))
    }

    fn versions(&self, folder: &str, from: Option<&PageMark>) -> Result<VersionsPage, StoreError> {
        self.keep_trying_locks(|locks| locks.versions(folder, from))
    }

    fn read_version(&self, key: &ObjectKey, version: &str) -> Result<Vec<u8>, StoreError> {
        self.keep_trying_locks(|locks| locks.read_version(key, version))
    }

    fn remove_marker(&self, key: &ObjectKey, version: &str) -> Result<(), StoreError> {
        self.keep_trying_locks(|locks| locks.remove_marker(key, version))
    }
}
