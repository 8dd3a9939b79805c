//! Objects in the stores of clouds and in what speaks their language, by `object_store`.

pub(crate) mod azure;
mod creation;
pub(crate) mod failure;
pub(crate) mod gcs;
mod locks;
mod name;
pub(crate) mod object_lock;
pub(crate) mod s3;
mod upload;

use std::{io, ops::Range};

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::Extensions;
use jiff::Timestamp;
use object_store::{
    Attribute, Attributes, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, path::Path,
};
use rekindle_vault::store::{
    Distance, Listed, ObjectKey, ObjectLocks, Operation, Store, StoreError, is_lockable,
};

use creation::Creation;
use failure::Failure;
use name::Names;
use object_lock::Locks;

use crate::{StoreSettings, runtime::wait_for};

/// One bucket, or one folder of it.
pub(crate) struct CloudStore {
    objects: Box<dyn ObjectStore>,
    location: String,
    names: Names,
    pack_class: Option<String>,
    creation: Creation,
    /// Of a store that locks what it writes.
    locks: Option<Locks>,
}

/// The folder of packs.
const PACKS: &str = "data/";

impl CloudStore {
    /// `creation` tells whether conditional writes can be believed in, or must be tried first.
    fn new(
        objects: impl ObjectStore,
        prefix: &str,
        settings: &StoreSettings,
        creation: Creation,
    ) -> Self {
        Self {
            objects: Box::new(objects),
            location: settings.location.to_string(),
            names: Names::in_folder(prefix),
            pack_class: settings.storage_class.clone(),
            creation,
            locks: None,
        }
    }

    /// The same, which locks what it writes.
    fn locking(mut self, locks: Locks) -> Self {
        self.locks = Some(locks);
        self
    }

    fn run<T>(
        &self,
        operation: Operation,
        key: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, StoreError> {
        wait_for(work).map_err(|failure| {
            StoreError::new(operation, key, self.location.clone(), failure.into_io())
        })
    }

    fn attributes(&self, key: &ObjectKey) -> Attributes {
        let class = self.pack_class.as_ref();
        let class = class.filter(|_| key.as_str().starts_with(PACKS));
        class
            .map(|class| (Attribute::StorageClass, class.clone()))
            .into_iter()
            .collect()
    }

    async fn head(&self, path: &Path) -> Result<ObjectMeta, Failure> {
        Ok(self.objects.head(path).await?)
    }

    async fn fill(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        let too_short = || Failure::from(io::Error::from(io::ErrorKind::UnexpectedEof));
        let end = offset
            .checked_add(buffer.len() as u64)
            .ok_or_else(too_short)?;
        if buffer.is_empty() {
            // No store can be asked for nothing.
            let size = self.head(path).await?.size;
            return if size < offset {
                Err(too_short())
            } else {
                Ok(())
            };
        }
        let found = self.objects.get_range(path, offset..end).await;
        let found = match found.map_err(Failure::from) {
            Err(failure) if failure.is_of_ranges() => self.cut_out(path, offset..end).await?,
            // Some answer what lies behind the end with a range that is none.
            Err(failure) if failure.is_odd_answer() && self.head(path).await?.size < end => {
                return Err(too_short());
            }
            found => found?,
        };
        if found.len() != buffer.len() {
            return Err(too_short());
        }
        buffer.copy_from_slice(&found);
        Ok(())
    }

    /// For stores that answer with the whole object when its whole range is asked for.
    async fn cut_out(&self, path: &Path, range: Range<u64>) -> Result<Bytes, Failure> {
        let whole = self.objects.get(path).await?.bytes().await?;
        let place = |at: u64| usize::try_from(at).map_or(whole.len(), |at| at.min(whole.len()));
        Ok(whole.slice(place(range.start)..place(range.end)))
    }

    async fn put(&self, key: &ObjectKey, content: &[u8], mode: PutMode) -> Result<(), Failure> {
        let path = self.names.path(key);
        let locks = self.locks.as_ref().filter(|_| is_lockable(key));
        let mut extensions = Extensions::new();
        if let Some(locks) = locks {
            locks.ensure_kept().await?;
            extensions.insert(locks.until(Timestamp::now()));
        }
        let attributes = self.attributes(key);
        upload::put(&*self.objects, &path, content, mode, attributes, extensions).await?;
        match locks {
            // Ceph 16 forgets the lock of what is written in parts.
            Some(locks) if upload::is_large(content) => locks.ensure_locked(&path).await,
            _ => Ok(()),
        }
    }

    /// Creates without a condition: looks first. Two writers at the same moment may both succeed, the
    /// later one's content stays; names in a vault are hashes of contents, so it is the same one.
    async fn look_and_put(&self, key: &ObjectKey, content: &[u8]) -> Result<(), Failure> {
        match self.head(&self.names.path(key)).await {
            Ok(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists).into()),
            Err(failure) if failure.is_not_found() => {
                self.put(key, content, PutMode::Overwrite).await
            }
            Err(failure) => Err(failure),
        }
    }

    async fn create_one(&self, key: &ObjectKey, content: &[u8]) -> Result<(), Failure> {
        if upload::is_large(content) || !self.has_conditions().await? {
            return self.look_and_put(key, content).await;
        }
        self.put(key, content, PutMode::Create).await
    }

    async fn collect(&self, folder: &str) -> Result<Vec<Listed>, Failure> {
        let folder = self.names.folder(folder);
        let listed = self.objects.list(Some(&folder)).try_filter_map(|object| {
            // A "directory" made by somebody's tool, or a name that we would never give.
            let key = self.names.key(&object.location);
            let size_bytes = object.size;
            std::future::ready(Ok(key.map(|key| Listed { key, size_bytes })))
        });
        Ok(listed.try_collect().await?)
    }
}

impl Store for CloudStore {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.run(Operation::Read, key.as_str(), async {
            let found = self.objects.get(&self.names.path(key)).await?;
            let size = found.meta.size;
            let bytes = found.bytes().await?;
            if bytes.len() as u64 != size {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
            }
            Ok(bytes.into())
        })
    }

    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        let path = self.names.path(key);
        self.run(
            Operation::Read,
            key.as_str(),
            self.fill(&path, offset, buffer),
        )
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.run(
            Operation::Create,
            key.as_str(),
            self.create_one(key, content),
        )
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        let work = self.put(key, content, PutMode::Overwrite);
        self.run(Operation::Replace, key.as_str(), work)
    }

    /// Looks before it deletes, because S3 calls the deletion of nothing a success.
    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let path = self.names.path(key);
        self.run(Operation::Delete, key.as_str(), async {
            self.head(&path).await?;
            Ok(self.objects.delete(&path).await?)
        })
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.run(Operation::List, folder, self.collect(folder))
    }

    fn object_locks(&self) -> Option<&dyn ObjectLocks> {
        self.locks.is_some().then_some(self)
    }

    fn written_at(&self, key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        let path = self.names.path(key);
        self.run(Operation::Read, key.as_str(), async {
            let modified = self.head(&path).await?.last_modified;
            Ok(Timestamp::from_second(modified.timestamp()).ok())
        })
    }

    fn distance(&self) -> Distance {
        Distance::Far
    }
}
