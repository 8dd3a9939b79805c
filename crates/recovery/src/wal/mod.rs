//! Any moment of the past: what the WAL archive holds, which moments can be restored, and how.
//!
//! Start at [`windows`] for the moments, at [`restore_at`] to bring one back. The choice of a base
//! backup and of WAL is made by pure functions over an [`ArchiveView`]; only then is anything
//! fetched.

mod archive;
mod bases;
mod choose;
mod fetch;
mod moments;
mod plan;
mod restore_at;
mod retention;
mod settings;
mod target;
mod windows;

pub use archive::{ArchiveView, Hole, Reach};
pub use bases::BasePoint;
pub use choose::{Chosen, TargetError};
pub use plan::{RestoreAtPlan, plan_restore_at};
pub use restore_at::{RestoreAtOutcome, restore_at};
pub use retention::{WalRemoval, WalRetentionPlan, apply_wal_retention, plan_wal_retention};
pub use target::{
    ParseTargetError, ParseTimelineError, RecoveryTarget, RestoreAtRequest, TargetAction,
    TimelineChoice,
};
pub use windows::{Moment, Window, Windows, windows};
