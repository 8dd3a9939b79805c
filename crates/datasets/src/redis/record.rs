//! What is known of a captured server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::aof::AofKind;
use super::cluster::ClusterRecord;
use super::info::ServerVersion;
use super::rdb::RdbSummary;
use crate::DatasetRecord;
use crate::files::FilesAside;

/// A captured Redis or Valkey server. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RedisRecord {
    /// `Redis` or `Valkey`; empty if an RDB was imported.
    pub server: String,
    /// Its version, as in `7.0.15`.
    pub version: String,
    /// Settings that say where its data lies and how much of it there may be, as far as we could ask for them.
    pub settings: BTreeMap<String, String>,
    /// `dump.rdb`.
    pub rdb: Option<RdbRecord>,
    /// The append-only files.
    pub aof: Option<AofRecord>,
    /// What the server was among others: `master`, or `replica of HOST:PORT`; empty if that is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// The shards, if the server was a node of a cluster. Then there is neither `rdb` nor `aof`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterRecord>,
    /// The file that the RDB was imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported: Option<String>,
}

impl RedisRecord {
    /// Whether the server kept append-only files; if so it loads those, and no RDB.
    #[must_use]
    pub fn append_only(&self) -> bool {
        self.settings
            .get("appendonly")
            .is_some_and(|on| on == "yes")
    }

    /// Which server it was.
    #[must_use]
    pub fn server_version(&self) -> ServerVersion {
        ServerVersion {
            name: self.server.clone(),
            version: self.version.clone(),
        }
    }

    /// The moment that all of it has in it: the earlier one, if both parts were captured.
    #[must_use]
    pub fn as_of(&self) -> Option<Timestamp> {
        let rdb = self.rdb.as_ref().map(|rdb| rdb.as_of);
        let aof = self.aof.as_ref().map(|aof| aof.as_of);
        let cluster = self.cluster.as_ref().and_then(ClusterRecord::as_of);
        rdb.into_iter().chain(aof).chain(cluster).min()
    }

    /// Whether it followed nobody.
    #[must_use]
    pub fn was_master(&self) -> bool {
        self.role == "master"
    }

    /// A failover since an earlier point, in words.
    pub(crate) fn role_change(&self, previous: Option<&DatasetRecord>) -> Option<String> {
        let Some(DatasetRecord::Redis(previous)) = previous else {
            return None;
        };
        let is_new = previous.was_master() && !self.was_master() && !self.role.is_empty();
        is_new.then(|| {
            format!(
                "the server was a master at the last backup, and is a {} now: after a failover `url` should name the new master, \
                 into which alone can be restored",
                self.role
            )
        })
    }

    /// What a person should know of it, though it is no error.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let shards = self.cluster.iter().flat_map(|cluster| &cluster.shards);
        let rdbs = self.rdb.iter().chain(shards.map(|shard| &shard.rdb));
        let rdb = rdbs.flat_map(|rdb| rdb.summary.remarks());
        let preambles = self.aof.iter().flat_map(|aof| &aof.files);
        let preambles = preambles.filter_map(|file| file.rdb.as_ref());
        rdb.chain(preambles.flat_map(RdbSummary::remarks)).collect()
    }
}

/// What a restore in place set aside: enough to bring it back. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "snake_case")]
pub enum RedisAside {
    /// The server ran, and was given the data over the wire.
    Live(LiveAside),
    /// The server did not run, and its files were replaced.
    Files(FilesAside),
}

/// What a restore into a running server set aside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveAside {
    /// How far it has come, or may have come.
    pub phase: LivePhase,
    /// An RDB of what the server held before, on this machine.
    pub safety: PathBuf,
    /// Where the server was told that its master is: us.
    pub master: Option<SocketAddr>,
    /// Whether the server had no `masterauth`, and was given one that is to be taken away again.
    pub masterauth_set: bool,
}

impl LiveAside {
    pub(crate) fn is_untouched(&self) -> bool {
        self.phase == LivePhase::Copying
    }

    /// How far it has come.
    pub(crate) fn in_words(&self) -> String {
        let safety = self.safety.display();
        match self.phase {
            LivePhase::Copying => "the server's data was being copied, and is as it was".to_owned(),
            LivePhase::Loading => format!(
                "the server was being given the data, and may hold the old, the new or none; what it held is in {safety}"
            ),
            LivePhase::Restored => {
                format!("the server was given the data; what it held is in {safety}")
            }
        }
    }
}

/// How far a restore into a running server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LivePhase {
    /// The copy of what is there is being taken; nothing is changed yet.
    Copying,
    /// The copy is whole and durable; the server is being given the data.
    Loading,
    /// The server holds the data.
    Restored,
}

/// How an RDB was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RdbWay {
    /// Over the replication protocol.
    Replication,
    /// The server saved it, and its file was read.
    Bgsave,
    /// Somebody else made it.
    Imported,
}

/// A captured RDB.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RdbRecord {
    /// How it was had.
    pub way: RdbWay,
    /// The moment that it is of: when the server forked, by our clock.
    pub as_of: Timestamp,
    /// What it holds.
    #[serde(flatten)]
    pub summary: RdbSummary,
}

/// Captured append-only files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AofRecord {
    /// Where they lie below the dataset: `appendonlydir`, or nothing before Redis 7.
    pub directory: Option<String>,
    /// The name that they have in common, such as `appendonly.aof`.
    pub file: String,
    /// The moment that they are of, by our clock.
    pub as_of: Timestamp,
    /// They, in the order in which they are loaded.
    pub files: Vec<AofFileRecord>,
    /// Bytes of a command that was being written at the end of the last file; they are left out.
    pub torn_bytes: u64,
}

/// A captured append-only file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AofFileRecord {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: AofKind,
    /// Its length in bytes.
    pub bytes: u64,
    /// Commands in it.
    pub commands: u64,
    /// The RDB that it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdb: Option<RdbSummary>,
}
