//! A cluster: the RDB of every shard, taken side by side, and who had which slots.
//!
//! Every shard becomes a directory that a node of a new cluster starts on: `dump.rdb`, and a `nodes.conf` that gives it its
//! name and its slots, and knows of no other node. So what is restored never joins a cluster that lives; `CLUSTER MEET`
//! makes one of the new nodes.

mod capture;
mod layout;
mod record;

use super::client::Client;
use super::error::RedisError;
pub use layout::SlotRange;
pub use record::{ClusterRecord, ShardRecord};

/// What holds the shards, below the dataset: `shards/0`, `shards/1` …
pub const SHARDS: &str = "shards";
/// The file by which a node knows itself (`cluster-config-file`).
pub const NODES_FILE: &str = "nodes.conf";

/// Whether a server is a node of a cluster.
///
/// # Errors
/// As the connection failed, or if it may not be asked.
pub fn is_node(client: &mut Client) -> Result<bool, RedisError> {
    Ok(client.info("cluster")?.is("cluster_enabled", "1"))
}
