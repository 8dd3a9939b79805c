//! Received WAL on a local disk, until everybody who wants it has it.
//!
//! ```text
//! <spool>/lock                      held by the one receiver that uses the spool
//! <spool>/system                    `<system identifier> <segment size>`: whose WAL it is
//! <spool>/<system>/<timeline, 8 hex>/<segment>            complete, and durable before it has this name
//! <spool>/<system>/<timeline, 8 hex>/<segment>.partial    growing, or left unfinished
//! <spool>/<system>/<timeline, 8 hex>/<timeline>.history
//! ```

mod files;
mod shelf;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::layout::{Lsn, SegmentName, SegmentSize, Timeline};
use crate::wal::receive::Held;
use files::Directory;
use shelf::Shelf;

pub use shelf::{Item, ItemKind, Work};
pub use writer::{Limits, SpoolWriter, Syncing};

/// One of those who want all WAL, such as a vault: a number below 64.
pub type Reader = usize;

/// A place on a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The timeline.
    pub timeline: Timeline,
    /// The place.
    pub lsn: Lsn,
}

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another receiver uses it.
    #[error("the spool {path} is used by process {pid}")]
    InUse {
        /// Where.
        path: String,
        /// Whose it is, as far as it said so.
        pid: String,
    },
    /// The file system failed.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file of ours that cannot be read.
    #[error("{path} in the spool is damaged")]
    Damaged {
        /// Which.
        path: String,
    },
    /// The server sent other bytes than before for the same place.
    #[error("the server's WAL at {at} on timeline {timeline} is not what it was")]
    Diverged {
        /// On which timeline.
        timeline: Timeline,
        /// In which piece: its first byte.
        at: Lsn,
    },
    /// The server has another history of a timeline than it had.
    #[error(
        "timeline {timeline} of the server is another one than the timeline {timeline} that is in the spool"
    )]
    OtherHistory {
        /// Which.
        timeline: Timeline,
    },
}

impl SpoolError {
    fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            action,
            path: path.display().to_string(),
            source,
        }
    }
}

/// A spool, opened and locked. The lock goes with the process.
pub struct Spool {
    root: PathBuf,
    shelf: Mutex<Shelf>,
    changed: Condvar,
    _lock: File,
}

impl Spool {
    /// Opens the spool at `root`, or makes one, for so many readers; what is in it is wanted by all of them.
    ///
    /// # Errors
    /// [`SpoolError::InUse`], or as the file system failed.
    pub fn open(root: &Path, readers: usize) -> Result<Self, SpoolError> {
        files::make_private(root)?;
        let lock = files::lock(root)?;
        let mut shelf = Shelf::new(readers);
        if let Some((system, size)) = files::read_system(root)? {
            shelf.adopt(Directory::new(root, system, size)?)?;
        }
        Ok(Self {
            root: root.to_owned(),
            shelf: Mutex::new(shelf),
            changed: Condvar::new(),
            _lock: lock,
        })
    }

    /// Whether a receiver uses the spool at `root`.
    pub fn is_in_use(root: &Path) -> bool {
        files::is_locked(root)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whose WAL it holds: system identifier and segment size.
    pub fn system(&self) -> Option<(u64, SegmentSize)> {
        self.shelf().directory().map(Directory::system)
    }

    /// Makes it the spool of this system from now on. What it held of another one is left on the disk, and is not
    /// looked at any more.
    ///
    /// # Errors
    /// As the file system failed.
    pub fn adopt(&self, system: u64, size: SegmentSize) -> Result<(), SpoolError> {
        if self.system() == Some((system, size)) {
            return Ok(());
        }
        let directory = Directory::new(&self.root, system, size)?;
        files::write_system(&self.root, system, size)?;
        self.shelf().adopt(directory)
    }

    /// Keeps a timeline's history file, durable when this returns.
    ///
    /// # Errors
    /// [`SpoolError::OtherHistory`], or as the file system failed.
    pub fn keep_history(&self, timeline: Timeline, content: &[u8]) -> Result<(), SpoolError> {
        let kept = self.shelf().keep_history(timeline, content);
        self.changed.notify_all();
        kept
    }

    /// Everything that it holds.
    pub fn held(&self) -> Held {
        let mut held = Held::new();
        for item in self.shelf().items() {
            match item.kind {
                ItemKind::Complete => held.add(item.segment),
                ItemKind::Growing | ItemKind::Resting => {
                    held.add_partial(item.segment, item.written);
                }
            }
        }
        held
    }

    /// How many bytes it holds.
    pub fn used_bytes(&self) -> u64 {
        self.shelf().used_bytes()
    }

    /// How many bytes `reader` has not done with.
    pub fn waiting_bytes(&self, reader: Reader) -> u64 {
        self.shelf().waiting_bytes(reader)
    }

    /// What `reader` has to do next; at most so many complete segments at once. The order is that of the timelines'
    /// history, and histories come before all segments.
    pub fn next_work(&self, reader: Reader, most: usize) -> Option<Work> {
        self.shelf().next_work(reader, most)
    }

    /// Waits until something changed, or `wait` is over.
    pub fn wait(&self, wait: Duration) {
        let shelf = self.shelf();
        let waited = self.changed.wait_timeout(shelf, wait);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Wakes all who wait.
    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// Reads bytes of a segment, counted from its start.
    ///
    /// # Errors
    /// As the file system failed.
    pub fn read(&self, segment: SegmentName, from: u64, to: u64) -> Result<Vec<u8>, SpoolError> {
        let directory = self.shelf().directory().cloned();
        let directory = directory.ok_or_else(|| SpoolError::Damaged {
            path: self.root.display().to_string(),
        })?;
        directory.read(segment, from, to)
    }

    /// `reader` has this history.
    pub fn history_done(&self, reader: Reader, timeline: Timeline) {
        self.shelf().history_done(reader, timeline);
    }

    /// `reader` has the first `bytes` of this segment, which is complete or rests, and will not ask for it again. What
    /// everybody has is deleted.
    pub fn done(&self, reader: Reader, segment: SegmentName, bytes: u64) {
        self.shelf().done(reader, segment, bytes);
        self.changed.notify_all();
    }

    /// `reader` has the first `bytes` of this growing segment.
    pub fn partial_stored(&self, reader: Reader, segment: SegmentName, bytes: u64) {
        self.shelf().partial_stored(reader, segment, bytes);
        self.changed.notify_all();
    }

    /// Up to where `reader` has everything; `None` if nothing was received yet.
    pub fn stored(&self, reader: Reader) -> Option<Place> {
        self.shelf().stored(reader)
    }

    /// Up to where everything that was received is durable here.
    pub fn durable(&self) -> Option<Place> {
        self.shelf().durable()
    }

    /// Forgets the wishes of `reader`: what only it still wanted is deleted. Returns the first and the last of those
    /// segments.
    pub fn give_up_on(&self, reader: Reader) -> Option<(SegmentName, SegmentName)> {
        let given_up = self.shelf().give_up_on(reader);
        self.changed.notify_all();
        given_up
    }

    pub(super) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// Shared by the one who writes and those who read.
pub(super) type SharedSpool = Arc<Spool>;
