//! Made-up faults in front of a real store, for tests that try every failure on purpose.

use std::{
    fmt, io,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Listed, ObjectKey, Store, StoreError};

/// What a store was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read an object or a part of it.
    Read,
    /// Write a new object.
    Create,
    /// Remove an object.
    Delete,
    /// List a folder.
    List,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Create => "write",
            Self::Delete => "delete",
            Self::List => "list",
        })
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails and did nothing.
    Refused(io::ErrorKind),
    /// The operation was done, but its acknowledgement is lost: it reports failure.
    LostAcknowledgement,
}

/// A store whose operation number `at` (counted from 0) fails; and, if told, all later ones too.
pub struct FaultyStore<S> {
    inner: S,
    fault: Fault,
    at: u64,
    and_later: bool,
    operations: AtomicU64,
}

impl<S: Store> FaultyStore<S> {
    /// Fails operation number `at` only.
    pub fn failing_once(inner: S, at: u64, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            at,
            and_later: false,
            operations: AtomicU64::new(0),
        }
    }

    /// Fails operation number `at` and every one after it.
    pub fn failing_from(inner: S, at: u64, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            at,
            and_later: true,
            operations: AtomicU64::new(0),
        }
    }

    /// How many operations were asked for.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::SeqCst)
    }

    fn perform<T>(
        &self,
        operation: Operation,
        key: &str,
        action: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let number = self.operations.fetch_add(1, Ordering::SeqCst);
        if number != self.at && !(self.and_later && number > self.at) {
            return action();
        }
        let kind = match self.fault {
            Fault::Refused(kind) => kind,
            Fault::LostAcknowledgement => {
                action()?;
                io::ErrorKind::TimedOut
            }
        };
        let source = io::Error::new(kind, format!("made-up fault at operation {number}"));
        Err(StoreError::new(
            operation,
            key,
            self.inner.location(),
            source,
        ))
    }
}

impl<S: Store> Store for FaultyStore<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.perform(Operation::Read, key.as_str(), || self.inner.read(key))
    }

    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        self.perform(Operation::Read, key.as_str(), || {
            self.inner.read_range(key, offset, buffer)
        })
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.perform(Operation::Create, key.as_str(), || {
            self.inner.create(key, content)
        })
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.perform(Operation::Delete, key.as_str(), || self.inner.delete(key))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.perform(Operation::List, folder, || self.inner.list(folder))
    }
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn location(&self) -> String {
        (**self).location()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        (**self).read(key)
    }

    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        (**self).read_range(key, offset, buffer)
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        (**self).create(key, content)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        (**self).delete(key)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        (**self).list(folder)
    }
}
