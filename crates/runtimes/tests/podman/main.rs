//! Podman's socket as a runtime: what is true of Docker must be true of it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and their files need not survive"
)]

#[path = "../docker/compose.rs"]
mod compose;
#[path = "../docker/exec.rs"]
mod exec;
#[path = "../docker/failures.rs"]
mod failures;
#[path = "../docker/labels.rs"]
mod labels;
#[path = "../docker/lifecycle.rs"]
mod lifecycle;
mod own;
#[path = "../docker/project.rs"]
mod project;
#[path = "../docker/sandbox.rs"]
mod sandbox;
#[path = "../docker/storage.rs"]
mod storage;

/// The engine that these tests are about.
#[track_caller]
fn start() -> Option<rekindle_testing::docker::Engine> {
    rekindle_testing::docker::Engine::start_podman_or_skip()
}
