//! What is known of captured buckets, as it is stored in `/recovery-point.json`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Captured buckets. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Record {
    /// The server.
    pub endpoint: String,
    /// The buckets, in the order of the configuration.
    pub buckets: Vec<BucketRecord>,
}

/// A captured bucket, in figures that a later proof can be held against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRecord {
    /// Its name.
    pub name: String,
    /// Whether it keeps older versions.
    pub versioning: VersioningRecord,
    /// Whether older versions and delete markers are in the point.
    pub with_versions: bool,
    /// Objects that a reader without versions saw.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Older versions of objects, and those hidden by a delete marker.
    #[serde(default)]
    pub older_versions: u64,
    /// Their bytes.
    #[serde(default)]
    pub older_bytes: u64,
    /// Delete markers.
    #[serde(default)]
    pub delete_markers: u64,
    /// Objects and versions that are in the list and whose content is not in the point.
    #[serde(default)]
    pub missing: u64,
    /// Objects and versions that were read from the server; the others were in the point before.
    #[serde(default)]
    pub fetched: u64,
    /// Their bytes.
    #[serde(default)]
    pub fetched_bytes: u64,
    /// Objects that an earlier restore in place had set aside, and that were left out.
    #[serde(default)]
    pub set_aside: u64,
    /// When its listing was begun: what came later need not be in the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<Timestamp>,
}

/// Whether a bucket keeps older versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VersioningRecord {
    /// It never did.
    Off,
    /// It does.
    On,
    /// It did.
    Suspended,
    /// The server does not say.
    #[default]
    #[serde(other)]
    Unknown,
}
