//! How the services are, and what they logged.

use std::io::{self, Write};

use rekindle_runtimes::{Health, LogRequest, RunState, ServiceState, order::survey};
use serde_json::json;

use super::LogsArgs;
use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Table, age, duration, write_json},
};

pub(super) fn run(app: &App, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let runtime = rekindle_runtimes::open(&stack)?;
    let states = survey(runtime.as_ref(), &stack)?;
    if app.is_json() {
        let value = json!({ "stack": stack.name.as_str(), "runtime": runtime.describe(), "services": states });
        write_json(out, &value)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["SERVICE", "STATE", "HEALTH", "SINCE", "WHY"]);
    for state in &states {
        table.row(row(state));
    }
    table.write(out)?;
    Ok(Exit::Done)
}

fn row(state: &ServiceState) -> [String; 5] {
    let since = state.since.map(|since| duration(age(since)));
    [
        state.name.clone(),
        run_state(state.run).to_owned(),
        health(&state.health).to_owned(),
        since.unwrap_or_else(|| "-".to_owned()),
        why(state),
    ]
}

const fn run_state(run: RunState) -> &'static str {
    match run {
        RunState::Absent => "absent",
        RunState::Created => "not started",
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Restarting => "restarting",
        RunState::Stopped => "stopped",
        RunState::Failed => "failed",
        RunState::Unknown => "unknown",
    }
}

const fn health(health: &Health) -> &'static str {
    match health {
        Health::Unchecked => "-",
        Health::Starting => "starting",
        Health::Healthy => "well",
        Health::Unhealthy { .. } => "not well",
    }
}

fn why(state: &ServiceState) -> String {
    match (&state.health, &state.why) {
        (Health::Unhealthy { why }, None) => why.clone(),
        (Health::Unhealthy { why }, Some(more)) => format!("{why}; {more}"),
        (_, why) => why.clone().unwrap_or_default(),
    }
}

pub(super) fn logs(app: &App, args: &LogsArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let runtime = rekindle_runtimes::open(&stack)?;
    let request = LogRequest {
        tail: args.tail,
        since: args.since,
        follow: args.follow,
    };
    if !args.follow {
        runtime.logs(&args.service, &request, out)?;
        return Ok(Exit::Done);
    }
    let mut followed = Followed::default();
    match runtime.logs(&args.service, &request, &mut followed) {
        Err(_) if followed.is_closed => Ok(Exit::Done),
        other => Ok(other.map(|()| Exit::Done)?),
    }
}

/// Stdout of a log that has no end of its own: it ends when nobody reads it any more.
#[derive(Default)]
struct Followed {
    is_closed: bool,
}

impl Followed {
    fn seen<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        let broke = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        self.is_closed |= result.as_ref().err().is_some_and(broke);
        result
    }
}

impl Write for Followed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = io::stdout().write(bytes);
        self.seen(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = io::stdout().flush();
        self.seen(flushed)
    }
}
