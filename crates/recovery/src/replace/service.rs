//! The service around a restore in place: stopped if it must be, started again whatever happens.

use std::{sync::Arc, time::Duration};

use rekindle_runtimes::{RunState, Runtime, RuntimeError};
use rekindle_stack::Service;

/// How long a service may take to stop, unless the configuration says otherwise.
const LIMIT: Duration = Duration::from_secs(60);

/// What is known of the service before anything is done.
pub(super) enum Found {
    /// It runs, and this can stop it.
    Runs(Arc<dyn Runtime>),
    /// It does not run.
    Rests,
    /// Nobody can say.
    Unknown,
}

pub(super) fn look(
    runtime: Option<&Arc<dyn Runtime>>,
    service: &Service,
) -> Result<Found, RuntimeError> {
    let Some(runtime) = runtime else {
        return Ok(Found::Unknown);
    };
    Ok(match runtime.state(service.name.as_str())?.run {
        RunState::Running | RunState::Paused | RunState::Restarting => {
            Found::Runs(Arc::clone(runtime))
        }
        RunState::Unknown | RunState::Absent => Found::Unknown,
        RunState::Created | RunState::Stopped | RunState::Failed => Found::Rests,
    })
}

pub(super) fn stop(runtime: &dyn Runtime, service: &Service) -> Result<(), RuntimeError> {
    let limit = service
        .hook_limit
        .map_or(LIMIT, |period| period.as_duration());
    runtime.stop(service.name.as_str(), limit)
}
