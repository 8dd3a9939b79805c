//! Objects in memory, for tests and simulations.

use std::{collections::BTreeMap, io, sync::Mutex, time::Duration};

use super::{Listed, ObjectKey, Operation, Store, StoreError};

/// A store that forgets everything with the process.
#[derive(Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<ObjectKey, Vec<u8>>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces an object's bytes, as damage would.
    pub fn overwrite(&self, key: &ObjectKey, content: Vec<u8>) {
        self.objects().insert(key.clone(), content);
    }

    fn objects(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectKey, Vec<u8>>> {
        self.objects
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
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
        let found = self.objects().get(key).cloned();
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
            .and_then(|start| object.get(start..)?.get(..buffer.len()))
            .ok_or_else(|| self.error(Operation::Read, key, io::ErrorKind::UnexpectedEof))?;
        buffer.copy_from_slice(range);
        Ok(())
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Err(self.error(Operation::Create, key, io::ErrorKind::AlreadyExists));
        }
        objects.insert(key.clone(), content.to_vec());
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
            .map(|(key, content)| Listed {
                key: key.clone(),
                size_bytes: content.len() as u64,
            })
            .collect())
    }

    fn listing_lag(&self) -> Duration {
        Duration::ZERO
    }
}
