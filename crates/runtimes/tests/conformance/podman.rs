//! The world of containers, on Podman's socket.

use rekindle_testing::docker::Engine;

use crate::{
    containers::{ComposeWorld, on},
    keeps,
};

fn make() -> Option<ComposeWorld> {
    on(Engine::start_podman_or_skip()?)
}

keeps!(each make);
