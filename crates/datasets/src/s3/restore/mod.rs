//! Buckets come back: elsewhere, as they were at a moment or with their whole history.
//!
//! Start at [`plan`], which says what would be done, and [`BucketRestore::run`], which does it; [`to_directory`] writes files.
//! Nothing is deleted here: objects of the target that the point does not have stay, and none is replaced that the target
//! would lose by it.

mod compare;
mod directory;
mod each;
mod error;
mod mark;
mod moment;
mod plan;
mod point;
mod run;
mod state;
mod target;
mod upload;

pub use directory::{DirectoryRestore, plan_directory};
pub(super) use each::each;
pub use error::S3RestoreError;
pub use plan::{BucketRestore, Choice, RestorePlan, plan};
pub use point::BucketInPoint;
pub use run::RestoreReport;
pub(super) use run::lost_words;
pub use state::{Scope, State, state_at};
pub use target::S3Target;
pub(super) use upload::{Uploaded, upload};

/// So many objects are named one by one where something is said of them.
const MOST_NAMED: usize = 10;

/// The names of a few, and how many more there are.
fn few(names: &[String]) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let shown = names
        .iter()
        .take(MOST_NAMED)
        .map(|key| format!("`{}`", key.escape_debug()));
    let more = (more > 0).then(|| format!("and {more} more"));
    shown.chain(more).collect::<Vec<_>>().join(", ")
}
