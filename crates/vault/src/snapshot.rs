//! Snapshots: what a recovery point is in the vault.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::Id;

/// A snapshot as it is stored. Fields that this program does not know are kept when it is written
/// anew. Source: restic's design document, "Snapshots".
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredSnapshot {
    /// When the backup began.
    pub time: Timestamp,
    /// The snapshot that unchanged files were taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// The root tree.
    pub tree: Id,
    /// What was backed up.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// By whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// By whom, as a number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// Group number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The snapshot that this one was before its tags were changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Id>,
    /// The program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    /// Figures of the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Everything else.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// Figures of a backup, in restic's names (since 0.17).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// When the backup began.
    pub backup_start: Timestamp,
    /// When it was whole.
    pub backup_end: Timestamp,
    /// Files that the parent did not have.
    #[serde(default)]
    pub files_new: u64,
    /// Files that were read and differ from the parent's.
    #[serde(default)]
    pub files_changed: u64,
    /// Files taken over from the parent unread.
    #[serde(default)]
    pub files_unmodified: u64,
    /// Directories that the parent did not have.
    #[serde(default)]
    pub dirs_new: u64,
    /// Directories whose listing changed.
    #[serde(default)]
    pub dirs_changed: u64,
    /// Directories that are the same.
    #[serde(default)]
    pub dirs_unmodified: u64,
    /// New data blobs.
    #[serde(default)]
    pub data_blobs: u64,
    /// New tree blobs.
    #[serde(default)]
    pub tree_blobs: u64,
    /// Plain bytes of the new blobs.
    #[serde(default)]
    pub data_added: u64,
    /// Stored bytes of the new blobs.
    #[serde(default)]
    pub data_added_packed: u64,
    /// Files in the snapshot.
    #[serde(default)]
    pub total_files_processed: u64,
    /// Bytes of the files in the snapshot.
    #[serde(default)]
    pub total_bytes_processed: u64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A snapshot and its id.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id.
    pub id: Id,
    /// What is stored.
    pub stored: StoredSnapshot,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_survive() {
        let json = r#"{"time":"2026-01-02T03:04:05Z","tree":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "paths":["/x"],"hostname":"h","from_the_future":{"a":[1]}}"#;
        let snapshot: StoredSnapshot = serde_json::from_str(json).unwrap();
        let again = serde_json::to_value(&snapshot).unwrap();
        assert_eq!(again["from_the_future"]["a"][0], 1);
    }
}
