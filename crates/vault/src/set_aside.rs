//! Where damaged files go: out of the way, and never simply deleted.
//!
//! A file set aside lies under `rekindle/set-aside/<time>/` by its own key. Nothing reads it again; it is there for
//! whoever knows more about the damage than we do.

use jiff::Timestamp;

use crate::{
    error::VaultError,
    store::{ObjectKey, Operation, Store, StoreError, StoreErrorKind},
};

const FOLDER: &str = "rekindle/set-aside";

/// The folder of one run.
#[derive(Clone, Debug)]
pub(crate) struct SetAside {
    folder: String,
}

impl SetAside {
    /// The folder of a run that begins at this time.
    pub fn at(now: Timestamp) -> Self {
        let stamp = now.strftime("%Y%m%dT%H%M%SZ");
        Self {
            folder: format!("{FOLDER}/{stamp}"),
        }
    }

    /// Brings an object there: it is copied, and only then removed from its place. Returns where it lies now; `None` if
    /// it is gone already.
    ///
    /// # Errors
    /// As the store failed; the object is still in its place then.
    pub fn take(
        &self,
        store: &dyn Store,
        object: &ObjectKey,
    ) -> Result<Option<ObjectKey>, VaultError> {
        let aside = self.copy(store, object)?;
        if aside.is_some() {
            match store.delete(object) {
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(aside)
    }

    /// Copies an object there, for a caller who then replaces it.
    ///
    /// # Errors
    /// As the store failed.
    pub fn copy(
        &self,
        store: &dyn Store,
        object: &ObjectKey,
    ) -> Result<Option<ObjectKey>, VaultError> {
        let bytes = match store.read(object) {
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let aside = self.key_of(store, object)?;
        match store.create(&aside, &bytes) {
            // By a run of the same second, or an earlier try of this one: it must be the same bytes.
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                if store.read(&aside)? != bytes {
                    return Err(error.into());
                }
            }
            other => other?,
        }
        Ok(Some(aside))
    }

    fn key_of(&self, store: &dyn Store, object: &ObjectKey) -> Result<ObjectKey, VaultError> {
        let text = format!("{}/{object}", self.folder);
        ObjectKey::parse(&text).ok_or_else(|| {
            let bad = std::io::ErrorKind::InvalidInput.into();
            StoreError::new(Operation::Create, &text, store.location(), bad).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FileKind, MemoryStore};

    #[test]
    fn what_is_set_aside_is_not_lost() {
        let store = MemoryStore::new();
        let object = ObjectKey::of(FileKind::Index, &crate::id::Id::of(b"x"));
        store.create(&object, b"damaged").unwrap();
        let aside = SetAside::at(Timestamp::UNIX_EPOCH);
        let to = aside.take(&store, &object).unwrap().unwrap();
        assert_eq!(
            to.as_str(),
            format!("rekindle/set-aside/19700101T000000Z/{object}")
        );
        assert_eq!(store.read(&to).unwrap(), b"damaged");
        assert!(store.read(&object).is_err());
        assert_eq!(aside.take(&store, &object).unwrap(), None);
        // Another file of the same name is no reason to lose either.
        store.create(&object, b"other").unwrap();
        aside.take(&store, &object).unwrap_err();
        assert_eq!(store.read(&object).unwrap(), b"other");
        assert_eq!(store.read(&to).unwrap(), b"damaged");
    }
}
