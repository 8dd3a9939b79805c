//! A store before each of whose operations a test is asked: it may refuse, or do something else first.

use std::{io, sync::Arc};

use super::*;
use rekindle_vault::store::{Listed, Operation, StoreError};

type Hook = dyn Fn(Operation, &str) -> Option<io::ErrorKind> + Send + Sync;

pub struct Hooked {
    inner: Arc<dyn Store>,
    hook: Box<Hook>,
}

impl Hooked {
    pub fn store(
        inner: &Arc<dyn Store>,
        hook: impl Fn(Operation, &str) -> Option<io::ErrorKind> + Send + Sync + 'static,
    ) -> Arc<dyn Store> {
        let inner = Arc::clone(inner);
        Arc::new(Self {
            inner,
            hook: Box::new(hook),
        })
    }

    fn ask(&self, operation: Operation, key: &str) -> Result<(), StoreError> {
        (self.hook)(operation, key).map_or(Ok(()), |kind| {
            let source = io::Error::new(kind, "made-up refusal");
            Err(StoreError::new(operation, key, self.location(), source))
        })
    }
}

impl Store for Hooked {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.ask(Operation::Read, key.as_str())?;
        self.inner.read(key)
    }

    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        self.ask(Operation::Read, key.as_str())?;
        self.inner.read_range(key, offset, buffer)
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.ask(Operation::Create, key.as_str())?;
        self.inner.create(key, content)
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.ask(Operation::Replace, key.as_str())?;
        self.inner.replace(key, content)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.ask(Operation::Delete, key.as_str())?;
        self.inner.delete(key)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.ask(Operation::List, folder)?;
        self.inner.list(folder)
    }
}
