//! Redis 6.2, Redis 7 and Valkey 9, captured and brought back.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod by_files;
mod capture;
mod cluster;
mod common;
mod failures;
mod in_place;
#[path = "../common/keeper.rs"]
mod keeper;
mod tls;
