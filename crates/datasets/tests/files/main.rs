//! Files and directories into a vault, back, and back in their places.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod capture;
mod imported;
mod in_place;
mod killed;
mod prepared;
mod stand;
