//! Docker as a runtime, on a private engine with a real project.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and their files need not survive"
)]

mod compose;
mod exec;
mod failures;
mod lifecycle;
mod project;
mod sandbox;
mod storage;
mod tls;
