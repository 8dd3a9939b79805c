//! One table or database out of a physical backup, as of any moment, into the running server.
//!
//! A scratch server is started on a restored directory; what is wanted is dumped from it into the
//! live server under another name, and its rows are counted on both sides. Nothing that exists is
//! touched, and whatever is temporary goes away again. Start at [`extract`]; [`plan_extract`] says
//! what it would do.
//!
//! Absent on purpose: putting what was brought back in the place of anything.

mod database;
mod error;
mod install;
mod names;
mod prepare;
mod request;
mod run;
mod table;
mod types;
mod work;

pub use error::ExtractError;
pub use names::{ParseTableError, TableName};
pub use request::{ExtractOutcome, ExtractPlan, ExtractRequest, Extracted, OnPhase, Wanted};
pub use run::{extract, plan_extract};
pub use work::remove_temporary;
