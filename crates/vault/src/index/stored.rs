//! Index files, as they are stored.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{blob::BlobKind, id::Id, pack::PackedBlob};

/// An index file. Source: restic's design document, "Indexing"; of packs on their way out, the type
/// `IndexFile` of `rustic_core`. Stock restic passes over fields that it does not know.
#[derive(Serialize, Deserialize, Default)]
pub(crate) struct StoredIndex {
    /// Index files this one replaces; they may still lie there, and say the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<Id>,
    pub packs: Vec<StoredPack>,
    /// Packs on their way out. One that is among `packs`, of this file or another, is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs_to_delete: Vec<StoredPack>,
}

#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct StoredPack {
    pub id: Id,
    pub blobs: Vec<StoredBlob>,
    /// Of a pack on its way out: since when. Text, because a time that somebody else writes
    /// otherwise must not make the index unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// Length of the pack, where its blobs do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct StoredBlob {
    id: Id,
    #[serde(rename = "type")]
    kind: StoredKind,
    offset: u32,
    length: u32,
    #[serde(
        default,
        skip_serializing_if = "is_zero",
        deserialize_with = "null_is_zero"
    )]
    uncompressed_length: u32,
}

/// Of a blob that is not compressed rustic says `null`, where restic says nothing.
fn null_is_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum StoredKind {
    Data,
    Tree,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl StoredPack {
    pub fn new(id: Id, blobs: &[PackedBlob]) -> Self {
        let stored = |blob: &PackedBlob| StoredBlob {
            id: blob.id,
            kind: match blob.kind {
                BlobKind::Data => StoredKind::Data,
                BlobKind::Tree => StoredKind::Tree,
            },
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.uncompressed_length.unwrap_or(0),
        };
        Self {
            id,
            blobs: blobs.iter().map(stored).collect(),
            time: None,
            size: None,
        }
    }

    /// Since when it is on its way out, if that can be read.
    pub fn time(&self) -> Option<Timestamp> {
        self.time.as_ref()?.parse().ok()
    }

    /// The same pack, on its way out since `time`.
    pub fn leaving(mut self, time: Timestamp) -> Self {
        self.time = Some(time.to_string());
        self
    }

    /// The same pack, back for good.
    pub fn staying(mut self) -> Self {
        self.time = None;
        self
    }

    /// The same pack, with its length.
    pub fn sized(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }
}

impl StoredIndex {
    /// All packs it names, and whether each is on its way out.
    pub fn named_packs(&self) -> impl Iterator<Item = (&StoredPack, bool)> {
        let staying = self.packs.iter().map(|pack| (pack, false));
        staying.chain(self.packs_to_delete.iter().map(|pack| (pack, true)))
    }
}

impl StoredIndex {
    /// How many packs it names, those on their way out among them.
    pub fn pack_count(&self) -> usize {
        self.named_packs().count()
    }

    /// Takes these packs out.
    pub fn forget(&mut self, packs: &HashSet<Id>) {
        let stays = |pack: &StoredPack| !packs.contains(&pack.id);
        self.packs.retain(stays);
        self.packs_to_delete.retain(stays);
    }
}

impl StoredBlob {
    pub fn packed(&self) -> PackedBlob {
        PackedBlob {
            id: self.id,
            kind: match self.kind {
                StoredKind::Data => BlobKind::Data,
                StoredKind::Tree => BlobKind::Tree,
            },
            offset: self.offset,
            length: self.length,
            uncompressed_length: (self.uncompressed_length != 0)
                .then_some(self.uncompressed_length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_that_rustic_lists_without_compression_is_read() {
        let id = Id::of(b"x");
        let blob = |length: &str| {
            let text = format!(
                r#"{{"packs":[{{"id":"{id}","blobs":[{{"id":"{id}","type":"data","offset":0,"length":40{length}}}]}}]}}"#
            );
            let stored: StoredIndex = serde_json::from_str(&text).unwrap();
            stored.packs[0].blobs[0].packed().uncompressed_length
        };
        assert_eq!(blob(""), None);
        assert_eq!(blob(r#","uncompressed_length":null"#), None);
        assert_eq!(blob(r#","uncompressed_length":0"#), None);
        assert_eq!(blob(r#","uncompressed_length":9"#), Some(9));
    }

    #[test]
    fn an_index_file_reads_as_rustic_writes_it() {
        let json = r#"{"packs":[],"packs_to_delete":[{"id":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "blobs":[],"time":"2026-11-21T08:30:00.5+01:00","size":4711}]}"#;
        let stored: StoredIndex = serde_json::from_str(json).unwrap();
        let time = stored.packs_to_delete[0].time().unwrap();
        assert_eq!(time.to_string(), "2026-11-21T07:30:00.5Z");
        assert!(serde_json::to_string(&stored).unwrap().contains("4711"));
        let odd: StoredIndex = serde_json::from_str(&json.replace("2026", "then")).unwrap();
        assert_eq!(odd.packs_to_delete[0].time(), None);
    }

    #[test]
    fn an_index_file_reads_as_restic_writes_it() {
        let json = r#"{"supersedes":[],"packs":[{"id":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "blobs":[{"id":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","type":"tree",
            "offset":0,"length":38},{"id":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "type":"data","offset":38,"length":112,"uncompressed_length":511}]}]}"#;
        let stored: StoredIndex = serde_json::from_str(json).unwrap();
        let blobs: Vec<_> = stored.packs[0]
            .blobs
            .iter()
            .map(StoredBlob::packed)
            .collect();
        assert_eq!(
            (blobs[0].kind, blobs[0].plain_length()),
            (BlobKind::Tree, 6)
        );
        assert_eq!(
            (blobs[1].kind, blobs[1].plain_length()),
            (BlobKind::Data, 511)
        );
    }
}
