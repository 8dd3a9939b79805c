//! What goes wrong between us and a Redis server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::rdb::{RdbError, RdbVersion};

/// Why a server did not do as asked. Never holds a password.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// No connection came about.
    #[error("connect")]
    Unreachable(#[source] io::Error),
    /// No TLS came about.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server replicates by TLS, and we have nothing to show it.
    #[error(
        "this server replicates by TLS only (`tls-replication yes`), and we have no certificate that it would trust"
    )]
    NoCertificate,
    /// The server, as our replica, did not speak TLS with us.
    #[error("the server came to take the data by TLS, and that did not come about: {0}")]
    NotTrusted(String),
    /// The connection broke.
    #[error("the connection broke off while {doing}")]
    Gone {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing came for too long.
    #[error("nothing came for {} s while {doing}", after.as_secs())]
    Silent {
        /// What was being done.
        doing: String,
        /// How long it was waited.
        after: Duration,
    },
    /// The server said no.
    #[error("{command}: {message}")]
    Refused {
        /// What was asked, without its arguments.
        command: String,
        /// The server's words.
        message: String,
    },
    /// What came is not Redis' protocol.
    #[error("the answer to {command} is not of Redis' protocol: {what}")]
    Protocol {
        /// What was asked.
        command: String,
        /// What is wrong.
        what: &'static str,
    },
    /// What came as an RDB is none.
    #[error(transparent)]
    Rdb(#[from] RdbError),
    /// The server could not write its RDB.
    #[error("the server's BGSAVE failed; its log tells why")]
    SaveFailed,
    /// The server is busy saving for others all the time.
    #[error("another BGSAVE was always in progress for {} s", .0.as_secs())]
    SaveBusy(Duration),
    /// Its files cannot be read here.
    #[error("its files cannot be read here: {0}")]
    NoDirectory(String),
    /// A file of its could not be read.
    #[error("read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The files that were found are not those of this server, or not whole.
    #[error("{}: {what}", path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The server keeps no append-only files.
    #[error("`include: [aof]`, but the server keeps no append-only files (`appendonly no`)")]
    NoAppendOnly,
    /// Append-only files of a whole cluster.
    #[error(
        "`include: [aof]`, but the server is a node of a cluster, of which the RDB of every shard is captured"
    )]
    NoFilesOfClusters,
    /// A node of a cluster that another node knows.
    #[error("connect to a node of the cluster")]
    NodeUnreachable(#[source] io::Error),
    /// Nobody in the cluster has slots.
    #[error("no node of the cluster serves any slots")]
    NoShards,
    /// Its nodes changed their roles while they were looked at.
    #[error("{0}")]
    ClusterChanged(String),
    /// Neither way to an RDB is open.
    #[error("no RDB can be had: over the replication protocol ({replication}), nor from its files")]
    NoWay {
        /// What replication said.
        replication: String,
        /// What the other way said.
        #[source]
        files: Box<RedisError>,
    },
    /// A restore would fail half way.
    #[error("the point has {wanted}, and {server} reads {readable} at most")]
    TooNew {
        /// What the point has.
        wanted: RdbVersion,
        /// What the server is.
        server: String,
        /// What it reads.
        readable: RdbVersion,
    },
    /// This server must not be restored into.
    #[error("{0}")]
    Unsuitable(String),
    /// It took the data and does not hold it.
    #[error("{0}")]
    NotRestored(String),
}

impl RedisError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreachable(_) => "is the server running, and is `url` where it listens?",
            Self::Tls(message) => super::tls::hint(message),
            Self::NoCertificate => {
                "set `cert_file` and `key_file` of the dataset to a certificate of the server's authority; or restore its files \
                 while it is stopped"
            }
            Self::NotTrusted(_) => {
                "`cert_file` must be signed by an authority of the server's `tls-ca-cert-file`, not be expired, and if it names \
                 what it may be used for (extended key usage), that must have both a client and a server in it"
            }
            Self::Refused { message, .. } => refusal_hint(message)?,
            Self::Silent { .. } => {
                "is the server stopped, or overloaded? Nothing was changed; run it again"
            }
            Self::Gone { .. } => {
                "did the server end, or did it close the connection (`client-output-buffer-limit replica`)? Its log \
                 tells"
            }
            Self::SaveFailed => "is its disk full, or its `dir` not writable for it?",
            Self::NoDirectory(_) => {
                "set `data_directory` of the dataset to where the server's `dir` is seen from here"
            }
            Self::NoFilesOfClusters => "remove `aof` from `include`",
            Self::NodeUnreachable(_) => {
                "nodes of a cluster are reached where they say that they are (`CLUSTER NODES`): that must lead to them from \
                 this machine, else set `cluster-announce-ip` and `cluster-announce-port` of each"
            }
            Self::ClusterChanged(_) => {
                "after a failover, run it again; if it stays so, the addresses that nodes announce lead elsewhere from here"
            }
            Self::NoShards => {
                "does `url` name a node of the right cluster? `redis-cli --cluster check` tells its state"
            }
            Self::NoAppendOnly => "remove `aof` from `include`, or turn `appendonly` on",
            Self::NoWay { files, .. } => return files.hint(),
            Self::Files { .. } => "is `data_directory` that of this server?",
            Self::TooNew { .. } => {
                "restore into a server of the version that was backed up, or a newer one"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether the server itself refused, and is well otherwise.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

fn refusal_hint(message: &str) -> Option<&'static str> {
    let code = message.split(' ').next().unwrap_or_default();
    Some(match code {
        "WRONGPASS" | "NOAUTH" => {
            "give the password by `password_file`, and the user, if not `default`, in the URL"
        }
        "ERR" if message.contains("invalid password") || message.contains("AUTH") => {
            "give the password by `password_file`, and the user, if not `default`, in the URL"
        }
        "NOPERM" => {
            "its ACL needs: +ping +info +time +lastsave +select +dbsize +config|get +client +psync +sync +replconf +bgsave, and in a cluster +cluster|nodes; for a \
             restore in place also +replicaof +role +config|set +bgrewriteaof"
        }
        "LOADING" => "the server is still loading its data; run it again when it is done",
        "NOMASTERLINK" => "this server is a replica that lost its master; back up the master",
        "MISCONF" => "the server cannot write its RDB to disk; its log tells why",
        "DENIED" => {
            "the server is in protected mode and has no password: it takes connections of its own machine only"
        }
        _ => return None,
    })
}
