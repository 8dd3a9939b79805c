//! Puts a captured dataset in the place of the live one, and back: all kinds but PostgreSQL, which has servers to stop and
//! timelines to mind and a way of its own ([`crate::in_place`]).
//!
//! How a kind does it is its own business ([`rekindle_datasets::Dataset::restore_in_place`]): files by renames, Redis over its
//! replication protocol, buckets object by object, an index by swapping names. Common to all is what is here: what is there
//! is set aside and never deleted, a journal is durable before the world is changed, the service is stopped if it must be, no
//! longer than a swap takes, and goes on whatever happens, and undo works after a crash at any moment.

mod error;
mod journal;
mod plan;
mod run;
mod service;
mod settle;
mod undo;

use std::sync::Arc;

use jiff::Timestamp;
use rekindle_stack::Stack;
use rekindle_vault::Progress;

pub use error::ReplaceError;
pub use journal::{Held, held};
pub use plan::{ReplacePlan, plan_replace};
pub use run::{ReplaceOutcome, replace};
pub use undo::{
    DiscardedReplace, UndoneReplace, discard_replaced, plan_discard_replaced, undo_replace,
};

/// What is to be put in whose place.
pub struct ReplaceRequest<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// The service.
    pub service: String,
    /// Which of its datasets; needed if it has several.
    pub kind: Option<String>,
    /// The recovery point: an id, the beginning of one, `latest`, a tag or a time.
    pub point: String,
    /// As it was then, for kinds that know it; as it was captured if `None`. With it, `latest` means the first point that was
    /// made after it.
    pub moment: Option<Timestamp>,
    /// Only what is at or below this path, relative to the dataset.
    pub part: Option<String>,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}
