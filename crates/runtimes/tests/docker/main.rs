//! Docker as a runtime, on a private engine with a real project.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and their files need not survive"
)]

mod address;
mod compose;
mod exec;
mod failures;
mod hanging;
mod labels;
mod lifecycle;
mod project;
mod sandbox;
mod storage;
mod tls;

/// The engine that these tests are about.
#[track_caller]
fn start() -> Option<rekindle_testing::docker::Engine> {
    rekindle_testing::docker::Engine::start_or_skip()
}
