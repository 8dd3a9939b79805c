//! What happened, as the write-ahead log tells it.

mod milestones;
mod summary;

pub use milestones::{Checkpoint, ParameterChange, RestorePoint, WalLevel};
pub use summary::{Commit, SegmentSummary, summarize_segment, summarize_segment_after};
