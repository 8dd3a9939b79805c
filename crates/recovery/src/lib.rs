//! Recovery points: made, listed, compared, brought back.
//!
//! Start at [`backup`] and [`restore`]. A recovery point is one snapshot of a vault that holds all
//! datasets of one run, and a [`Manifest`] that says what they are.
//!
//! Absent on purpose: how bytes are stored (the vault), how a service is captured (datasets), and
//! every word that is printed.

mod backup;
pub mod buckets;
mod configuration;
pub mod copies;
pub mod damage;
mod database;
mod doctor;
mod error;
pub mod export;
pub mod extract;
mod find_point;
pub mod foreign;
pub mod guard;
pub mod in_place;
pub mod kit;
mod manifest;
pub mod object_lock;
mod point;
pub mod pre_change;
mod project;
pub mod replace;
mod restore;
pub mod retention;
mod runtime;
mod status;
pub mod tripwire;
mod vault;
pub mod wal;

pub use backup::{
    BackupOutcome, BackupRequest, PlannedDataset, backup, plan_backup, wake_services,
};
pub use configuration::{ConfigurationFile, ConfigurationRecord, ServiceImage};
pub use database::{
    DatabaseRestoreOutcome, DatabaseRestoreRequest, DatabaseSource, database_source,
    restore_database, services_with_postgres,
};
pub use doctor::{Finding, FindingLevel, doctor};
pub use error::RecoveryError;
pub use manifest::{DatasetEntry, Manifest};
pub use point::{Level, PointDetail, PointList, PointSummary, diff_points, points, show_point};
pub use project::compose_project;
pub use restore::{
    RestoreOutcome, RestorePlan, RestoreRequest, RestoredKind, plan_restore, restore,
};
pub use status::{RpoStatus, RtoStatus, ServiceStatus, Status, VaultStatus, status};
pub use vault::{create_vault, open_vault, store_of};
