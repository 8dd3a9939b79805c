//! What was asked of a store, for tests and for bills.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;
use rekindle_vault::store::{
    Distance, Listed, ObjectKey, ObjectLocks, Operation, Store, StoreError,
};

/// One operation that a store was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What.
    pub operation: Operation,
    /// On which object or folder.
    pub key: String,
    /// Whether it worked.
    pub worked: bool,
}

/// A store that remembers what it was asked for. It keeps every key: meant for tests and for looking at
/// one command, not for a service.
pub struct Recording<S> {
    inner: S,
    log: Arc<Mutex<Vec<Recorded>>>,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl<S: Store> Recording<S> {
    /// Remembers from now on.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            log: Arc::default(),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        }
    }

    /// All operations so far, in the order in which they ended.
    pub fn operations(&self) -> Vec<Recorded> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Bytes of objects written.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of objects read.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    fn note<T>(
        &self,
        operation: Operation,
        key: &str,
        outcome: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let recorded = Recorded {
            operation,
            key: key.to_owned(),
            worked: outcome.is_ok(),
        };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(recorded);
        outcome
    }

    fn sent(&self, content: &[u8]) {
        self.sent_bytes
            .fetch_add(content.len() as u64, Ordering::Relaxed);
    }

    fn received(&self, content: &[u8]) {
        self.received_bytes
            .fetch_add(content.len() as u64, Ordering::Relaxed);
    }
}

impl<S: Store> Store for Recording<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        let outcome = self.inner.read(key);
        let content = self.note(Operation::Read, key.as_str(), outcome)?;
        self.received(&content);
        Ok(content)
    }

    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        let outcome = self.inner.read_range(key, offset, buffer);
        self.note(Operation::Read, key.as_str(), outcome)?;
        self.received(buffer);
        Ok(())
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.sent(content);
        let outcome = self.inner.create(key, content);
        self.note(Operation::Create, key.as_str(), outcome)
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.sent(content);
        let outcome = self.inner.replace(key, content);
        self.note(Operation::Replace, key.as_str(), outcome)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let outcome = self.inner.delete(key);
        self.note(Operation::Delete, key.as_str(), outcome)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        let outcome = self.inner.list(folder);
        self.note(Operation::List, folder, outcome)
    }

    fn object_locks(&self) -> Option<&dyn ObjectLocks> {
        self.inner.object_locks()
    }

    fn written_at(&self, key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        let outcome = self.inner.written_at(key);
        self.note(Operation::Read, key.as_str(), outcome)
    }

    fn distance(&self) -> Distance {
        self.inner.distance()
    }
}
