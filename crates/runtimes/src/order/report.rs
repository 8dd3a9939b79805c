//! What became of each service.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// What became of the services of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Each service, in the plan's order.
    pub services: Vec<ServiceReport>,
    /// How long all of it took.
    #[serde(rename = "took_seconds", serialize_with = "seconds")]
    pub took: Duration,
}

/// What became of one service.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceReport {
    /// Its name.
    pub service: String,
    /// Whether the stack is well without it.
    pub optional: bool,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took once it was its turn.
    #[serde(rename = "took_seconds", serialize_with = "seconds")]
    pub took: Duration,
}

/// What became of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It was started, and is well.
    Up,
    /// It ran before, and is well.
    AlreadyUp,
    /// It ended with exit code 0, as it should.
    Completed,
    /// It was stopped.
    Down,
    /// It did not run.
    AlreadyDown,
    /// Something else runs it, and nothing says how it is.
    Unknown,
    /// There is nothing of that name.
    Absent,
    /// It is not well, or could not be stopped.
    Failed {
        /// Why, in one sentence.
        why: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// It was left as it was, because of another service.
    Blocked {
        /// Which.
        by: String,
    },
}

impl Outcome {
    /// Whether it is as it was wanted, as far as anybody can tell.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        !matches!(
            self,
            Self::Absent | Self::Failed { .. } | Self::Blocked { .. }
        )
    }
}

impl Report {
    /// Whether every service that is not optional is as it was wanted.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.services
            .iter()
            .all(|service| service.optional || service.outcome.is_fine())
    }
}

/// What happens, as it happens.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// It is being started.
    Starting(&'a str),
    /// It was paused, and goes on.
    Resuming(&'a str),
    /// It runs, and is waited for until it is well.
    Waiting(&'a str),
    /// It is being stopped.
    Stopping(&'a str),
    /// That is what became of it.
    Done(&'a ServiceReport),
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    serializer.serialize_f64(milliseconds as f64 / 1000.0)
}
