//! Buckets, against real servers.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests may panic, and write files that need not survive"
)]

mod capture;
mod restore;
mod world;
