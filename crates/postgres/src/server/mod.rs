//! Servers on data directories within reach: a private one on a directory that was restored, and
//! the stop and start of the one that serves.
//!
//! Start at [`Scratch::start`] for a server that nobody else can reach and that goes away again, at
//! [`LiveServer`] for the one that people use. [`processes_on`] says who works on a directory.
//!
//! Absent on purpose: anything that changes what is in a data directory.

mod activity;
mod error;
mod live;
mod owner;
mod postmaster;
mod processes;
mod programs;
mod scratch;
mod settings;
mod supervised;

pub use error::ControlError;
pub use live::{LiveServer, StartedServer};
pub use owner::Owner;
pub use postmaster::{Postmaster, StartOptions};
pub use processes::{Process, processes_on};
pub use programs::Programs;
pub use scratch::{Scratch, ScratchOptions, stop_all_scratch};

/// Told in a few words what a server's recovery is doing, as in `recovering
/// 000000010000000000000003`.
pub type Report = std::sync::Arc<dyn Fn(&str) + Send + Sync>;
