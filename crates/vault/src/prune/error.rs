//! Why a prune stopped.

use std::time::Duration;

use jiff::Timestamp;

use crate::{backup::BackupError, error::VaultError, id::Id, lock::LockConflict};

/// Why a prune stopped. Whatever it was, nothing that a recovery point needs was removed, and the
/// next prune goes on with what was done.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The vault failed or is damaged.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Recovery points need what is not there. To prune now could remove what may still mend them.
    #[error(
        "{count} pieces that recovery points need are in no pack ({}); nothing was removed",
        shorts(.blobs)
    )]
    Missing {
        /// How many pieces.
        count: u64,
        /// Some of them.
        blobs: Vec<Id>,
    },
    /// A directory listing of a recovery point says nothing that makes sense.
    #[error("directory {tree} of a recovery point cannot be understood: {reason}")]
    BadTree {
        /// The tree.
        tree: Id,
        /// What was noticed.
        reason: String,
    },
    /// There is no recovery point at all. Perhaps the snapshot files are lost: then these packs are
    /// what a salvage finds the points in.
    #[error("there is no recovery point, and {packs} packs would be removed; nothing was removed")]
    NoPoints {
        /// How many packs.
        packs: usize,
    },
    /// Others worked in the vault for as long as we were willing to wait.
    #[error("nothing was removed: after {} s the vault is still in use", waited.as_secs())]
    InUse {
        /// How long we waited.
        waited: Duration,
        /// Who is in the way.
        source: LockConflict,
    },
    /// Somebody else pruned the vault or wrote its index anew while we worked.
    #[error("somebody else changed the index of the vault meanwhile; nothing was removed")]
    ChangedMeanwhile,
    /// No time of the day can be told.
    #[error("the clock of this machine says {now}, which cannot be; nothing was done")]
    Clock {
        /// What it says.
        now: Timestamp,
    },
    /// A thread of ours ended by a mistake of ours.
    #[error("a worker thread panicked; this is a bug")]
    Panicked,
}

impl PruneError {
    /// What to do next, if there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing { .. } | Self::BadTree { .. } => {
                "`rekindle vault check` names the files and points that are hit"
            }
            Self::Vault(error) if error.is_damage_or_missing() => {
                "`rekindle vault check` names the files and points that are hit"
            }
            Self::NoPoints { .. } => {
                "were all points forgotten on purpose? Then `rekindle vault prune --now` removes the packs; \
                 if not, `rekindle vault salvage` finds points whose snapshot files are lost"
            }
            Self::InUse { source, .. } => source.unlock_hint().unwrap_or(
                "run it again when the other one is done, or wait longer: `--wait 2h`; what was packed anew stays",
            ),
            Self::ChangedMeanwhile => "run it again when the other prune is done",
            Self::Clock { .. } => "set the clock of this machine",
            Self::Vault(_) | Self::Panicked => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether something is lost or damaged in the vault.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::BadTree { .. } => true,
            Self::Vault(error) => error.is_damage_or_missing(),
            _ => false,
        }
    }
}

impl From<BackupError> for PruneError {
    /// What the packer says.
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Vault(error) => Self::Vault(error),
            _ => Self::Panicked,
        }
    }
}

fn shorts(ids: &[Id]) -> String {
    let some: Vec<_> = ids.iter().take(3).map(Id::short).collect();
    let more = if ids.len() > 3 { ", …" } else { "" };
    some.join(", ") + more
}
