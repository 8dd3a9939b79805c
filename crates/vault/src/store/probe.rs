//! Tries what a store lets us do, on a small object that is in nobody's way.

use std::io;

use super::{ObjectKey, Operation, Store, StoreError, StoreErrorKind};

/// Always the same, so that who may not delete leaves one object and not one for each time. Restic
/// ignores it. In no folder: a folder that root makes in a directory shuts out the server's own user, who archives WAL.
pub(crate) const PROBE: &str = "rekindle-doctor";
const CONTENT: &[u8] = b"Written to see whether this store can be written to. It may be deleted.\n";
/// Others may do the same at the same moment, and remove what we wrote.
const TRIES: usize = 3;

/// What a store lets us do, besides writing and reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreRights {
    /// Whether objects can be removed. If not, the credentials can add and not destroy: good for backups
    /// and copies, and others have to forget and prune.
    pub can_delete: bool,
}

/// Writes a small object beside a vault's files, reads it back, and removes it if that is allowed. With
/// credentials that may not delete, it stays, and the next time it is written again.
///
/// # Errors
/// As the store refused to write or to read, or gave something else back.
pub fn try_out(store: &dyn Store) -> Result<StoreRights, StoreError> {
    let key = ObjectKey::fixed(PROBE);
    let mut tries = 0;
    loop {
        tries += 1;
        match try_once(store, &key) {
            Err(error) if error.kind == StoreErrorKind::NotFound && tries < TRIES => {}
            tried => return tried,
        }
    }
}

fn try_once(store: &dyn Store, key: &ObjectKey) -> Result<StoreRights, StoreError> {
    match store.create(key, CONTENT) {
        // That it is there proves nothing about us.
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => store.replace(key, CONTENT)?,
        created => created?,
    }
    if store.read(key)? != CONTENT {
        let other = "what was read back is not what was written";
        let error = io::Error::new(io::ErrorKind::InvalidData, other);
        return Err(StoreError::new(
            Operation::Read,
            PROBE,
            store.location(),
            error,
        ));
    }
    let can_delete = match store.delete(key) {
        Err(error) if error.kind == StoreErrorKind::Denied => false,
        deleted => {
            deleted?;
            true
        }
    };
    Ok(StoreRights { can_delete })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Listed, MemoryStore};

    /// A store that refuses one kind of operation, or gives back something else.
    struct Refusing(MemoryStore, Option<Operation>, bool);

    impl Refusing {
        fn refuse(&self, operation: Operation) -> Result<(), StoreError> {
            let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
            match self.1 {
                Some(refused) if refused == operation => {
                    Err(StoreError::new(operation, PROBE, self.location(), denied()))
                }
                _ => Ok(()),
            }
        }
    }

    impl Store for Refusing {
        fn location(&self) -> String {
            self.0.location()
        }

        fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
            self.refuse(Operation::Read)?;
            let mut content = self.0.read(key)?;
            content[0] ^= u8::from(self.2);
            Ok(content)
        }

        fn read_range(&self, _: &ObjectKey, _: u64, _: &mut [u8]) -> Result<(), StoreError> {
            unimplemented!("no part of it is read")
        }

        fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
            // As some stores do: whether the name is free comes before who asks.
            if self.0.read(key).is_err() {
                self.refuse(Operation::Create)?;
            }
            self.0.create(key, content)
        }

        fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
            self.refuse(Operation::Create)?;
            self.0.replace(key, content)
        }

        fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
            self.refuse(Operation::Delete)?;
            self.0.delete(key)
        }

        fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
            self.0.list(folder)
        }
    }

    fn tried(refused: Option<Operation>) -> (Result<StoreRights, StoreError>, usize) {
        let store = Refusing(MemoryStore::new(), refused, false);
        let first = try_out(&store);
        let second = try_out(&store);
        assert_eq!(
            first.is_ok(),
            second.is_ok(),
            "what is left is not taken for a right"
        );
        (
            second,
            usize::from(store.0.read(&ObjectKey::fixed(PROBE)).is_ok()),
        )
    }

    #[test]
    fn a_probe_goes_where_that_is_allowed_and_otherwise_one_stays() {
        let (rights, left) = tried(None);
        assert_eq!((rights.unwrap().can_delete, left), (true, 0));
        let (rights, left) = tried(Some(Operation::Delete));
        assert_eq!((rights.unwrap().can_delete, left), (false, 1));
    }

    #[test]
    fn what_is_refused_is_told_and_so_is_another_content() {
        for refused in [Operation::Create, Operation::Read] {
            let error = tried(Some(refused)).0.unwrap_err();
            assert_eq!(
                (error.operation, error.kind),
                (refused, StoreErrorKind::Denied)
            );
        }
        let liar = Refusing(MemoryStore::new(), None, true);
        let error = try_out(&liar).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn who_lost_the_right_to_write_is_not_deceived_by_what_is_left() {
        let mut store = Refusing(MemoryStore::new(), Some(Operation::Delete), false);
        try_out(&store).unwrap();
        store.1 = Some(Operation::Create);
        assert_eq!(try_out(&store).unwrap_err().kind, StoreErrorKind::Denied);
    }
}
