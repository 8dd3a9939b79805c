//! What is known of a captured cluster.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::layout::SlotRange;
use crate::redis::record::RdbRecord;

/// A captured cluster. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterRecord {
    /// Its shards, in the order of their slots.
    pub shards: Vec<ShardRecord>,
    /// Slots of which nothing was captured, for nobody served them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uncovered: Vec<SlotRange>,
    /// Slots that were being moved while it was captured: of their keys some may be missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moving: Vec<SlotRange>,
}

/// A captured shard: one master and its slots.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Where it lies below the dataset, as in `shards/0`.
    pub directory: String,
    /// The name of its master.
    pub node: String,
    /// Where that was.
    pub address: String,
    /// Its slots.
    pub slots: Vec<SlotRange>,
    /// The configuration in which it got them.
    pub epoch: u64,
    /// How many replicas it had.
    pub replicas: u64,
    /// `dump.rdb` in that directory.
    pub rdb: RdbRecord,
}

impl ClusterRecord {
    /// The moment of the shard that was captured first.
    #[must_use]
    pub fn as_of(&self) -> Option<Timestamp> {
        self.shards.iter().map(|shard| shard.rdb.as_of).min()
    }

    /// Keys of all shards.
    #[must_use]
    pub fn keys(&self) -> u64 {
        let keys = self.shards.iter().map(|shard| shard.rdb.summary.keys());
        keys.sum()
    }

    /// What is missing in it, in words.
    pub(crate) fn partly(&self) -> Vec<String> {
        let mut partly = Vec::new();
        if !self.uncovered.is_empty() {
            partly.push(format!(
                "the cluster's slots {} are served by no node: their keys are not in the point",
                super::layout::in_words(&self.uncovered)
            ));
        }
        if !self.moving.is_empty() {
            partly.push(format!(
                "the cluster's slots {} were being moved between nodes: of their keys some may be missing, or be of two moments",
                super::layout::in_words(&self.moving)
            ));
        }
        partly
    }
}
