//! What is to be brought back, and what came of it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rekindle_stack::Stack;
use rekindle_vault::Progress;
use serde::Serialize;

use super::TableName;
use crate::{
    PointSummary,
    wal::{RecoveryTarget, RestoreAtRequest, TargetAction, TimelineChoice},
};

/// Told in a few words what is being done.
pub type OnPhase = Arc<dyn Fn(&str) + Send + Sync>;

/// What is brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One table, into the same database.
    Table {
        /// The database; that of the service's URL if `None`.
        database: Option<String>,
        /// The table as it was called then.
        table: TableName,
        /// Its new name; its schema is made if there is none of that name, and is the table's own if
        /// it is not said.
        new_name: TableName,
    },
    /// A whole database.
    Database {
        /// As it was called then.
        database: String,
        /// Its new name.
        new_name: String,
    },
}

/// What to bring back, as of when, and where to work.
pub struct ExtractRequest<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// A service with a PostgreSQL dataset, whose server gets it.
    pub service: String,
    /// The base backup to begin from; `None`: the newest that leads to the target.
    pub point: Option<String>,
    /// The moment. [`RecoveryTarget::Consistent`] is the point as it is.
    pub target: RecoveryTarget,
    /// The history, where timelines part.
    pub timeline: TimelineChoice,
    /// Whether the target itself is still part of it.
    pub inclusive: bool,
    /// What.
    pub wanted: Wanted,
    /// A directory with room for the whole cluster; chosen if `None`.
    pub work_dir: Option<PathBuf>,
    /// Watched by whoever shows progress of the restore.
    pub progress: Arc<Progress>,
    /// Told what is being done.
    pub on_phase: Option<OnPhase>,
}

/// What bringing it back would do.
#[derive(Clone, Debug, Serialize)]
pub struct ExtractPlan {
    /// What, in words.
    pub what: String,
    /// The point that it begins from.
    pub point: PointSummary,
    /// The moment, in words.
    pub target: String,
    /// Where the cluster would be restored to for the while.
    pub work_dir: PathBuf,
    /// Bytes that this takes there.
    pub bytes: u64,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What would be done, in order.
    pub steps: Vec<String>,
}

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Extracted {
    /// As it is called in the live server: `schema.table`, or the database.
    pub name: String,
    /// Tables whose rows were counted on both sides and agree.
    pub tables: u64,
    /// Rows in them.
    pub rows: u64,
    /// What belonged to it and did not come along, as SQL.
    pub left_out: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// A table or database that was brought back.
#[derive(Clone, Debug)]
pub struct ExtractOutcome {
    /// The point that it began from.
    pub point: PointSummary,
    /// The moment, in words.
    pub target: String,
    /// What arrived.
    pub extracted: Extracted,
    /// All of it.
    pub took: Duration,
}

impl Wanted {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Table { table, .. } => format!("table {table}"),
            Self::Database { database, .. } => format!("database {database}"),
        }
    }

    pub(super) fn new_name(&self) -> String {
        match self {
            Self::Table { new_name, .. } => new_name.to_string(),
            Self::Database { new_name, .. } => new_name.clone(),
        }
    }
}

impl ExtractRequest<'_> {
    pub(super) fn tell(&self, phase: &str) {
        tracing::info!("{phase}");
        if let Some(on_phase) = &self.on_phase {
            on_phase(phase);
        }
    }

    pub(super) fn restore_request(&self, to: PathBuf) -> RestoreAtRequest {
        RestoreAtRequest {
            service: self.service.clone(),
            point: self.point.clone(),
            target: self.target.clone(),
            timeline: self.timeline,
            inclusive: self.inclusive,
            action: TargetAction::Promote,
            keeps_archiving: false,
            to,
            ownership: None,
            progress: Arc::clone(&self.progress),
        }
    }
}
