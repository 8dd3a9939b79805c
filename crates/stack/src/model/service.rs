use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{Dataset, Retention, Tripwire};
use crate::choice::choice;
use crate::name::Name;
use crate::period::Period;
use crate::url::ServiceUrl;

/// One thing the runtime runs. It has datasets, or says that it is stateless.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct Service {
    /// Its name: the key under `services`.
    #[schemars(skip)]
    pub name: Name,
    /// Its state that must survive; at most one dataset of each kind.
    #[schemars(extend("default" = []))]
    pub datasets: Vec<Dataset>,
    /// Says that nothing of it needs a backup.
    #[schemars(extend("default" = false))]
    pub stateless: bool,
    /// Services that must be healthy before it starts.
    #[schemars(extend("default" = []))]
    pub depends_on: Vec<Name>,
    /// Target: how much recent data may be lost at most (recovery point objective).
    pub rpo: Option<Period>,
    /// Target: how long it may be down at most (recovery time objective).
    pub rto: Option<Period>,
    /// How much it matters.
    #[schemars(extend("default" = "medium"))]
    pub priority: Priority,
    /// Whether the stack is well without it.
    #[schemars(extend("default" = false))]
    pub optional: bool,
    /// How it shows that it is well.
    pub health: Option<HealthCheck>,
    /// Which recovery points are kept for its sake. Default: the stack's `retention`, which this
    /// replaces as a whole. A point that holds several services is kept if any of them needs it.
    pub retention: Option<Retention>,
    /// What is done with it while recovery points are made: it runs on, is paused, or is stopped. One
    /// with datasets rests while they are captured, one without while anything is.
    #[schemars(extend("default" = "run"))]
    pub during_backup: DuringBackup,
    /// Shell command run before its datasets are captured. If it fails, there is no recovery point.
    pub before_backup: Option<String>,
    /// Shell command run after its datasets were captured, whether that succeeded or not.
    pub after_backup: Option<String>,
    /// How long each of these commands, and stopping, may take. Default: `60s`.
    pub hook_limit: Option<Period>,
    /// When a backup of it is suspicious. Default: the stack's `tripwire`, which this replaces as a
    /// whole.
    pub tripwire: Option<Tripwire>,
}

choice! {
    /// How much a service matters.
    #[derive(Default)]
    "priority" Priority {
        /// Without it there is no business.
        Critical = "critical",
        /// Badly missed.
        High = "high",
        /// There are ways around it.
        #[default]
        Medium = "medium",
        /// Can wait.
        Low = "low",
    }
}

choice! {
    /// What is done with a service while recovery points are made.
    #[derive(Default)]
    "during_backup" DuringBackup {
        /// It runs on.
        #[default]
        Run = "run",
        /// It is frozen, and goes on where it was.
        Pause = "pause",
        /// It is stopped, and started again.
        Stop = "stop",
    }
}

/// How a service shows that it is well.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct HealthCheck {
    /// URL that must answer with a status of 200 to 299.
    pub http: ServiceUrl,
    /// Fields of its JSON answer and the value each must have.
    #[schemars(extend("default" = {}), with = "BTreeMap<String, crate::schema::Scalar>")]
    pub expect: BTreeMap<String, serde_json::Value>,
}
