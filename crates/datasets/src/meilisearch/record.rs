//! What is known of a captured MeiliSearch server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    MeilisearchError,
    dump::{
        DumpMetadata,
        read::{Part, each_line},
    },
};

/// A captured MeiliSearch server. Fields are added, never renamed or reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeilisearchRecord {
    /// The server's version, `1.12.0`; empty if it was not asked.
    #[serde(default)]
    pub server_version: String,
    /// How it was captured.
    pub way: MeilisearchWay,
    /// The dump, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<MeilisearchDump>,
    /// The command that makes the indexes anew, if that is how they come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<String>,
}

/// How a server was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeilisearchWay {
    /// The server wrote a dump, which was read from its dump directory.
    DumpDirectory,
    /// The server wrote a dump, which was read out of the service's storage.
    Storage,
    /// Everything was read through the API, and made into a dump.
    Api,
    /// Nothing was captured: the indexes are rebuilt by a command.
    Rebuild,
}

/// A dump in a recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeilisearchDump {
    /// Its name below the dataset.
    pub file: String,
    /// The version of its layout, `V6`.
    pub version: String,
    /// The server's version, as the dump says it.
    pub server_version: String,
    /// When it was made, by the server's clock; RFC 3339.
    pub made: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// API keys in it, without their values.
    pub keys: u64,
    /// The indexes, by name.
    pub indexes: Vec<MeilisearchIndex>,
}

/// An index of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeilisearchIndex {
    /// Its name.
    pub uid: String,
    /// What tells its documents apart; `None` if none was ever added.
    pub primary_key: Option<String>,
    /// Documents in the dump.
    pub documents: u64,
    /// SHA-256 of its settings as JSON with sorted keys and no spaces.
    pub settings_sha256: String,
}

/// Counts what is in a dump, part by part.
#[derive(Default)]
pub(super) struct Tally {
    metadata: Option<DumpMetadata>,
    keys: u64,
    indexes: BTreeMap<String, MeilisearchIndex>,
    has_settings: u64,
    has_documents: u64,
    has_metadata: u64,
}

impl Tally {
    pub(super) fn count(&mut self, part: Part<'_>) -> Result<(), MeilisearchError> {
        match part {
            Part::Dump(metadata) => self.metadata = Some(metadata),
            Part::Index(metadata) => {
                self.has_metadata += 1;
                self.index(&metadata.uid).primary_key = metadata.primary_key;
            }
            Part::Settings { index, json } => {
                self.has_settings += 1;
                self.index(&index).settings_sha256 = settings_hash(&json).unwrap_or_default();
            }
            Part::Documents { index, lines } => {
                self.has_documents += 1;
                let mut documents = 0;
                each_line(lines, &mut |_| {
                    documents += 1;
                    Ok(())
                })?;
                self.index(&index).documents = documents;
            }
            Part::Keys(lines) => {
                let lines = lines.split(|&byte| byte == b'\n');
                self.keys = lines.filter(|line| !line.trim_ascii().is_empty()).count() as u64;
            }
            Part::Other => {}
        }
        Ok(())
    }

    fn index(&mut self, uid: &str) -> &mut MeilisearchIndex {
        self.indexes
            .entry(uid.to_owned())
            .or_insert_with(|| MeilisearchIndex {
                uid: uid.to_owned(),
                ..MeilisearchIndex::default()
            })
    }

    /// What the manifest says of it. Each index must have had all its three files.
    pub(super) fn finish(
        self,
        what: &str,
        file: &str,
        bytes: u64,
    ) -> Result<MeilisearchDump, MeilisearchError> {
        let count = self.indexes.len() as u64;
        let is_whole = [self.has_metadata, self.has_settings, self.has_documents]
            .iter()
            .all(|&found| found == count);
        let Some(metadata) = self.metadata.filter(|_| is_whole) else {
            return Err(MeilisearchError::NotADump {
                what: what.to_owned(),
                reason: "an index lacks its metadata, settings or documents".to_owned(),
            });
        };
        Ok(MeilisearchDump {
            file: file.to_owned(),
            version: metadata.dump_version,
            server_version: metadata.db_version,
            made: metadata.dump_date,
            bytes,
            keys: self.keys,
            indexes: self.indexes.into_values().collect(),
        })
    }
}

/// SHA-256 of settings, however they are written.
pub(super) fn settings_hash(json: &[u8]) -> Result<String, serde_json::Error> {
    let settings: Value = serde_json::from_slice(json)?;
    let mut hash = Sha256::new();
    hash_sorted(&settings, &mut hash);
    Ok(hex::encode(hash.finalize()))
}

fn hash_sorted(value: &Value, hash: &mut Sha256) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            for (number, (key, value)) in sorted.into_iter().enumerate() {
                hash.update(if number == 0 { "{" } else { "," });
                hash.update(Value::String(key.clone()).to_string());
                hash.update(":");
                hash_sorted(value, hash);
            }
            hash.update(if map.is_empty() { "{}" } else { "}" });
        }
        Value::Array(items) => {
            hash.update("[");
            for (number, item) in items.iter().enumerate() {
                hash.update(if number == 0 { "" } else { "," });
                hash_sorted(item, hash);
            }
            hash.update("]");
        }
        other => hash.update(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_the_same_in_any_order() {
        let hash = |text: &str| settings_hash(text.as_bytes()).unwrap();
        assert_eq!(
            hash(r#"{"b":1, "a":{"d":2,"c":3}}"#),
            hash(r#"{"a":{"c":3,"d":2},"b":1}"#)
        );
        assert_ne!(hash(r#"{"a":1}"#), hash(r#"{"a":2}"#));
    }
}
