//! In which order services are started and stopped, and how that is done.
//!
//! Start at [`Plan::of`], which is pure: from the configuration and what the runtime knows it makes
//! a [`Plan`]. [`bring_up`] and [`take_down`] carry it out, independent services side by side, and
//! never call a service up before it is well.

mod board;
mod down;
mod gate;
mod plan;
mod report;
mod up;

pub use down::take_down;
pub use gate::survey;
pub use plan::{Goal, OrderError, Plan, Step};
pub use report::{Event, Outcome, Report, ServiceReport};
pub use up::{Limits, bring_up};
