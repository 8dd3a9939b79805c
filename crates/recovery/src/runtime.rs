//! What runs the services of the stack, where that can be said.

use std::sync::Arc;

use rekindle_runtimes::{self as runtimes, Runtime, RuntimeError};
use rekindle_stack::Stack;

/// The runtime of the configuration; `None` if there is none that this machine can use. Whoever needs it says so then;
/// most things work without.
pub(crate) fn runtime_of(stack: &Stack) -> Option<Arc<dyn Runtime>> {
    runtimes::open(stack)
        .inspect_err(|error| tracing::debug!(%error, "no runtime"))
        .ok()
}

/// The runtime of the configuration, for what cannot be done without it.
///
/// # Errors
/// As it cannot be used.
pub(crate) fn needed_runtime_of(stack: &Stack) -> Result<Arc<dyn Runtime>, RuntimeError> {
    runtimes::open(stack)
}
