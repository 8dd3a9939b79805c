//! Where damaged files go: out of the way, and never simply deleted.
//!
//! A file set aside lies under `rekindle/set-aside/<time>/` by its own key; where another file of that name was set aside in
//! the same second, under `<time>-2/` and so on. Nothing reads it again; it is there for whoever knows more about the
//! damage than we do.

use jiff::Timestamp;

use crate::{
    error::VaultError,
    store::{ObjectKey, Operation, Store, StoreError, StoreErrorKind},
};

const FOLDER: &str = "rekindle/set-aside";

/// How many different files of one name are set aside within a second. A store on which even the last one exists already
/// does not tell the truth.
const MOST_OF_A_NAME: u32 = 100;

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
        let mut place = 1;
        loop {
            let aside = self.key_of(store, object, place)?;
            match store.create(&aside, &bytes) {
                // By an earlier try of this run, or by another run of the same second.
                Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                    if store.read(&aside)? == bytes {
                        return Ok(Some(aside));
                    }
                    if place == MOST_OF_A_NAME {
                        return Err(error.into());
                    }
                }
                other => {
                    other?;
                    return Ok(Some(aside));
                }
            }
            place += 1;
        }
    }

    fn key_of(
        &self,
        store: &dyn Store,
        object: &ObjectKey,
        place: u32,
    ) -> Result<ObjectKey, VaultError> {
        let text = match place {
            1 => format!("{}/{object}", self.folder),
            again => format!("{}-{again}/{object}", self.folder),
        };
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
        // Another file of the same name in the same second is no reason to lose either, and a second try of one makes
        // no second copy.
        store.create(&object, b"other").unwrap();
        let second = aside.copy(&store, &object).unwrap().unwrap();
        assert_eq!(aside.take(&store, &object).unwrap(), Some(second.clone()));
        assert_ne!(second, to);
        assert_eq!(store.read(&second).unwrap(), b"other");
        assert!(store.read(&object).is_err());
        assert_eq!(store.read(&to).unwrap(), b"damaged");
    }
}
