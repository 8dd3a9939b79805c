//! Objects in memory, for tests and simulations.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{Listed, ObjectKey, Operation, Store, StoreError};

/// A store that forgets everything with the process.
#[derive(Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<ObjectKey, Object>>,
}

struct Object {
    content: Vec<u8>,
    written_at: Timestamp,
}

impl Object {
    fn new(content: Vec<u8>) -> Self {
        Self {
            content,
            written_at: Timestamp::now(),
        }
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces an object's bytes, as damage would.
    pub fn overwrite(&self, key: &ObjectKey, content: Vec<u8>) {
        self.objects().insert(key.clone(), Object::new(content));
    }

    /// Makes an object look as if it had been written so much earlier.
    pub fn make_older(&self, key: &ObjectKey, by: SignedDuration) {
        if let Some(object) = self.objects().get_mut(key) {
            object.written_at -= by;
        }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, operation: Operation, key: &ObjectKey, kind: io::ErrorKind) -> StoreError {
        StoreError::new(operation, key.as_str(), self.location(), kind.into())
    }
}

impl Store for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        let objects = self.objects();
        let found = objects.get(key).map(|object| object.content.clone());
        found.ok_or_else(|| self.error(Operation::Read, key, io::ErrorKind::NotFound))
    }

    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        let objects = self.objects();
        let object = objects
            .get(key)
            .ok_or_else(|| self.error(Operation::Read, key, io::ErrorKind::NotFound))?;
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| object.content.get(start..)?.get(..buffer.len()))
            .ok_or_else(|| self.error(Operation::Read, key, io::ErrorKind::UnexpectedEof))?;
        buffer.copy_from_slice(range);
        Ok(())
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Err(self.error(Operation::Create, key, io::ErrorKind::AlreadyExists));
        }
        objects.insert(key.clone(), Object::new(content.to_vec()));
        Ok(())
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.overwrite(key, content.to_vec());
        Ok(())
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let removed = self.objects().remove(key);
        let missing = || self.error(Operation::Delete, key, io::ErrorKind::NotFound);
        removed.map(drop).ok_or_else(missing)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        let prefix = format!("{folder}/");
        let objects = self.objects();
        let inside = objects
            .iter()
            .filter(|(key, _)| key.as_str().starts_with(&prefix));
        Ok(inside
            .map(|(key, object)| Listed {
                key: key.clone(),
                size_bytes: object.content.len() as u64,
            })
            .collect())
    }

    fn written_at(&self, key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        let written_at = self.objects().get(key).map(|object| object.written_at);
        let missing = || self.error(Operation::Read, key, io::ErrorKind::NotFound);
        written_at.map(Some).ok_or_else(missing)
    }

    fn listing_lag(&self) -> Duration {
        Duration::ZERO
    }
}
