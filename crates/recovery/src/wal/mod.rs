//! Any moment of the past: what the WAL archive holds, which moments can be restored, and how.
//!
//! Start at [`windows`] for the moments, at [`restore_at`] to bring one back. The choice of a base
//! backup and of WAL is made by pure functions over an [`ArchiveView`]; only then is anything
//! fetched.
//!
//! What fills and empties the archive file by file is in [`push`] and [`get`]; [`stream`] fills it
//! from a running server.

mod archive;
mod bases;
mod choose;
mod door;
mod fetch;
mod find;
pub mod get;
mod loss;
mod moments;
mod names;
mod place;
mod plan;
pub mod push;
mod restore_at;
mod retention;
mod settings;
mod state;
pub mod stream;
mod target;
mod windows;

pub use archive::{ArchiveView, Hole, Reach};
pub use bases::BasePoint;
pub use choose::{Chosen, TargetError};
pub use find::{FindRequest, Found, Happening, Loss, TableFate, TableHappening, find, loss};
pub use loss::{LossPreview, TableLoss, loss_preview};
pub use plan::{RestoreAtPlan, plan_restore_at};
pub use restore_at::{RestoreAtOutcome, restore_at};
pub(crate) use retention::{NeededBases, needed_bases};
pub use retention::{WalRemoval, WalRetentionPlan, apply_wal_retention_under, plan_wal_retention};
pub(crate) use settings::{TITLE as RECOVERY_TITLE, write_recovery_of_its_own};
pub(crate) use target::utc;
pub use target::{
    ParseTargetError, ParseTimelineError, RecoveryTarget, RestoreAtRequest, TargetAction,
    TimelineChoice,
};
pub use windows::{Moment, Window, Windows, windows};
