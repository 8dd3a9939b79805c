//! Why the archive did not do as asked.

use super::{BadWalName, frame::MOST_PLAIN_BYTES};
use crate::{
    age::AgeError,
    store::{StoreError, StoreErrorKind},
};

/// Why the WAL archive did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum WalArchiveError {
    /// A name that no WAL file has.
    #[error(transparent)]
    BadName(#[from] BadWalName),
    /// Longer than any WAL segment.
    #[error("`{name}` has {bytes} bytes, and no WAL file has more than {MOST_PLAIN_BYTES}")]
    TooLong {
        /// The file.
        name: String,
        /// Its length.
        bytes: u64,
    },
    /// Only parts of segments are ever replaced.
    #[error("`{name}` is archived once and never replaced; only a `.partial` is")]
    NotPartial {
        /// The file.
        name: String,
    },
    /// The name is taken by other content. The archive is as it was.
    #[error("`{object}` in {location} holds other content already; it was not replaced")]
    Differs {
        /// The object.
        object: String,
        /// The vault.
        location: String,
    },
    /// The stored object is not what was stored. It is as it was.
    #[error("`{object}` in {location} is damaged: {reason}")]
    Damaged {
        /// The object.
        object: String,
        /// The vault.
        location: String,
        /// What was noticed.
        reason: String,
    },
    /// The stored object is for another key than the vault's.
    #[error("`{object}` in {location} is sealed to another key, or its header is damaged")]
    AnotherKey {
        /// The object.
        object: String,
        /// The vault.
        location: String,
    },
    /// Only who has the vault's password can read and compare.
    #[error("reading `{object}` in {location} needs the vault's password")]
    NeedsPassword {
        /// The object.
        object: String,
        /// The vault.
        location: String,
    },
    /// There is no vault in the place any more.
    #[error("there is no vault at {location} now")]
    VaultGone {
        /// Where.
        location: String,
    },
    /// There is a vault, and it is not the one that was opened.
    #[error("the vault at {location} is another one than the one that was opened before")]
    OtherVault {
        /// Where.
        location: String,
    },
    /// The store failed.
    #[error("the vault's store failed")]
    Store(#[from] StoreError),
    /// The file was not sealed, or the vault's key file not written.
    #[error("seal for the WAL archive")]
    Seal(#[from] AgeError),
}

impl WalArchiveError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Differs { .. } => {
                "two servers archive under one name: a copy of the server, or one that was restored to an earlier moment, \
                 must not archive here; turn its archive_mode off"
            }
            Self::Damaged { .. } => {
                "move the damaged object out of the vault; if the server still has the file, it is then archived anew. \
                 `rekindle vault check --read-data` names everything that is damaged"
            }
            Self::AnotherKey { .. } => {
                "was it archived under another password of the vault? `age -d -i` with that password and \
                 rekindle/keys/wal.age opens it then"
            }
            Self::NeedsPassword { .. } => "open the vault by its password",
            Self::VaultGone { .. } => "is the disk of the vault mounted?",
            Self::OtherVault { .. } => {
                "is the right disk mounted? If the vault was made anew on purpose, remove the cached WAL recipient"
            }
            Self::Store(error) => match error.kind {
                StoreErrorKind::NoSpace => {
                    "make room; nothing half-written was left in the archive"
                }
                StoreErrorKind::Denied => {
                    "may this user read and write all of the vault? What root made in a directory is root's: \
                     `chown -R USER DIR`"
                }
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Whether the same call may succeed later with nothing changed in the archive: the store was
    /// away, full, or forbidden.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Store(_) | Self::VaultGone { .. } | Self::Seal(AgeError::Random(_))
        )
    }

    /// What kind of failure of the store it was, if it was one.
    #[must_use]
    pub const fn store_kind(&self) -> Option<StoreErrorKind> {
        match self {
            Self::Store(error) => Some(error.kind),
            _ => None,
        }
    }

    /// Whether a stored object is not what it was when it was stored.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::AnotherKey { .. })
    }
}
