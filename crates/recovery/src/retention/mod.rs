//! Which recovery points are kept, and why.
//!
//! Start at [`decide`], a pure function from points, policy and circumstances to a [`PointPlan`] with
//! every reason for every point. [`plan_retention`] asks the vault and this machine for what it needs
//! and adds the WAL; [`apply_retention`] does as planned, under one exclusive lock.
//!
//! Absent on purpose: freeing space. Forgotten points leave their data to `vault prune`.

mod by_hand;
mod facts;
mod holds;
mod periods;
mod plan;
mod policy;
mod reason;
mod run;

pub use by_hand::{ForgetOutcome, ForgetRequest, HeldBack, forget_points};
pub use holds::{HoldList, HoldOutcome, ListedHold, add_hold, holds, remove_hold};
pub use plan::{Block, Circumstances, PlannedPoint, PointPlan, RetentionPoint, decide};
pub use policy::RetentionPolicy;
pub use reason::{ForgetGuard, Reason};
pub use run::{RetentionOutcome, RetentionPlan, apply_retention, plan_retention};

#[cfg(test)]
mod tests;

/// The tag of points that were made before a risky change.
pub const PRE_CHANGE: &str = "pre-change";
