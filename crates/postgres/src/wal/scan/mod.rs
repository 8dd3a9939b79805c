//! What happened, as the write-ahead log tells it.

mod activity;
mod changes;
mod milestones;
mod summary;

pub use activity::{Activity, RowChanges, RowTally, Transaction};
pub use milestones::{Checkpoint, ParameterChange, RestorePoint, WalLevel};
pub use summary::{Commit, SegmentSummary, summarize_segment, summarize_segment_after};
