//! Why a vault did not do as asked.

use crate::{
    crypto::OpenError,
    id::Id,
    lock::LockConflict,
    object_lock::LockRecordError,
    store::{FileKind, StoreError, StoreErrorKind},
    wal::WalArchiveError,
};

/// Why a vault did not do as asked. Each variant is something a caller may act on differently.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no repository here.
    #[error("there is no vault at {location}")]
    NoVault {
        /// Where it was looked for.
        location: String,
    },
    /// There is one already.
    #[error("there is a vault at {location} already")]
    VaultExists {
        /// Where.
        location: String,
    },
    /// No key file opens with this password.
    #[error("the password opens none of the {keys} keys of the vault at {location}")]
    WrongPassword {
        /// Where.
        location: String,
        /// How many keys were tried.
        keys: usize,
    },
    /// A format that this program does not know.
    #[error("the vault at {location} has format version {version}; this program knows version 2")]
    UnknownVersion {
        /// Where.
        location: String,
        /// What its configuration says.
        version: u32,
    },
    /// Stored bytes are not what they were when they were written.
    #[error("{} {name} is damaged: {reason}", kind.noun())]
    Damaged {
        /// What kind of file.
        kind: FileKind,
        /// Its name.
        name: String,
        /// What was noticed.
        reason: String,
    },
    /// Locks of objects were asked for where there are none.
    #[error("no Object Lock is configured for the vault at {location}")]
    NoObjectLocks {
        /// Where.
        location: String,
    },
    /// None of the versions that the store has of an object is what it must be.
    #[error("none of {versions} versions of `{key}` has the content that its name says")]
    NoRightVersion {
        /// The object.
        key: String,
        /// How many were looked at.
        versions: usize,
    },
    /// What this machine remembers of object locks cannot be kept.
    #[error(transparent)]
    LockRecord(#[from] LockRecordError),
    /// A blob is in no index.
    #[error("blob {id} is in no index of the vault")]
    MissingBlob {
        /// The blob.
        id: Id,
    },
    /// No recovery point of this name.
    #[error("no recovery point `{wanted}` in the vault")]
    NoSnapshot {
        /// What was asked for.
        wanted: String,
    },
    /// A name that fits several recovery points.
    #[error("`{wanted}` fits {count} recovery points")]
    AmbiguousSnapshot {
        /// What was asked for.
        wanted: String,
        /// How many it fits.
        count: usize,
    },
    /// No such path in the recovery point.
    #[error("there is no `{path}` in recovery point {}", snapshot.short())]
    NoSuchPath {
        /// The point.
        snapshot: Id,
        /// What was asked for.
        path: String,
    },
    /// Somebody else works in the vault.
    #[error(transparent)]
    Locked(#[from] LockConflict),
    /// Our lock vanished or could not be refreshed, so nothing may be committed any more.
    #[error("the lock on the vault was lost ({reason}); nothing was committed")]
    LockLost {
        /// How it was noticed.
        reason: String,
    },
    /// Some recovery points were forgotten, then something failed.
    #[error("{} recovery points were forgotten, and {} were not: {}", forgotten.len(), left.len(), shorts(left))]
    ForgotInPart {
        /// Those that are gone.
        forgotten: Vec<Id>,
        /// Those that are still there; the first of them may be gone too, if its store does not
        /// say what it did.
        left: Vec<Id>,
        /// Why.
        source: Box<VaultError>,
    },
    /// There is a hold of this name already.
    #[error("there is a hold `{name}` already")]
    HoldExists {
        /// Its name.
        name: String,
    },
    /// There is no hold of this name.
    #[error("there is no hold `{name}`")]
    NoHold {
        /// What was asked for.
        name: String,
    },
    /// A name that no hold can have.
    #[error("`{name}` is no name of a hold: letters, digits, `-`, `_` and `.`, 64 at most")]
    BadHoldName {
        /// The name.
        name: String,
    },
    /// No key of this id.
    #[error("there is no key `{wanted}` in the vault")]
    NoKey {
        /// What was asked for.
        wanted: String,
    },
    /// A beginning of an id that fits several keys.
    #[error("`{wanted}` fits {count} keys")]
    AmbiguousKey {
        /// What was asked for.
        wanted: String,
        /// How many it fits.
        count: usize,
    },
    /// Without this key the vault could not be opened any more, or not as it is opened now.
    #[error("key {} stays: {reason}", id.short())]
    KeyNeeded {
        /// The key.
        id: Id,
        /// Why it is needed.
        reason: String,
    },
    /// A password that opens a key already.
    #[error("this password opens the vault already, by key {}", id.short())]
    PasswordInUse {
        /// The key.
        id: Id,
    },
    /// The key that the vault was opened by was removed.
    #[error("the password of the vault at {location} was changed while it was open")]
    PasswordChanged {
        /// Where.
        location: String,
    },
    /// A password that would not keep anybody out.
    #[error("the new password is empty")]
    EmptyPassword,
    /// The store failed.
    #[error("the vault's store failed")]
    Store(#[from] StoreError),
    /// The WAL archive did not do as asked.
    #[error(transparent)]
    WalArchive(Box<WalArchiveError>),
    /// The system has no randomness to give.
    #[error("the system gave no random bytes")]
    Random(#[from] getrandom::Error),
    /// Compression failed, which only a lack of memory explains.
    #[error("compress: {0}")]
    Compress(&'static str),
    /// A directory has more entries than a blob of the format can hold, which tells its length in 32 bits.
    #[error(
        "the listing of a directory has {bytes} bytes, and 4 GiB is the most: divide the directory, or leave files out"
    )]
    LongListing {
        /// Its length.
        bytes: usize,
    },
    /// A text of ours could not be written as JSON.
    #[error("write JSON")]
    Json(#[from] serde_json::Error),
}

fn shorts(ids: &[Id]) -> String {
    let ids: Vec<_> = ids.iter().map(Id::short).collect();
    ids.join(", ")
}

impl VaultError {
    /// Damage of this file.
    pub(crate) fn damaged(kind: FileKind, name: &Id, reason: impl ToString) -> Self {
        Self::Damaged {
            kind,
            name: name.to_string(),
            reason: reason.to_string(),
        }
    }

    /// Damage of this file that showed when it was opened.
    pub(crate) fn unsealable(kind: FileKind, name: &Id, error: &OpenError) -> Self {
        Self::damaged(kind, name, error)
    }

    /// With its cause, for a report that keeps texts and no errors.
    pub(crate) fn in_full(&self) -> String {
        match self {
            Self::Store(error) => format!("{error}: {}", error.source),
            other => other.to_string(),
        }
    }

    /// Whether an object was asked for that is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind == StoreErrorKind::NotFound)
    }

    /// Whether stored bytes are changed, cut, gone or on a bad place of the disk, so that reading
    /// others still makes sense.
    #[must_use]
    pub fn is_damage_or_missing(&self) -> bool {
        const INPUT_OUTPUT_ERROR: i32 = rustix::io::Errno::IO.raw_os_error();
        match self {
            Self::Damaged { .. } | Self::MissingBlob { .. } => true,
            Self::WalArchive(error) => error.is_damage(),
            Self::Store(error) => {
                matches!(
                    error.kind,
                    StoreErrorKind::NotFound | StoreErrorKind::TooShort
                ) || error.source.raw_os_error() == Some(INPUT_OUTPUT_ERROR)
            }
            _ => false,
        }
    }

    /// Whether the store has no room left.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind == StoreErrorKind::NoSpace)
    }
}

impl From<WalArchiveError> for VaultError {
    fn from(error: WalArchiveError) -> Self {
        match error {
            WalArchiveError::Store(error) => Self::Store(error),
            other => Self::WalArchive(Box::new(other)),
        }
    }
}
