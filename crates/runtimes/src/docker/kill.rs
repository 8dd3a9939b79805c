//! Ending a command inside a container. The engine's API has no call for it.
//!
//! Each command gets a mark in its environment, which its children inherit. Its processes are found by that, from
//! here if the engine is on this machine and we may look, else from within the container.

use std::fs;
use std::io;
use std::time::Duration;

use bollard::exec::StartExecOptions;
use bollard::models::ExecConfig;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::engine::{Doing, Engine};
use super::exec::Inside;
use crate::RuntimeError;
use crate::net::wait_for;

const NAME: &str = "REKINDLE_EXEC";

/// What is in the environment of one command and of no other.
pub(super) struct Mark(String);

impl Mark {
    pub(super) fn new() -> io::Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let text = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self(text))
    }

    /// `NAME=value`.
    pub(super) fn variable(&self) -> String {
        format!("{NAME}={}", self.0)
    }
}

/// Kills a command and what it has started, and waits until the engine says that it has ended.
///
/// # Errors
/// [`RuntimeError::Failed`] if it still runs.
pub(super) fn kill(
    inside: Inside<'_>,
    doing: Doing<'_>,
    id: &str,
    user: Option<&str>,
    mark: &Mark,
) -> Result<(), RuntimeError> {
    let engine = inside.engine;
    for round in 0..20 {
        let from_here = engine.endpoint().is_local() && kill_from_here(mark);
        if !from_here && round % 5 == 0 {
            kill_from_within(inside, doing, user, mark)?;
        }
        if !is_running(engine, doing, id)? {
            return Ok(());
        }
        wait_for(async { sleep(Duration::from_millis(100)).await })
            .map_err(|source| super::failure::threads(&engine.name(), source))?;
    }
    Err(RuntimeError::Failed {
        doing: doing.what.into(),
        service: doing.service.into(),
        reason: "it was to be killed, and still runs".into(),
        hint: Some("restart the service to be rid of it".into()),
    })
}

/// Whether there was anything to kill. A command that starts others while we look is caught in the next round.
fn kill_from_here(mark: &Mark) -> bool {
    let needle = mark.variable();
    let mut found = false;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw);
        let Some(pid) = pid else { continue };
        // Processes of others may not be looked into, and ended ones are gone.
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ
            .split(|byte| *byte == 0)
            .any(|variable| variable == needle.as_bytes())
        {
            found = true;
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    found
}

/// Works where the image has a shell and `cat`.
fn kill_from_within(
    inside: Inside<'_>,
    doing: Doing<'_>,
    user: Option<&str>,
    mark: &Mark,
) -> Result<(), RuntimeError> {
    const SCRIPT: &str = "for p in /proc/[0-9]*; do case \"$(cat $p/environ 2>/dev/null)\" in \
                          *\"$0\"*) kill -9 \"${p#/proc/}\";; esac; done";
    let config = ExecConfig {
        cmd: Some(
            ["/bin/sh", "-c", SCRIPT, &mark.variable()]
                .map(str::to_owned)
                .into(),
        ),
        user: user.map(str::to_owned),
        ..ExecConfig::default()
    };
    let container = inside.container;
    inside.engine.ask(doing, async |client| {
        let created = client.create_exec(container, config).await?;
        let options = StartExecOptions {
            detach: true,
            ..StartExecOptions::default()
        };
        client
            .start_exec(&created.id, Some(options))
            .await
            .map(drop)
    })
}

fn is_running(engine: &Engine, doing: Doing<'_>, id: &str) -> Result<bool, RuntimeError> {
    let state = engine.ask(doing, async |client| client.inspect_exec(id).await)?;
    Ok(state.running == Some(true))
}
