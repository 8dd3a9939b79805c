//! What is known of a captured dataset, as it is stored in `/recovery-point.json`.

use serde::{Deserialize, Serialize};

use crate::postgres::PostgresRecord;

/// A captured dataset. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum DatasetRecord {
    /// A PostgreSQL cluster.
    Postgres(PostgresRecord),
}

impl DatasetRecord {
    /// The kind, as in `rekindle.yaml`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
        }
    }
}
