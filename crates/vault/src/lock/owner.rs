//! What a lock says of its owner, and what is told of one that is in the way.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LockMode, STALE_AFTER};
use crate::{
    host::Host,
    id::Id,
    store::{FileKind, ObjectKey},
};

/// A lock file's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LockInfo {
    /// When it was taken or renewed.
    pub time: Timestamp,
    /// Whether its owner wants to be alone.
    pub exclusive: bool,
    /// The owner's machine.
    pub hostname: String,
    /// The owner's user.
    pub username: String,
    /// The owner's process.
    pub pid: u32,
    /// The owner's user number.
    #[serde(default)]
    pub uid: u32,
    /// The owner's group number.
    #[serde(default)]
    pub gid: u32,
}

impl LockInfo {
    pub(super) fn new(host: &Host, mode: LockMode) -> Self {
        Self {
            time: Timestamp::now(),
            exclusive: mode == LockMode::Exclusive,
            hostname: host.name.clone(),
            username: host.username.clone(),
            pid: host.pid,
            uid: host.uid,
            gid: host.gid,
        }
    }

    /// Whether nobody can be behind it: too old, or of a process of this machine that is gone.
    #[must_use]
    pub fn is_stale(&self, host: &Host, now: Timestamp) -> bool {
        now.duration_since(self.time) > STALE_AFTER || self.is_of_dead_process(host)
    }

    pub(super) fn is_of_dead_process(&self, host: &Host) -> bool {
        self.hostname == host.name && !is_alive(self.pid)
    }
}

fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    else {
        return false;
    };
    // EPERM means that there is such a process, of somebody else.
    !matches!(
        rustix::process::test_kill_process(pid),
        Err(rustix::io::Errno::SRCH)
    )
}

/// Whose a lock is.
#[derive(Clone, Debug)]
pub enum LockOwner {
    /// As the lock says.
    Known(LockInfo),
    /// Nobody can tell: the file is damaged, cut, empty or of another key. Somebody may be at work.
    Unreadable {
        /// What was noticed.
        reason: String,
    },
}

/// A lock file in a vault.
#[derive(Clone, Debug)]
pub struct FoundLock {
    /// Its name.
    pub id: Id,
    /// Whose it is.
    pub owner: LockOwner,
}

impl FoundLock {
    /// What it says; `None` if it cannot be read.
    #[must_use]
    pub const fn info(&self) -> Option<&LockInfo> {
        match &self.owner {
            LockOwner::Known(info) => Some(info),
            LockOwner::Unreadable { .. } => None,
        }
    }
}

/// Somebody else's lock is in the way.
#[derive(Debug, thiserror::Error)]
pub struct LockConflict {
    /// The lock.
    pub id: Id,
    /// Whose it is.
    pub owner: LockOwner,
    /// Whether it looks abandoned, so that `vault unlock` would remove it. Not known of one that
    /// cannot be read.
    pub is_stale: bool,
}

impl LockConflict {
    /// What becomes of the lock if nobody is behind it; `None` if somebody seems to be.
    #[must_use]
    pub const fn unlock_hint(&self) -> Option<&'static str> {
        match &self.owner {
            LockOwner::Unreadable { .. } => Some(
                "somebody may be at work there: wait until they are done, or until the lock is 30 minutes old; \
                 then `rekindle vault unlock` removes it",
            ),
            LockOwner::Known(_) if self.is_stale => {
                Some("its owner seems to be gone: `rekindle vault unlock` removes such locks")
            }
            LockOwner::Known(_) => None,
        }
    }
}

impl fmt::Display for LockConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            LockOwner::Known(owner) => write_owner(f, owner),
            LockOwner::Unreadable { reason } => {
                let file = ObjectKey::of(FileKind::Lock, &self.id);
                write!(
                    f,
                    "the vault is locked, and nobody can tell by whom: the lock `{file}` cannot be read: {reason}"
                )
            }
        }
    }
}

fn write_owner(f: &mut fmt::Formatter<'_>, owner: &LockInfo) -> fmt::Result {
    let LockInfo {
        username,
        hostname,
        pid,
        time,
        exclusive,
        ..
    } = owner;
    let kind = if *exclusive { "exclusively " } else { "" };
    write!(
        f,
        "the vault is {kind}locked by {username} on {hostname} (process {pid}) since {time}"
    )
}
