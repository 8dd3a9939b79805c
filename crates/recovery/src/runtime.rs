//! What runs the services of the stack, where that can be said.

use std::sync::Arc;

use rekindle_datasets::{
    CaptureError, Surroundings,
    postgres::{PORT, PostgresCluster},
};
use rekindle_runtimes::{self as runtimes, Runtime, RuntimeError};
use rekindle_stack::{PostgresDataset, Stack};

/// The runtime of the configuration; `None` if there is none that this machine can use. Whoever needs it says so then;
/// most things work without.
pub(crate) fn runtime_of(stack: &Stack) -> Option<Arc<dyn Runtime>> {
    runtimes::open(stack)
        .inspect_err(|error| tracing::debug!(%error, "no runtime"))
        .ok()
}

/// The PostgreSQL cluster of a service, at the address where it is reached from here.
///
/// # Errors
/// If its URL does not parse or its password cannot be read.
pub(crate) fn cluster_at(
    stack: &Stack,
    service: &str,
    settings: &PostgresDataset,
) -> Result<PostgresCluster, CaptureError> {
    // Only a host that is the service's own name has to be asked for.
    let is_named = settings.url.hosts().iter().any(|(host, _)| host == service);
    let surroundings = Surroundings {
        service: service.to_owned(),
        directory: stack.directory.clone(),
        runtime: is_named.then(|| runtime_of(stack)).flatten(),
    };
    let mut settings = settings.clone();
    settings.url = surroundings.reachable(&settings.url, PORT);
    PostgresCluster::from_settings(&settings)
}

/// The runtime of the configuration, for what cannot be done without it.
///
/// # Errors
/// As it cannot be used.
pub(crate) fn needed_runtime_of(stack: &Stack) -> Result<Arc<dyn Runtime>, RuntimeError> {
    runtimes::open(stack)
}
