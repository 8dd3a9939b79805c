//! Puts a restored data directory in the place of the live one, and back.
//!
//! The candidate is built beside the live directory while the server goes on serving. Then: stop,
//! set the old directory aside, promote the candidate, start, check, hold. [`plan_in_place`] decides
//! and changes nothing; [`restore_in_place`] does as planned; [`undo_in_place`] goes back;
//! [`discard_in_place`] ends the hold. A journal beside the directory is durable before each step,
//! so whoever comes after a crash knows what stands: undo works from every step, and the same
//! restore goes on where it was.
//!
//! Absent on purpose: deleting anything that was live, except by [`discard_in_place`].

mod branch;
mod candidate;
mod check;
mod discard;
mod error;
mod journal;
mod live;
mod plan;
mod run;
mod site;
mod undo;

use std::sync::Arc;

pub use check::CheckReport;
pub use discard::{DiscardOutcome, DiscardPlan, discard_in_place, plan_discard};
pub use error::{InPlaceError, Refusal};
pub(crate) use journal::open_recoveries;
pub use journal::{Hold, Stage, hold_of, hold_of_service};
pub(crate) use live::postgres_of;
pub use live::{LiveFacts, SlotFacts};
pub use plan::{InPlacePlan, InPlaceRequest, plan_in_place};
pub use run::{InPlaceOutcome, restore_in_place};
pub use undo::{UndoOutcome, undo_in_place};

/// Told of each step before it is done and after it.
pub type OnStep = Arc<dyn Fn(Event) + Send + Sync>;

/// What happens in a restore in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The journal says that this is done next.
    Begins(Stage),
    /// It was done, and its trace is durable.
    Ended(Stage),
    /// What the recovery of a server that was started does now, as it says itself.
    Recovers(String),
}

fn tell(on_step: Option<&OnStep>, event: Event) {
    if let Some(on_step) = on_step {
        on_step(event);
    }
}
