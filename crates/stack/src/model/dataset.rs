use std::path::PathBuf;

use schemars::JsonSchema;

use crate::choice::choice;
use crate::period::Period;
use crate::secret::{Secret, SecretError, SecretSource};
use crate::url::ServiceUrl;

/// State of a service that must survive.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Dataset {
    /// A PostgreSQL cluster.
    Postgres(PostgresDataset),
    /// A Redis (or Valkey) server.
    Redis(RedisDataset),
    /// Buckets of an S3-compatible store.
    S3(S3Dataset),
    /// A MeiliSearch server.
    Meilisearch(MeilisearchDataset),
    /// Files and directories.
    Files(FilesDataset),
}

impl Dataset {
    /// The kind as it is written in `rekindle.yaml` and in the paths of a recovery point.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
            Self::S3(_) => "s3",
            Self::Meilisearch(_) => "meilisearch",
            Self::Files(_) => "files",
        }
    }
}

/// A PostgreSQL cluster, version 13 to 18.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresDataset {
    /// Connection URL as libpq takes it, `sslmode` and `sslrootcert` included. Its role needs
    /// `REPLICATION` for a physical backup.
    pub url: ServiceUrl,
    /// The password, if it is not in the URL.
    pub password: Option<SecretSource>,
    /// Back up the whole cluster as files.
    #[schemars(extend("default" = true))]
    pub physical: bool,
    /// Back up databases as dumps as well: `all`, a list of names, or `false`.
    #[schemars(extend("default" = false))]
    pub logical: LogicalDump,
    /// Archive WAL, so that any moment can be restored: `stream`, `push` or `false`.
    #[schemars(extend("default" = false))]
    pub wal: WalMode,
    /// How a physical backup reads the cluster.
    #[schemars(extend("default" = "auto"))]
    pub method: CaptureMethod,
    /// The cluster's data directory as seen from here. Default: as the server names it.
    pub data_directory: Option<PathBuf>,
    /// The directory of `pg_dump`, `pg_restore` and `psql`. Default: found by the server's version.
    pub bin_dir: Option<PathBuf>,
    /// With `wal: stream`: name of the replication slot. Default: `rekindle_<stack>_<service>`.
    pub wal_slot: Option<String>,
    /// With `wal: stream`: where received WAL is kept until every vault has it. Default:
    /// `/var/lib/rekindle/wal/<stack>/<service>`.
    pub wal_spool: Option<PathBuf>,
    /// With `wal: stream`: how large the spool may grow, as in `4GiB`, before the server has to keep
    /// its WAL itself.
    #[schemars(with = "Option<crate::schema::Size>")]
    pub wal_spool_limit: Option<u64>,
    /// With `wal: stream`: answer each record as soon as it is safe in the spool, so that the server
    /// can wait for it (`synchronous_standby_names`).
    #[schemars(extend("default" = false))]
    pub wal_synchronous: bool,
    /// Shell command that stops the server, for a restore in place. Default: `pg_ctl stop`.
    pub stop_command: Option<String>,
    /// Shell command that starts it again. Default: `pg_ctl start`.
    pub start_command: Option<String>,
}

impl PostgresDataset {
    /// The password of `password`, else of the URL; `None` if there is neither.
    ///
    /// # Errors
    /// [`SecretError`] if its file or variable cannot be read.
    pub fn read_password(&self) -> Result<Option<Secret>, SecretError> {
        read_password(self.password.as_ref(), &self.url)
    }
}

impl RedisDataset {
    /// The password of `password`, else of the URL; `None` if there is neither.
    ///
    /// # Errors
    /// [`SecretError`] if its file or variable cannot be read.
    pub fn read_password(&self) -> Result<Option<Secret>, SecretError> {
        read_password(self.password.as_ref(), &self.url)
    }
}

fn read_password(
    source: Option<&SecretSource>,
    url: &ServiceUrl,
) -> Result<Option<Secret>, SecretError> {
    match source {
        Some(source) => source.read().map(Some),
        None => Ok(url.password().cloned()),
    }
}

/// Which databases are dumped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogicalDump {
    /// None: `false`.
    None,
    /// Every database that accepts connections: `all`.
    All,
    /// These.
    Databases(Vec<String>),
}

/// How WAL reaches the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalMode {
    /// Not at all: `false`.
    Off,
    /// By a receiver on a replication slot; seconds of loss at most: `stream`.
    Stream,
    /// By the server's `archive_command`: `push`.
    Push,
}

choice! {
    /// How a physical backup reads the cluster.
    #[derive(Default)]
    "method" CaptureMethod {
        /// In place if the data directory can be read here, else over the wire.
        #[default]
        Auto = "auto",
        /// From the data directory.
        InPlace = "in_place",
        /// Over a replication connection.
        Wire = "wire",
    }
}

/// A Redis (or Valkey) server.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisDataset {
    /// `redis://user@host:port`, `rediss://` for TLS, or `unix:///path/to/socket`.
    pub url: ServiceUrl,
    /// The password, if it is not in the URL.
    pub password: Option<SecretSource>,
    /// What is saved.
    #[schemars(extend("default" = ["rdb"]))]
    pub include: Vec<RedisPart>,
    /// The server's `dir` as seen from here; needed for its append-only files, and for the snapshot where the server
    /// lets nobody replicate. Default: as the server or the runtime names it.
    pub data_directory: Option<PathBuf>,
    /// With `rediss://`: the certificate of the authority that signed the server's. Default: the system's own.
    pub ca_file: Option<PathBuf>,
    /// With `rediss://`: the certificate (PEM, its chain behind it) that we show to a server which wants one of its
    /// clients, and to one that replicates by TLS while it is restored in place.
    pub cert_file: Option<PathBuf>,
    /// The private key of `cert_file`, PEM.
    pub key_file: Option<PathBuf>,
}

choice! {
    /// A form in which Redis keeps its data.
    "part of Redis" RedisPart {
        /// The snapshot, `dump.rdb`.
        Rdb = "rdb",
        /// The append-only files.
        Aof = "aof",
    }
}

/// Buckets of an S3-compatible store.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct S3Dataset {
    /// URL of the store.
    pub endpoint: ServiceUrl,
    /// Names of the buckets.
    #[schemars(length(min = 1))]
    pub buckets: Vec<String>,
    /// Access keys: lines `AWS_ACCESS_KEY_ID=…` and `AWS_SECRET_ACCESS_KEY=…`, an AWS credentials
    /// file, or `ACCESS:SECRET`.
    pub credentials: SecretSource,
    /// The region that requests are signed for. Default: `us-east-1`, which most servers take.
    pub region: Option<String>,
    /// Whether a bucket's name stands in the path of the URL (the default), not in its host.
    pub path_style: Option<bool>,
    /// PEM file of the authority that signed the store's certificate, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Which versions of objects are captured, where a bucket keeps several.
    #[schemars(extend("default" = "all"))]
    pub versions: S3Versions,
    /// When the tags of objects are read, which costs a request each.
    #[schemars(extend("default" = "new"))]
    pub tags: S3Tags,
}

choice! {
    /// Which versions of objects are captured.
    #[derive(Default)]
    "choice of versions" S3Versions {
        /// All that there are, and delete markers.
        #[default]
        All = "all",
        /// What a reader sees who asks for none.
        Current = "current",
    }
}

choice! {
    /// When the tags of objects are read.
    #[derive(Default)]
    "choice of tags" S3Tags {
        /// With the object, when it is new or changed. Tags that are set later are not noticed.
        #[default]
        New = "new",
        /// Of every object in every backup.
        Always = "always",
        /// Never.
        Never = "never",
    }
}

/// A MeiliSearch server.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct MeilisearchDataset {
    /// URL of the server.
    pub url: ServiceUrl,
    /// An API key that may make dumps. Not needed by a server without a master key.
    pub key: Option<SecretSource>,
    /// The server's dump directory (`--dump-dir`) as seen from here. Without it, a dump is looked for in the storage of
    /// the service; where that cannot be reached either, everything is read through the API.
    pub dump_directory: Option<PathBuf>,
    /// How long one task of the server's may take, a dump above all, before the backup is given up. Default: `1h`.
    pub task_limit: Option<Period>,
    /// Shell command that makes the indexes anew from another store. Nothing is captured then; a restore in place runs it.
    pub rebuild: Option<String>,
}

/// Files and directories of this machine.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct FilesDataset {
    /// Files and directories, with all that is in them.
    #[schemars(length(min = 1))]
    pub paths: Vec<PathBuf>,
    /// More of them, which need not be there.
    #[schemars(extend("default" = []))]
    pub optional_paths: Vec<PathBuf>,
    /// Patterns of what is left out, as in `.gitignore`.
    #[schemars(extend("default" = []))]
    pub exclude: Vec<String>,
    /// Leave out what other file systems hold that are mounted below the paths.
    #[schemars(extend("default" = false))]
    pub one_file_system: bool,
}
