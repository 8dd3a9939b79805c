//! What of a data directory is copied.

use std::path::PathBuf;

use crate::layout::TABLESPACES_DIR;
use crate::sink::EntryMeta;
use crate::wire::Tablespace;

/// What a planned file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Pages of a table or index; the first has this number within its fork.
    Relation {
        /// See [`PageVerifier`](super::PageVerifier).
        first_block: u32,
    },
    /// `global/pg_control`: read by [`ControlFile::read`](crate::ControlFile::read), stored last.
    Control,
    /// Anything else.
    Other,
}

/// A file to copy: at most `size` bytes of it, even if it has grown since.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    /// Where it lies in the tree of the backup.
    pub tree_path: String,
    /// Where it is read from.
    pub source: PathBuf,
    /// Bytes it had when it was looked at.
    pub size: u64,
    /// What it is.
    pub kind: FileKind,
    /// Owner, mode and time.
    pub meta: EntryMeta,
}

impl PlannedFile {
    /// Whether the backup is good although the file has vanished, or become shorter, since it was
    /// planned: WAL replay makes it anew, or removes it again.
    pub fn may_vanish(&self) -> bool {
        const VOLATILE: [&str; 7] = [
            "pg_xact/",
            "pg_multixact/",
            "pg_commit_ts/",
            "pg_logical/",
            "pg_twophase/",
            "pg_stat/",
            "log/",
        ];
        match self.kind {
            FileKind::Relation { .. } => true,
            FileKind::Control => false,
            FileKind::Other
                if self.tree_path.starts_with("base/")
                    || self.tree_path.starts_with(TABLESPACES_DIR) =>
            {
                // PG_VERSION and pg_filenode.map go only when their database is dropped.
                self.source
                    .parent()
                    .is_some_and(|directory| !directory.exists())
            }
            FileKind::Other => {
                self.tree_path == "current_logfiles"
                    || VOLATILE.iter().any(|dir| self.tree_path.starts_with(dir))
            }
        }
    }
}

/// A directory of the tree.
#[derive(Clone, Debug)]
pub struct PlannedDirectory {
    /// Where it lies in the tree.
    pub tree_path: String,
    /// Owner, mode and time.
    pub meta: EntryMeta,
}

/// A symbolic link of the tree.
#[derive(Clone, Debug)]
pub struct PlannedSymlink {
    /// Where it lies in the tree.
    pub tree_path: String,
    /// What it points to, relative to itself.
    pub target: String,
    /// Owner, mode and time.
    pub meta: EntryMeta,
}

/// What of a data directory is copied, and where to. Directories come before what they hold;
/// `global/pg_control` is the last file.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// All directories.
    pub directories: Vec<PlannedDirectory>,
    /// All files.
    pub files: Vec<PlannedFile>,
    /// All links: one per tablespace.
    pub symlinks: Vec<PlannedSymlink>,
    /// The source's tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// What was left out although no rule says so, such as sockets and links to elsewhere.
    pub skipped: Vec<PathBuf>,
}

impl Plan {
    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}
