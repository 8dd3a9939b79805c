//! What kept a file from being in a recovery point as it lies on the disk.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::failure::Failure;
use crate::path::TreePath;

/// An entry that is not in the recovery point as it lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The entry.
    pub source: PathBuf,
    /// Its place in the recovery point.
    pub at: TreePath,
    /// What happened.
    pub kind: TroubleKind,
}

/// What happened to an entry, after it was tried twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// It was listed, and gone when it was to be read: it is not in the recovery point.
    Vanished,
    /// It was written to while it was read: what was read is in the recovery point, and may be partly of the one and
    /// partly of the other content.
    Changed,
    /// It cannot be read, with the reason. A file is not in the recovery point; a directory is, without its entries.
    Unreadable(String),
    /// It is in the recovery point without some of its attributes, with the reason.
    Attributes(String),
}

impl TroubleKind {
    /// That of a failed attempt to look at something, or to read it.
    pub(super) fn of_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Vanished,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source.display();
        match &self.kind {
            TroubleKind::Vanished => write!(f, "`{source}` vanished before it was read"),
            TroubleKind::Changed => write!(f, "`{source}` was written to while it was read"),
            TroubleKind::Unreadable(why) => write!(f, "`{source}` cannot be read: {why}"),
            TroubleKind::Attributes(why) => write!(f, "the attributes of `{source}`: {why}"),
        }
    }
}

/// Files that were added together: how many are still being read, and what happened to them.
#[derive(Default)]
pub(super) struct Group {
    in_work: Mutex<u64>,
    finished: Condvar,
    troubles: Mutex<Vec<Trouble>>,
    lost: AtomicU64,
}

impl Group {
    pub fn is_begun(&self) {
        *self.in_work() += 1;
    }

    pub fn is_done(&self) {
        *self.in_work() -= 1;
        self.finished.notify_all();
    }

    /// Counts a file that is not in the recovery point at all.
    pub fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub fn tell(&self, trouble: Trouble) {
        self.troubles().push(trouble);
    }

    /// Waits until no file is in work, or the backup has failed.
    pub fn wait(&self, failure: &Failure) {
        let mut count = self.in_work();
        while *count > 0 && !failure.has_happened() {
            let waited = self
                .finished
                .wait_timeout(count, Duration::from_millis(100));
            count = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What happened so far, in the order of paths.
    pub fn take_troubles(&self) -> Vec<Trouble> {
        let mut troubles = std::mem::take(&mut *self.troubles());
        troubles.sort_by(|a, b| a.source.cmp(&b.source));
        troubles
    }

    fn in_work(&self) -> MutexGuard<'_, u64> {
        self.in_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn troubles(&self) -> MutexGuard<'_, Vec<Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
