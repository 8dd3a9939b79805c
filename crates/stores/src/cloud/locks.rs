//! A cloud store's locks, as the engine asks for them.

use std::io;

use jiff::Timestamp;
use object_store::{GetOptions, ObjectStore, path::Path};
use rekindle_vault::store::{
    LockPeriod, LockSupport, ObjectKey, ObjectLocks, Operation, PageMark, StoreError, VersionsPage,
};

use super::{CloudStore, Failure, object_lock::Locks};

impl CloudStore {
    /// Only stores with locks are handed out as such.
    fn kept_locks(&self) -> Result<&Locks, Failure> {
        let unsupported = || Failure::from(io::Error::from(io::ErrorKind::Unsupported));
        self.locks.as_ref().ok_or_else(unsupported)
    }
}

impl ObjectLocks for CloudStore {
    fn period(&self) -> LockPeriod {
        let period = self.locks.as_ref().map(|locks| locks.settings.period);
        period.unwrap_or(LockPeriod::LONGEST)
    }

    fn support(&self) -> Result<LockSupport, StoreError> {
        self.run(Operation::Lock, "", async {
            self.kept_locks()?.support().await
        })
    }

    fn locked_until(
        &self,
        key: &ObjectKey,
        version: Option<&str>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let path = self.names.path(key);
        self.run(Operation::Read, key.as_str(), async {
            let lock = self.kept_locks()?.lock(&path, version).await?;
            Ok(lock.map(|lock| lock.end))
        })
    }

    fn lock_until(&self, key: &ObjectKey, end: Timestamp) -> Result<(), StoreError> {
        let path = self.names.path(key);
        self.run(Operation::Lock, key.as_str(), async {
            self.kept_locks()?.lock_until(&path, end).await
        })
    }

    fn versions(&self, folder: &str, from: Option<&PageMark>) -> Result<VersionsPage, StoreError> {
        let inside = match folder {
            "" => self.names.root(),
            folder => self.names.folder(folder),
        };
        self.run(Operation::List, folder, async {
            let locks = self.kept_locks()?;
            let mut page = locks.versions(&inside, &self.names, from).await?;
            // A name that only begins like the folder's.
            page.versions.retain(|version| {
                let rest = version.key.as_str().strip_prefix(folder);
                rest.is_some_and(|rest| {
                    folder.is_empty() || rest.is_empty() || rest.starts_with('/')
                })
            });
            Ok(page)
        })
    }

    fn read_version(&self, key: &ObjectKey, version: &str) -> Result<Vec<u8>, StoreError> {
        self.run(Operation::Read, key.as_str(), async {
            let path: Path = self.names.path(key);
            let options = GetOptions {
                version: Some(version.to_owned()),
                ..GetOptions::default()
            };
            let found = self.objects.get_opts(&path, options).await?;
            Ok(found.bytes().await?.into())
        })
    }

    fn remove_marker(&self, key: &ObjectKey, version: &str) -> Result<(), StoreError> {
        let path = self.names.path(key);
        self.run(Operation::Delete, key.as_str(), async {
            self.kept_locks()?.remove_version(&path, version).await
        })
    }
}
