//! Made-up faults in front of a real store, for tests that try every failure on purpose.

use std::{
    fmt, io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use jiff::Timestamp;

use super::{Distance, Listed, NewObject, ObjectKey, ObjectLocks, Store, StoreError};

/// What a store was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read an object or a part of it.
    Read,
    /// Write a new object.
    Create,
    /// Write an object in the place of another one.
    Replace,
    /// Remove an object.
    Delete,
    /// List a folder.
    List,
    /// Lock an object against deletion.
    Lock,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Create => "write",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Lock => "lock",
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
    at: AtomicU64,
    and_later: bool,
    operations: AtomicU64,
}

impl<S: Store> FaultyStore<S> {
    /// Fails operation number `at` only.
    pub fn failing_once(inner: S, at: u64, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            at: AtomicU64::new(at),
            and_later: false,
            operations: AtomicU64::new(0),
        }
    }

    /// Fails operation number `at` and every one after it.
    pub fn failing_from(inner: S, at: u64, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            at: AtomicU64::new(at),
            and_later: true,
            operations: AtomicU64::new(0),
        }
    }

    /// Counts from 0 again, and fails operation number `at` from now on.
    pub fn restart(&self, at: u64) {
        self.operations.store(0, Ordering::SeqCst);
        self.at.store(at, Ordering::SeqCst);
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
        let Some(number) = self.next_fault() else {
            return action();
        };
        if self.fault == Fault::LostAcknowledgement {
            action()?;
        }
        Err(self.made_up(number, operation, key))
    }

    /// Counts an operation; its number if it is to fail.
    fn next_fault(&self) -> Option<u64> {
        let number = self.operations.fetch_add(1, Ordering::SeqCst);
        let at = self.at.load(Ordering::SeqCst);
        (number == at || (self.and_later && number > at)).then_some(number)
    }

    fn made_up(&self, number: u64, operation: Operation, key: &str) -> StoreError {
        let kind = match self.fault {
            Fault::Refused(kind) => kind,
            Fault::LostAcknowledgement => io::ErrorKind::TimedOut,
        };
        let source = io::Error::new(kind, format!("made-up fault at operation {number}"));
        StoreError::new(operation, key, self.inner.location(), source)
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

    /// Each object is an operation of its own; those without a fault are written together.
    fn create_all(&self, objects: &[NewObject<'_>]) -> Vec<Result<(), StoreError>> {
        let faults: Vec<_> = objects.iter().map(|_| self.next_fault()).collect();
        let is_tried =
            |fault: &Option<u64>| fault.is_none() || self.fault == Fault::LostAcknowledgement;
        let tried: Vec<_> = objects
            .iter()
            .zip(&faults)
            .filter_map(|(object, fault)| is_tried(fault).then_some(*object))
            .collect();
        let mut outcomes = self.inner.create_all(&tried).into_iter();
        let outcome = |(object, fault): (&NewObject<'_>, &Option<u64>)| {
            if is_tried(fault) {
                outcomes.next().unwrap_or(Ok(()))?;
            }
            fault.map_or(Ok(()), |number| {
                Err(self.made_up(number, Operation::Create, object.key.as_str()))
            })
        };
        objects.iter().zip(&faults).map(outcome).collect()
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.perform(Operation::Replace, key.as_str(), || {
            self.inner.replace(key, content)
        })
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.perform(Operation::Delete, key.as_str(), || self.inner.delete(key))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.perform(Operation::List, folder, || self.inner.list(folder))
    }

    fn written_at(&self, key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        self.perform(Operation::Read, key.as_str(), || self.inner.written_at(key))
    }

    fn distance(&self) -> Distance {
        self.inner.distance()
    }

    fn listing_lag(&self) -> Duration {
        self.inner.listing_lag()
    }

    fn object_locks(&self) -> Option<&dyn ObjectLocks> {
        self.inner.object_locks()
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

    fn create_all(&self, objects: &[NewObject<'_>]) -> Vec<Result<(), StoreError>> {
        (**self).create_all(objects)
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        (**self).replace(key, content)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        (**self).delete(key)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        (**self).list(folder)
    }

    fn written_at(&self, key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        (**self).written_at(key)
    }

    fn distance(&self) -> Distance {
        (**self).distance()
    }

    fn listing_lag(&self) -> Duration {
        (**self).listing_lag()
    }

    fn object_locks(&self) -> Option<&dyn ObjectLocks> {
        (**self).object_locks()
    }
}
