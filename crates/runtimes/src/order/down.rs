//! Stopping services, each once those that need it are stopped.

use std::time::{Duration, Instant};

use super::{
    Plan, Step,
    board::{Board, Progress, carry_out},
    gate,
    report::{Event, Outcome, Report},
};
use crate::{RunState, Runtime, RuntimeError};

/// Stops the services of a plan, each once those of the plan that need it are stopped; each is
/// asked to end and killed after `limit`. Below one that does not stop nothing is taken away.
///
/// `on_event` is called from several threads.
pub fn take_down(
    runtime: &dyn Runtime,
    plan: &Plan,
    limit: Duration,
    on_event: &(dyn Fn(Event<'_>) + Sync),
) -> Report {
    carry_out(plan.steps().rev(), on_event, &|step, board| {
        if let Some(by) = hindrance(plan, step, board) {
            return (Outcome::Blocked { by }, Instant::now());
        }
        let began = Instant::now();
        let outcome = down(runtime, step, limit, on_event);
        let outcome = outcome.unwrap_or_else(|error| Outcome::Failed {
            why: gate::in_words(&error),
            log: gate::last_lines(runtime, &step.service),
        });
        (outcome, began)
    })
}

/// Waits for all that need a service; the one of them that still runs.
fn hindrance(plan: &Plan, step: &Step, board: &Board) -> Option<String> {
    let needs_it = |other: &&Step| other.needs.iter().any(|need| need.service == step.service);
    let runs_on = |other: &&Step| {
        let stopped = board.until(&other.service, |progress| match progress {
            Progress::Done(outcome) => Some(!matches!(
                outcome,
                Outcome::Failed { .. } | Outcome::Blocked { .. }
            )),
            Progress::Waiting | Progress::Started => None,
        });
        stopped == Some(false)
    };
    let mut dependants = plan.steps().filter(needs_it);
    dependants.find(runs_on).map(|other| other.service.clone())
}

fn down(
    runtime: &dyn Runtime,
    step: &Step,
    limit: Duration,
    on_event: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Outcome, RuntimeError> {
    match runtime.state(&step.service)?.run {
        RunState::Unknown => Ok(Outcome::Unknown),
        RunState::Absent | RunState::Created | RunState::Stopped | RunState::Failed => {
            Ok(Outcome::AlreadyDown)
        }
        RunState::Running | RunState::Paused | RunState::Restarting => {
            on_event(Event::Stopping(&step.service));
            runtime.stop(&step.service, limit)?;
            Ok(Outcome::Down)
        }
    }
}
