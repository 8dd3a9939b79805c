//! Why WAL is not streamed.

use rekindle_datasets::with_causes;
use rekindle_postgres::{self as pg, Lsn, Timeline, wal::receive::SpoolError};
use rekindle_vault::WalArchiveError;

use crate::RecoveryError;

/// Why WAL is not streamed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The server refused or went away.
    #[error(transparent)]
    Postgres(#[from] pg::Error),
    /// The spool cannot be used.
    #[error("keep received WAL")]
    Spool(#[from] SpoolError),
    /// A vault cannot be opened.
    #[error("open {vault}")]
    Open {
        /// Which.
        vault: String,
        /// Why.
        source: Box<RecoveryError>,
    },
    /// A vault did not take what was received.
    #[error("archive in {vault}")]
    Archive {
        /// Which.
        vault: String,
        /// Why.
        source: WalArchiveError,
    },
    /// The server is another cluster.
    #[error(
        "this server is cluster {server}, and what is archived of the service is of cluster {archived}: it was created anew, or is another one"
    )]
    OtherSystem {
        /// The system identifier of the archive.
        archived: u64,
        /// The server's.
        server: u64,
    },
    /// The server lacks WAL that is archived, without having begun a timeline of its own.
    #[error(
        "the server's WAL ends at {flushed} on timeline {timeline}, and up to {held} of that timeline is archived: the server was restored to an earlier state without beginning a new timeline"
    )]
    Behind {
        /// The timeline of both.
        timeline: Timeline,
        /// Where the archive ends.
        held: Lsn,
        /// Where the server ends.
        flushed: Lsn,
    },
    /// The archive goes on with a timeline that this server has not.
    #[error(
        "the archive has timeline {newest}, of which this server on timeline {timeline} knows nothing: it was demoted, or restored without beginning a new timeline"
    )]
    Abandoned {
        /// The newest timeline of the archive.
        newest: Timeline,
        /// The server's.
        timeline: Timeline,
    },
    /// The server's timeline has the number of another one.
    #[error(
        "timeline {timeline} of the server has another history than the timeline {timeline} in {place}"
    )]
    TimelineTaken {
        /// Its number.
        timeline: Timeline,
        /// Where the other one is.
        place: String,
    },
    /// The server sent other bytes than those that are archived of the same place.
    #[error("the server's WAL is not what {vault} has of the same place ({segment})")]
    Diverged {
        /// Which vault.
        vault: String,
        /// Where.
        segment: String,
    },
    /// Somebody else uses the slot.
    #[error("the replication slot `{slot}` is in use by process {pid} of the server")]
    SlotTaken {
        /// The slot.
        slot: String,
        /// The server's process that serves its user.
        pid: String,
    },
    /// The slot is not one of ours.
    #[error("the replication slot `{slot}` is for logical replication")]
    SlotLogical {
        /// The slot.
        slot: String,
    },
    /// It cannot be known yet where to go on.
    #[error("where to go on is known only to the vault, which cannot be read{reason}")]
    VaultNotReady {
        /// Why, if that is known.
        reason: String,
    },
    /// A standby that is not as far as the archive.
    #[error("the server is a standby that has WAL up to {flushed}, and up to {held} is archived")]
    StandbyBehind {
        /// Where the archive ends.
        held: Lsn,
        /// Where the standby's WAL ends.
        flushed: Lsn,
    },
    /// What was received is only in the spool.
    #[error("{bytes} bytes of received WAL are in the spool and not in the vault yet{reason}")]
    NotInVault {
        /// How much.
        bytes: u64,
        /// Why, if that is known.
        reason: String,
    },
    /// The server went on where nothing could be received from.
    #[error("the server has no WAL from {from} on, and nothing later either")]
    NothingLeft {
        /// What was wanted.
        from: Lsn,
    },
}

impl StreamError {
    /// Whether the WAL of this server must not follow what is there, so that only a person can decide.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::OtherSystem { .. }
                | Self::Behind { .. }
                | Self::Abandoned { .. }
                | Self::TimelineTaken { .. }
                | Self::Diverged { .. }
                | Self::SlotLogical { .. }
        )
    }

    /// Whether it may pass by itself.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_retryable(),
            Self::Archive { .. } | Self::VaultNotReady { .. } | Self::StandbyBehind { .. } => true,
            _ => false,
        }
    }

    /// With its causes, for a status.
    pub(super) fn in_full(&self) -> String {
        with_causes(self)
    }

    /// What to do next, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Postgres(error) => return error.hint().map(str::to_owned),
            Self::Spool(SpoolError::InUse { .. }) => {
                "another `rekindle wal stream` runs; `rekindle wal status` tells how it is doing"
            }
            Self::Spool(SpoolError::Io { .. }) => {
                "`wal_spool` names a directory that this user may write to"
            }
            Self::Spool(_) => return None,
            Self::Open { source, .. } => return source.hint(),
            Self::Archive { source, .. } => return source.hint().map(str::to_owned),
            Self::OtherSystem { .. } => {
                "if the server was created anew on purpose: `rekindle wal stream --accept-new-server`, then make a base \
                 backup; what is archived of the old one stays"
            }
            Self::Behind { .. } | Self::Abandoned { .. } | Self::Diverged { .. } => {
                "WAL of two histories must not be mixed: restore the server with `rekindle restore --at`, which begins a \
                 new timeline, or give it a vault of its own"
            }
            Self::TimelineTaken { .. } => {
                "the server was restored without the archive's history files: restore it again with `rekindle restore \
                 --at`, which knows them"
            }
            Self::SlotTaken { .. } => {
                "each receiver needs a slot of its own: set `wal_slot`, or end the other one"
            }
            Self::VaultNotReady { .. } => "`rekindle doctor` looks at the vault",
            Self::StandbyBehind { .. } => "it catches up by itself while it replicates",
            Self::SlotLogical { .. } => "set `wal_slot` to another name",
            Self::NotInVault { .. } => {
                "nothing is lost: the next `rekindle wal stream` stores it, with or without the server"
            }
            Self::NothingLeft { .. } => "make a base backup once the server has WAL again",
        };
        Some(text.to_owned())
    }
}
