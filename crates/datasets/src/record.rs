//! What is known of a captured dataset, as it is stored in `/recovery-point.json`.

use serde::{Deserialize, Serialize};

use crate::{
    files::FilesRecord, meilisearch::MeilisearchRecord, postgres::PostgresRecord,
    redis::RedisRecord, s3::S3Record,
};

/// A captured dataset. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[allow(
    clippy::large_enum_variant,
    reason = "there are a handful of them in a point"
)]
pub enum DatasetRecord {
    /// A PostgreSQL cluster.
    Postgres(PostgresRecord),
    /// A Redis (or Valkey) server.
    Redis(RedisRecord),
    /// Buckets of an S3-compatible store.
    S3(S3Record),
    /// A MeiliSearch server.
    Meilisearch(MeilisearchRecord),
    /// Files and directories.
    Files(FilesRecord),
}

impl DatasetRecord {
    /// The kind, as in `rekindle.yaml`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
            Self::S3(_) => "s3",
            Self::Meilisearch(_) => "meilisearch",
            Self::Files(_) => "files",
        }
    }

    /// What is known of a PostgreSQL cluster, if it is one.
    #[must_use]
    pub const fn postgres(&self) -> Option<&PostgresRecord> {
        match self {
            Self::Postgres(record) => Some(record),
            _ => None,
        }
    }
}
