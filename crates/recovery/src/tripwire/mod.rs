//! The tripwire: notices a backup of data that somebody may have encrypted, overwritten or deleted,
//! says so, and keeps what was there before.
//!
//! Start at [`judge`], which is pure: it holds the [`Figures`] of a new point against those of the
//! points before. `watch.rs` gathers them while a backup runs; they are part of each
//! point's manifest, and so is the history that tells what is usual. A suspicion changes nothing
//! about the new point, which is stored; it makes a [hold](rekindle_vault::Hold) on the service, so
//! that no retention forgets any point or WAL of it until a person ends that hold.

mod figures;
mod judge;
mod limits;
mod tripped;
mod watch;

#[cfg(test)]
mod tests;

pub use figures::{Figures, TripwireRecord, Verdict};
pub use judge::{Suspicion, judge};
pub use limits::Limits;
pub use tripped::{TRIPWIRE, Tripped, TrippedHold, tripped_holds};

pub(crate) use watch::Watch;
