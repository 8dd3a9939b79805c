//! MeiliSearch into a vault and back. No package carries a server, so this is held against a stand-in that says so.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod captured;
mod common;
mod in_place;
#[path = "../common/keeper.rs"]
mod keeper;
mod storage;
