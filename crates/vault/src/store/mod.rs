//! The one boundary to where vaults lie: whole objects by key.
//!
//! [`Store`] promises only what its weakest implementation can keep. It is synchronous: the engine
//! works on threads, and a store that waits for a network brings its own runtime behind this
//! boundary. Retrying, limits and faults are wrappers that are a `Store` themselves.

mod distance;
mod faulty;
mod local;
mod memory;
mod object_lock;
mod probe;

use std::{fmt, io, time::Duration};

pub use distance::Distance;
pub use faulty::{Fault, FaultyStore, Operation};
pub use local::LocalStore;
pub use memory::MemoryStore;
pub(crate) use object_lock::LOCKED_FOLDERS;
pub use object_lock::{
    LockPeriod, LockSupport, ObjectLocks, ObjectVersion, PageMark, VersionsPage, is_lockable,
};
pub(crate) use probe::PROBE;
pub use probe::{StoreRights, try_out};

use jiff::Timestamp;

use crate::{id::Id, together};

/// The name of an object: a relative path of plain segments, `data/ab/abcd…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// The kinds of files a restic repository has. Source: restic's design document, "Repository
/// Layout".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// One per repository: its version, id and chunker polynomial.
    Config,
    /// A password's way to the master key.
    Key,
    /// Somebody is working.
    Lock,
    /// A recovery point.
    Snapshot,
    /// Which blobs lie in which packs.
    Index,
    /// Many blobs in one file.
    Pack,
}

impl FileKind {
    /// The folder of this kind, without a slash; the configuration is a file of its own.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "keys",
            Self::Lock => "locks",
            Self::Snapshot => "snapshots",
            Self::Index => "index",
            Self::Pack => "data",
        }
    }

    /// What people call a file of this kind.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "key",
            Self::Lock => "lock",
            Self::Snapshot => "snapshot",
            Self::Index => "index",
            Self::Pack => "pack",
        }
    }
}

impl ObjectKey {
    /// The key of the repository's configuration.
    #[must_use]
    pub fn config() -> Self {
        Self("config".to_owned())
    }

    /// A key that is known to be well-formed.
    pub(crate) fn fixed(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// The key of an object in a folder of ours; both are known to be well-formed.
    pub(crate) fn below(folder: &'static str, name: &str) -> Self {
        Self(format!("{folder}/{name}"))
    }

    /// The key of a file of this kind and id.
    #[must_use]
    pub fn of(kind: FileKind, id: &Id) -> Self {
        let name = id.to_string();
        match kind {
            FileKind::Config => Self::config(),
            FileKind::Pack => Self(format!("data/{}/{name}", &name[..2])),
            other => Self(format!("{}/{name}", other.folder())),
        }
    }

    /// A key from text; `None` if a segment is empty, `.` or `..`, so that no key leaves its store.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fine = |s: &str| !s.is_empty() && s != "." && s != ".." && !s.contains('\0');
        (text.split('/').all(fine)).then(|| Self(text.to_owned()))
    }

    /// The whole key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its key.
    pub key: ObjectKey,
    /// Its length in bytes.
    pub size_bytes: u64,
}

/// An object to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewObject<'a> {
    /// Its key.
    pub key: &'a ObjectKey,
    /// Its content.
    pub content: &'a [u8],
}

/// Whole objects by key. A write is all or nothing: no reader ever sees half an object.
pub trait Store: Send + Sync {
    /// Where this is, for people; without secrets.
    fn location(&self) -> String;

    /// Reads one object whole.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] if there is none, or as the store failed.
    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError>;

    /// Fills `buffer` from byte `offset` on.
    ///
    /// # Errors
    /// [`StoreErrorKind::TooShort`] if the object ends before the buffer is full.
    fn read_range(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8])
    -> Result<(), StoreError>;

    /// Writes one object and returns when it is durable.
    ///
    /// # Errors
    /// [`StoreErrorKind::AlreadyExists`] rather than replace one. The one that is there is durable
    /// then, too, even if its writer is not done yet.
    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError>;

    /// Writes many objects and returns when they are durable: as [`Store::create`] on each, with
    /// less waiting. What became of each is told in their order; one that fails does not hinder
    /// the others.
    fn create_all(&self, objects: &[NewObject<'_>]) -> Vec<Result<(), StoreError>> {
        let largest = objects.iter().map(|object| object.content.len()).max();
        let at_once = self.distance().writes_together(largest.unwrap_or_default());
        together::each_of(at_once, objects, |object| {
            self.create(object.key, object.content)
        })
    }

    /// Writes one object in the place of the one that is there, if there is one, and returns when
    /// it is durable. A reader sees the old one or the new one.
    ///
    /// # Errors
    /// As the store failed; the old or the new object stands then.
    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError>;

    /// Removes one object.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] if there is none.
    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError>;

    /// All objects of a folder and the folders in it, in no order. Complete, or an error: whoever deletes what a listing
    /// does not name must be able to believe it. A folder that does not exist has no objects.
    ///
    /// # Errors
    /// As the store failed.
    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError>;

    /// When an object was written, by the store's own clock: to be held against other times of the same store, and not
    /// against a clock of ours. `None` if the store does not say.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] if there is none, or as the store failed.
    fn written_at(&self, _key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// How far away it is: how many requests the engine has under way at once.
    fn distance(&self) -> Distance {
        Distance::Near
    }

    /// How long after an object was written a listing may not show it yet. Whoever wants to be
    /// alone in a vault waits so long before looking for others.
    fn listing_lag(&self) -> Duration {
        Duration::from_millis(200)
    }

    /// What it can do about locks of objects; `None` if it locks nothing.
    fn object_locks(&self) -> Option<&dyn ObjectLocks> {
        None
    }
}

/// What kind of failure it was, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No object of this key.
    NotFound,
    /// An object of this key is there.
    AlreadyExists,
    /// The object ends before the bytes that were asked for.
    TooShort,
    /// No room left.
    NoSpace,
    /// Refused: permission, credentials, read-only.
    Denied,
    /// Anything else.
    Other,
}

/// Why a store did not do as asked: what, on which object, where.
#[derive(Debug, thiserror::Error)]
#[error("{operation} `{key}` in {location}")]
pub struct StoreError {
    /// What was being done.
    pub operation: Operation,
    /// The object, or the folder of a listing.
    pub key: String,
    /// The store.
    pub location: String,
    /// For callers that act on it.
    pub kind: StoreErrorKind,
    /// The store's own words.
    pub source: io::Error,
}

impl StoreError {
    /// An error of `operation` on `key`, its kind read from the I/O error.
    #[must_use]
    pub fn new(operation: Operation, key: &str, location: String, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => StoreErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => StoreErrorKind::AlreadyExists,
            io::ErrorKind::UnexpectedEof => StoreErrorKind::TooShort,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::NoSpace,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreErrorKind::Denied
            }
            _ => StoreErrorKind::Other,
        };
        Self {
            operation,
            key: key.to_owned(),
            location,
            kind,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_where_restic_looks_for_them() {
        let id = Id::of(b"x");
        let hex = id.to_string();
        assert_eq!(
            ObjectKey::of(FileKind::Pack, &id).as_str(),
            format!("data/{}/{hex}", &hex[..2])
        );
        assert_eq!(
            ObjectKey::of(FileKind::Lock, &id).as_str(),
            format!("locks/{hex}")
        );
        assert_eq!(ObjectKey::of(FileKind::Config, &id).as_str(), "config");
    }

    #[test]
    fn a_key_cannot_leave_its_store() {
        for text in ["", "/etc/passwd", "a//b", "../x", "a/../../x", "a/", "./a"] {
            assert!(ObjectKey::parse(text).is_none(), "{text}");
        }
        assert!(ObjectKey::parse("rekindle/wal/x").is_some());
    }
}
