//! Starting services in order, each once those it needs are well.

use std::time::{Duration, Instant};

use super::{
    Goal, Plan, Step,
    board::{Board, Progress, carry_out},
    gate,
    report::{Event, Outcome, Report},
};
use crate::{Condition, Dependency, RunState, Runtime, RuntimeError, ServiceState};

/// How long things may take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Until a service is well, instead of its own limit.
    pub start: Option<Duration>,
}

/// Starts the services of a plan, each once those it needs are as far as they must be, and waits
/// until it is well. What is up already stays. The failure of one keeps only those from starting
/// that need it; of one that is optional, nobody.
///
/// `on_event` is called from several threads.
pub fn bring_up(
    runtime: &dyn Runtime,
    plan: &Plan,
    limits: &Limits,
    on_event: &(dyn Fn(Event<'_>) + Sync),
) -> Report {
    let optional = |name: &str| {
        plan.steps()
            .any(|step| step.service == name && step.optional)
    };
    carry_out(plan.steps(), on_event, &|step, board| {
        if let Some(by) = hindrance(step, board, &optional) {
            return (Outcome::Blocked { by }, Instant::now());
        }
        let began = Instant::now();
        let limit = limits.start.unwrap_or(step.limit);
        let up = Up {
            runtime,
            step,
            board,
            on_event,
            limit,
        };
        (up.run(), began)
    })
}

/// Waits for all that a service needs; the one of them that keeps it from starting.
fn hindrance(step: &Step, board: &Board, optional: &dyn Fn(&str) -> bool) -> Option<String> {
    let hinders = |need: &&Dependency| {
        let is_ready = board.until(&need.service, |progress| match progress {
            Progress::Started if need.condition == Condition::Started => Some(true),
            Progress::Done(outcome) => Some(outcome.is_fine()),
            Progress::Waiting | Progress::Started => None,
        });
        // One that is not part of the plan is not asked for.
        is_ready == Some(false) && !optional(&need.service)
    };
    let hindering = step.needs.iter().find(hinders);
    hindering.map(|need| need.service.clone())
}

struct Up<'a> {
    runtime: &'a dyn Runtime,
    step: &'a Step,
    board: &'a Board,
    on_event: &'a (dyn Fn(Event<'_>) + Sync),
    limit: Duration,
}

impl Up<'_> {
    fn run(&self) -> Outcome {
        self.try_run().unwrap_or_else(|error| self.failed(&error))
    }

    fn try_run(&self) -> Result<Outcome, RuntimeError> {
        let name = self.step.service.as_str();
        let state = self.runtime.state(name)?;
        // Whether we did something to it, or only wait for it.
        let mut acted = true;
        match state.run {
            RunState::Absent => return Ok(Outcome::Absent),
            RunState::Unknown if self.step.health.is_none() => return Ok(Outcome::Unknown),
            _ if self.is_done(&state) => return Ok(self.already()),
            RunState::Unknown | RunState::Running | RunState::Restarting => acted = false,
            RunState::Paused => {
                (self.on_event)(Event::Resuming(name));
                self.runtime.resume(name)?;
            }
            RunState::Created | RunState::Stopped | RunState::Failed => {
                (self.on_event)(Event::Starting(name));
                self.runtime.start(name)?;
            }
        }
        self.board.tell(name, Progress::Started);
        (self.on_event)(Event::Waiting(name));
        Ok(match gate::wait(self.runtime, self.step, self.limit) {
            Ok(()) if self.step.goal == Goal::Completed => Outcome::Completed,
            Ok(()) if acted => Outcome::Up,
            Ok(()) => Outcome::AlreadyUp,
            Err(why) => self.with_log(why),
        })
    }

    /// Whether it is as it should be before anything is done.
    fn is_done(&self, state: &ServiceState) -> bool {
        match self.step.goal {
            Goal::Completed => state.run == RunState::Stopped && state.exit_code == Some(0),
            Goal::Well => gate::is_well(self.runtime, self.step, state) == gate::Verdict::Well,
        }
    }

    fn already(&self) -> Outcome {
        match self.step.goal {
            Goal::Completed => Outcome::Completed,
            Goal::Well => Outcome::AlreadyUp,
        }
    }

    fn failed(&self, error: &RuntimeError) -> Outcome {
        self.with_log(gate::in_words(error))
    }

    fn with_log(&self, why: String) -> Outcome {
        let log = gate::last_lines(self.runtime, &self.step.service);
        Outcome::Failed { why, log }
    }
}
