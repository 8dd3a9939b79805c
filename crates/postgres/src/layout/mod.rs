//! What lies where in a data directory, and how places in the write-ahead log are written.
//!
//! Nothing here does I/O. Source of the rules: PostgreSQL manual, "Database Physical Storage",
//! "Backing Up The Data Directory" and "Frontend/Backend Protocol: BASE_BACKUP".

mod exclusion;
mod history;
mod label;
mod lsn;
mod relation;
mod segment;
mod tablespace_map;

pub use exclusion::{Exclusion, RECEIVED_LAST, exclusion, is_contents_excluded};
pub use history::{HistoryEntry, TimelineHistory};
pub use label::BackupLabel;
pub use lsn::{Lsn, Timeline};
pub use relation::{Fork, RelationFile, relation_file};
pub use segment::{SegmentName, SegmentSize, WalFileKind};
pub use tablespace_map::{
    TABLESPACES_DIR, TablespaceMap, TablespaceMapEntry, tablespace_link_target,
};

/// A text that should have been a name or number of PostgreSQL's, and is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {expected}")]
pub struct ParseLayoutError {
    expected: &'static str,
    text: String,
}

impl ParseLayoutError {
    pub(crate) fn new(expected: &'static str, text: &str) -> Self {
        Self {
            expected,
            text: text.chars().take(100).collect(),
        }
    }
}
