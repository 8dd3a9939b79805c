//! How a service is.

use jiff::Timestamp;
use serde::Serialize;

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceState {
    /// Its name, as in `rekindle.yaml`.
    pub name: String,
    /// Whether it runs.
    pub run: RunState,
    /// Whether it is well, as far as the runtime checks that.
    pub health: Health,
    /// What it is to the runtime: a container's name, a unit, a process id.
    pub unit: String,
    /// The image it runs, as it is named.
    pub image: Option<String>,
    /// The image it runs, so that it can be had again exactly.
    pub image_digest: Option<String>,
    /// Since when it is as it is.
    pub since: Option<Timestamp>,
    /// How it ended, if it did.
    pub exit_code: Option<i64>,
    /// How often the runtime started it again by itself.
    pub restarts: u64,
    /// When the runtime starts it again by itself: `always`, `unless-stopped`, `on-failure`, `no`.
    pub restart_policy: Option<String>,
    /// What it needs, as the runtime knows it.
    pub depends_on: Vec<Dependency>,
    /// Why it is not as it should be, in one sentence.
    pub why: Option<String>,
}

/// Whether a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// There is nothing of that name.
    Absent,
    /// It was never started.
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It ended, and the runtime is about to start it again.
    Restarting,
    /// It was stopped, or ended as it should.
    Stopped,
    /// It ended as it should not.
    Failed,
    /// Something else runs it, so nobody can say.
    Unknown,
}

/// Whether a service is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "health", rename_all = "lowercase")]
pub enum Health {
    /// Nobody checks.
    Unchecked,
    /// Checked, and not well yet.
    Starting,
    /// Well.
    Healthy,
    /// Not well.
    Unhealthy {
        /// What the check said.
        why: String,
    },
}

/// Another service that a service needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// Its name.
    pub service: String,
    /// How far it must be.
    pub condition: Condition,
}

/// How far a needed service must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Started.
    Started,
    /// Well.
    Healthy,
    /// Ended with exit code 0.
    CompletedSuccessfully,
}

impl ServiceState {
    /// There is nothing of that name.
    #[must_use]
    pub fn absent(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            run: RunState::Absent,
            health: Health::Unchecked,
            unit: String::new(),
            image: None,
            image_digest: None,
            since: None,
            exit_code: None,
            restarts: 0,
            restart_policy: None,
            depends_on: Vec::new(),
            why: None,
        }
    }
}
