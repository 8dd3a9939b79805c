//! A store before one of whose operations somebody else does something.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "not every test uses all of it; helpers of tests may panic"
)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rekindle_vault::{
    Store,
    store::{Listed, ObjectKey, StoreError},
};

/// What is done, once.
pub type Action = Box<dyn FnOnce() + Send>;

/// Does something else before operation number `at`, counted from 0.
pub struct Hooked {
    inner: Arc<dyn Store>,
    at: u64,
    operations: AtomicU64,
    action: Mutex<Option<Action>>,
}

impl Hooked {
    pub fn before(inner: Arc<dyn Store>, at: u64, action: Action) -> Arc<Self> {
        Arc::new(Self {
            inner,
            at,
            operations: AtomicU64::new(0),
            action: Mutex::new(Some(action)),
        })
    }

    /// Whether the operation never came, so that nothing was done.
    pub fn is_left(&self) -> bool {
        self.operations.load(Ordering::SeqCst) <= self.at
    }

    fn count(&self) {
        if self.operations.fetch_add(1, Ordering::SeqCst) == self.at {
            let action = self.action.lock().unwrap().take();
            action.unwrap()();
        }
    }
}

impl Store for Hooked {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.count();
        self.inner.read(key)
    }

    fn read_range(&self, key: &ObjectKey, at: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.count();
        self.inner.read_range(key, at, buffer)
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.count();
        self.inner.create(key, content)
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.count();
        self.inner.replace(key, content)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.count();
        self.inner.delete(key)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.count();
        self.inner.list(folder)
    }

    fn written_at(&self, key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        self.count();
        self.inner.written_at(key)
    }

    fn listing_lag(&self) -> Duration {
        Duration::ZERO
    }
}
