//! Dumps of MeiliSearch: a tar of JSON files inside gzip. Source: what servers from version 1.0 on write and read, which
//! call it version 6.
//!
//! In a recovery point the gzip holds its content as it is ([`stored_gzip`]): a server imports the file as it lies there,
//! and what did not change between two dumps is stored once.

pub(super) mod read;
pub(super) mod stored_gzip;
pub(super) mod write;

use serde::{Deserialize, Serialize};

/// The dump's name below the dataset.
pub const DUMP_FILE: &str = "meilisearch.dump";
/// What this program reads and writes.
pub(super) const DUMP_VERSION: &str = "V6";

/// `metadata.json` of a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DumpMetadata {
    pub(super) dump_version: String,
    pub(super) db_version: String,
    /// As the server writes it: RFC 3339.
    pub(super) dump_date: String,
}

/// `indexes/<uid>/metadata.json` of a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IndexMetadata {
    pub(super) uid: String,
    pub(super) primary_key: Option<String>,
    pub(super) created_at: String,
    pub(super) updated_at: String,
}
