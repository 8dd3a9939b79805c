//! Starting, stopping, freezing. What is so already is fine.

use std::future::Future;
use std::time::Duration;

use bollard::Docker as Client;
use bollard::query_parameters::{StopContainerOptionsBuilder, WaitContainerOptionsBuilder};
use futures_util::StreamExt as _;

use super::containers::{Container, id_of, of_service};
use super::engine::{Doing, Engine, PATIENCE};
use super::failure::{Failure, is_gone, is_so_already};
use super::state::run_of;
use crate::{RunState, RuntimeError};

/// Starts all containers of a service; frozen ones go on.
pub(super) fn start(engine: &Engine, project: &str, service: &str) -> Result<(), RuntimeError> {
    let doing = Doing {
        what: "start",
        service,
    };
    for container in of_service(engine, project, doing)? {
        if run_of(&container).0 == RunState::Paused {
            continue;
        }
        let id = id_of(&container);
        settle(engine, PATIENCE, doing, async |client| {
            client.start_container(&id, None).await
        })?;
    }
    Ok(())
}

/// Stops all containers of a service; one that does not end within `limit` is killed.
pub(super) fn stop(
    engine: &Engine,
    project: &str,
    service: &str,
    limit: Duration,
) -> Result<(), RuntimeError> {
    let doing = Doing {
        what: "stop",
        service,
    };
    for container in of_service(engine, project, doing)? {
        stop_one(engine, doing, &container, limit)?;
    }
    Ok(())
}

fn stop_one(
    engine: &Engine,
    doing: Doing<'_>,
    container: &Container,
    limit: Duration,
) -> Result<(), RuntimeError> {
    let id = id_of(container);
    if run_of(container).0 == RunState::Paused {
        // A frozen process hears no signal, so it would always be killed.
        settle(engine, PATIENCE, doing, async |client| {
            client.unpause_container(&id).await
        })?;
    }
    // A part of a second is a second: 0 would mean to kill at once.
    let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
    let options = StopContainerOptionsBuilder::default()
        .t(i32::try_from(seconds).unwrap_or(i32::MAX))
        .build();
    let patience = PATIENCE.saturating_add(limit);
    settle(engine, patience, doing, async |client| {
        client.stop_container(&id, Some(options)).await
    })?;
    // One that was about to be started again answers before it has ended.
    let condition = WaitContainerOptionsBuilder::default()
        .condition("not-running")
        .build();
    let ended = engine.try_within(patience, async |client| {
        match client.wait_container(&id, Some(condition)).next().await {
            // The exit code is no business of ours.
            Some(Ok(_)) | Some(Err(Failure::DockerContainerWaitError { .. })) | None => Ok(()),
            Some(Err(failure)) => Err(failure),
        }
    })?;
    match ended {
        Err(failure) if !is_gone(&failure) => Err(engine.explain(doing, failure)),
        _ => Ok(()),
    }
}

/// Freezes all containers of a service; if one cannot be, those that were frozen go on.
pub(super) fn pause(engine: &Engine, project: &str, service: &str) -> Result<(), RuntimeError> {
    let doing = Doing {
        what: "pause",
        service,
    };
    let mut frozen: Vec<String> = Vec::new();
    for container in of_service(engine, project, doing)? {
        let id = id_of(&container);
        if run_of(&container).0 == RunState::Paused {
            continue;
        }
        let paused = settle(engine, PATIENCE, doing, async |client| {
            client.pause_container(&id).await
        });
        if let Err(error) = paused {
            for id in &frozen {
                let _ = settle(engine, PATIENCE, doing, async |client| {
                    client.unpause_container(id).await
                });
            }
            return Err(error);
        }
        frozen.push(id);
    }
    Ok(())
}

/// Lets all containers of a service go on.
pub(super) fn resume(engine: &Engine, project: &str, service: &str) -> Result<(), RuntimeError> {
    let doing = Doing {
        what: "resume",
        service,
    };
    for container in of_service(engine, project, doing)? {
        if run_of(&container).0 == RunState::Paused {
            let id = id_of(&container);
            settle(engine, PATIENCE, doing, async |client| {
                client.unpause_container(&id).await
            })?;
        }
    }
    Ok(())
}

fn settle<F>(
    engine: &Engine,
    limit: Duration,
    doing: Doing<'_>,
    request: impl FnOnce(Client) -> F,
) -> Result<(), RuntimeError>
where
    F: Future<Output = Result<(), Failure>>,
{
    match engine.try_within(limit, request)? {
        Err(failure) if !is_so_already(&failure) => Err(engine.explain(doing, failure)),
        _ => Ok(()),
    }
}
