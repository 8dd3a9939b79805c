//! Whether a service is well, and waiting until it is.

use std::{
    error::Error,
    thread,
    time::{Duration, Instant},
};

use rekindle_stack::Stack;

use super::{Goal, Step};
use crate::{
    Health, LogRequest, RunState, Runtime, RuntimeError, ServiceState,
    health::{self, ask},
};

/// How long a service must run of which nobody can say whether it is well: one that ends at once
/// was never up.
const SETTLED: Duration = Duration::from_millis(750);

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How many lines of a log are told when a service fails.
const LINES: u64 = 8;

/// How a service is, as far as its start is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Well,
    /// It runs, and nobody checks whether it is well.
    Runs,
    /// It may become well yet.
    NotYet(String),
    /// It will not.
    Lost(String),
}

/// Looks once. The runtime's own check counts; only where there is none is that of the
/// configuration made.
pub(super) fn is_well(runtime: &dyn Runtime, step: &Step, state: &ServiceState) -> Verdict {
    let why = |otherwise: &str| state.why.clone().unwrap_or_else(|| otherwise.to_owned());
    match state.run {
        RunState::Running | RunState::Unknown => {}
        RunState::Restarting => return Verdict::NotYet(why("it ended, and is started again")),
        RunState::Paused => return Verdict::NotYet("it is paused".to_owned()),
        RunState::Created => return Verdict::NotYet("it was not started".to_owned()),
        RunState::Stopped => return Verdict::Lost(why("it ended, though it should stay up")),
        RunState::Failed => return Verdict::Lost(why("it failed")),
        RunState::Absent => return Verdict::Lost("it is gone".to_owned()),
    }
    let health = match (&state.health, &step.health) {
        (Health::Unchecked, Some(check)) => ask(runtime, &step.service, check),
        (health, _) => health.clone(),
    };
    match health {
        // Since when nobody knows; what started long ago is not looked at for long.
        Health::Unchecked if has_settled(state) => Verdict::Well,
        Health::Unchecked => Verdict::Runs,
        Health::Healthy => Verdict::Well,
        Health::Starting => Verdict::NotYet(why("it is starting")),
        Health::Unhealthy { why } => Verdict::NotYet(why),
    }
}

fn has_settled(state: &ServiceState) -> bool {
    let Some(since) = state.since else {
        return false;
    };
    let runs_for = jiff::Timestamp::now().duration_since(since);
    Duration::try_from(runs_for).is_ok_and(|runs_for| runs_for >= SETTLED)
}

/// Waits until a service is as far as its goal.
///
/// # Errors
/// Why it is not, in one sentence.
pub(super) fn wait(runtime: &dyn Runtime, step: &Step, limit: Duration) -> Result<(), String> {
    let begun = Instant::now();
    let mut runs_since: Option<Instant> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let verdict = match runtime.state(&step.service) {
            Ok(state) if step.goal == Goal::Completed => completion(&state),
            Ok(state) => is_well(runtime, step, &state),
            // A runtime that does not answer once may answer again.
            Err(error) => Verdict::NotYet(in_words(&error)),
        };
        let why = match verdict {
            Verdict::Well => return Ok(()),
            Verdict::Lost(why) => return Err(why),
            Verdict::Runs if runs_since.get_or_insert_with(Instant::now).elapsed() >= SETTLED => {
                return Ok(());
            }
            Verdict::Runs => "it runs since a moment ago".to_owned(),
            Verdict::NotYet(why) => {
                runs_since = None;
                why
            }
        };
        if begun.elapsed() >= limit {
            return Err(format!("not well after {} s: {why}", limit.as_secs_f32()));
        }
        thread::sleep(pause.min(limit.saturating_sub(begun.elapsed())));
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// Of a service that shall end.
fn completion(state: &ServiceState) -> Verdict {
    match (state.run, state.exit_code) {
        (RunState::Stopped, Some(0)) => Verdict::Well,
        (RunState::Stopped | RunState::Failed, code) => {
            let code = code.map_or_else(
                || "an unknown exit code".to_owned(),
                |code| format!("exit code {code}"),
            );
            Verdict::Lost(format!("it ended with {code} instead of 0"))
        }
        (RunState::Absent, _) => Verdict::Lost("it is gone".to_owned()),
        _ => Verdict::NotYet("it has not ended".to_owned()),
    }
}

/// The last lines of its log, each cut to a readable length; nothing if they cannot be read.
pub(super) fn last_lines(runtime: &dyn Runtime, service: &str) -> Vec<String> {
    let request = LogRequest {
        tail: Some(LINES),
        ..LogRequest::default()
    };
    let mut bytes = Vec::new();
    if runtime.logs(service, &request, &mut bytes).is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).take(300).collect());
    lines.collect()
}

/// An error with its causes, on one line.
pub(super) fn in_words(error: &RuntimeError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// How all services are: what the runtime knows, and where it does not check whether one is well,
/// what the check of the configuration says. Services that the configuration names and the runtime
/// does not know are absent.
///
/// # Errors
/// If the runtime cannot be asked.
pub fn survey(runtime: &dyn Runtime, stack: &Stack) -> Result<Vec<ServiceState>, RuntimeError> {
    let mut states = runtime.list()?;
    for service in &stack.services {
        if !states
            .iter()
            .any(|state| state.name == service.name.as_str())
        {
            states.push(ServiceState::absent(&service.name));
        }
    }
    thread::scope(|scope| {
        for state in &mut states {
            let check = stack
                .service(&state.name)
                .and_then(|service| service.health.as_ref());
            let may_answer = matches!(state.run, RunState::Running | RunState::Unknown);
            if let Some(check) = check.filter(|_| may_answer && state.health == Health::Unchecked) {
                scope.spawn(move || state.health = health::ask(runtime, &state.name, check));
            }
        }
    });
    Ok(states)
}
