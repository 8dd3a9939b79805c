//! Short work in storage of a container, done by another one: of the same image, with the same storage, no network.

use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{LogsOptionsBuilder, WaitContainerOptionsBuilder};
use futures_util::StreamExt as _;

use super::containers::inspect;
use super::engine::{Doing, Engine};
use super::failure::Failure;
use super::sandbox::Disposable;
use crate::RuntimeError;

/// For one rename.
const LIMIT: Duration = Duration::from_secs(120);

/// Whose storage, and what for.
pub(super) struct Helper<'a> {
    pub(super) engine: &'a Engine,
    pub(super) container: &'a str,
    pub(super) doing: Doing<'a>,
}

/// Runs a shell script as root with arguments (`$0` is the first); fails if it does.
///
/// # Errors
/// [`RuntimeError::Failed`] with what it printed, or if the image has no shell.
pub(super) fn run_helper(
    helper: &Helper<'_>,
    script: &str,
    arguments: &[&str],
) -> Result<(), RuntimeError> {
    let (engine, doing) = (helper.engine, helper.doing);
    let image = inspect(engine, helper.container, doing)?.and_then(|container| container.image);
    let mut command = vec!["/bin/sh".to_owned(), "-c".into(), script.into()];
    command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let body = ContainerCreateBody {
        image,
        entrypoint: Some(command),
        user: Some("0".into()),
        host_config: Some(HostConfig {
            network_mode: Some("none".into()),
            volumes_from: Some(vec![helper.container.to_owned()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let made = Disposable::create(engine, doing, body)?;
    let id = made.id();
    let condition = WaitContainerOptionsBuilder::default()
        .condition("not-running")
        .build();
    let logs = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .build();
    let (code, said) = engine.ask_within(LIMIT, doing, async |client| {
        client.start_container(id, None).await?;
        let code = match client.wait_container(id, Some(condition)).next().await {
            Some(Err(Failure::DockerContainerWaitError { code, .. })) => code,
            Some(Err(failure)) => return Err(failure),
            Some(Ok(ended)) => ended.status_code,
            None => -1,
        };
        let mut said = Vec::new();
        let mut lines = client.logs(id, Some(logs));
        while let Some(line) = lines.next().await {
            said.extend_from_slice(&line?.into_bytes());
        }
        Ok((code, String::from_utf8_lossy(&said).trim().to_owned()))
    })?;
    if code == 0 {
        return Ok(());
    }
    Err(RuntimeError::Failed {
        doing: doing.what.into(),
        service: doing.service.into(),
        reason: if said.is_empty() {
            format!("exit code {code}")
        } else {
            said
        },
        hint: None,
    })
}
