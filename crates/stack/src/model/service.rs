use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;

use super::{CommandLine, Dataset, Retention, Run, Tripwire};
use crate::address::TcpAddress;
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
    /// How long it may take from its start until it is well.
    #[schemars(extend("default" = "60s"))]
    pub start_limit: Option<Period>,
    /// How it is run, with the runtime `process`. Without it, something else runs it.
    pub run: Option<Run>,
    /// Its unit, with the runtime `systemd`. Default: `<service>.service`.
    pub unit: Option<String>,
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

impl Service {
    /// How long it may take from its start until it is well, if [`start_limit`](Self::start_limit)
    /// says nothing.
    pub const DEFAULT_START_LIMIT: Duration = Duration::from_secs(60);

    /// How long it may take from its start until it is well.
    pub fn start_limit(&self) -> Duration {
        let limit = self.start_limit.map(Period::as_duration);
        limit.unwrap_or(Self::DEFAULT_START_LIMIT)
    }

    /// Its unit of systemd.
    pub fn unit(&self) -> String {
        let default = || format!("{}.service", self.name);
        self.unit.clone().unwrap_or_else(default)
    }
}

/// How a service shows that it is well: by one of `http`, `tcp` and `command`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct HealthCheck {
    /// URL that must answer with a status of 200 to 299.
    pub http: Option<ServiceUrl>,
    /// With `http`: fields of its JSON answer and the value each must have.
    #[schemars(extend("default" = {}), with = "BTreeMap<String, crate::schema::Scalar>")]
    pub expect: BTreeMap<String, serde_json::Value>,
    /// A port that must accept connections, `host:port`.
    pub tcp: Option<TcpAddress>,
    /// A command that must end with 0: a program and its arguments as a list, or one line for
    /// `/bin/sh`. It runs where the service runs: in its container, or as its user.
    pub command: Option<CommandLine>,
}

/// The question that a [`HealthCheck`] asks.
#[derive(Clone, Copy, Debug)]
pub enum HealthProbe<'a> {
    /// A URL, and fields of its JSON answer.
    Http(&'a ServiceUrl, &'a BTreeMap<String, serde_json::Value>),
    /// A port that must accept connections.
    Tcp(&'a TcpAddress),
    /// A command that must end with 0.
    Command(&'a CommandLine),
}

impl HealthCheck {
    /// What is asked; `None` only for a check built by hand that asks nothing.
    pub fn probe(&self) -> Option<HealthProbe<'_>> {
        let http = self.http.as_ref();
        let http = http.map(|url| HealthProbe::Http(url, &self.expect));
        let tcp = || self.tcp.as_ref().map(HealthProbe::Tcp);
        http.or_else(tcp)
            .or_else(|| self.command.as_ref().map(HealthProbe::Command))
    }
}
