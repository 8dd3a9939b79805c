//! Real servers, real damage, and the fixtures that tests share.
//!
//! Start at [`Postgres::builder`](postgres::Postgres::builder) for a server of one's own, at
//! [`restic::Restic`], [`rustic::Rustic`] and [`age`] for the stock programs that a vault is held against, at [`faults`] for what
//! goes wrong in the world, at [`servers`] for stores elsewhere, at [`docker`] for an engine with projects on it, at
//! [`redis`] for Redis and Valkey, and at [`data`] and [`hard`] for what to back up.
//!
//! Everything runs on free ports of 127.0.0.1 and in temporary directories, is stopped by process
//! id when its owner is dropped, and never touches a server it did not start. What this machine
//! cannot offer is skipped loudly through [`skip`]. Absent on purpose: any other crate of the
//! workspace, so that fixtures cannot agree with a mistake of the code they test.

#![allow(
    clippy::disallowed_methods,
    reason = "fixtures need not survive a power cut, so `std::fs::write` is fine here"
)]

pub mod age;
pub mod data;
pub mod docker;
pub mod error;
pub mod faults;
pub mod hard;
mod listening;
pub mod load;
pub mod meilisearch_stand_in;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod restic;
pub mod rustic;
pub mod servers;
pub mod skip;

pub use error::TestingError;
pub use process::{free_port, run_as_postgres, temp_dir};
