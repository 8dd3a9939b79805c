//! Starting, stopping, freezing. What is so already is fine.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use zbus::OwnedObjectPath;

use super::{
    bus::{Job, Manager},
    facts::Facts,
    failure::{Doing, Failure},
    state::{ended, is_skipped},
};
use crate::RuntimeError;

/// How long a start may wait for others that come before it.
const WAITING: Duration = Duration::from_secs(90);

/// How long it may take until something that was killed is gone.
const KILLED: Duration = Duration::from_secs(30);

/// How long to listen for the end of a job between two looks at the unit.
const LOOK: Duration = Duration::from_millis(100);

/// A unit, and what is being done to it.
pub(super) struct Change<'a> {
    pub manager: &'a Manager,
    pub doing: Doing<'a>,
}

impl Change<'_> {
    /// What systemd says of the unit.
    pub fn facts(&self) -> Result<Facts, RuntimeError> {
        facts(self.manager, self.doing.unit).map_err(|failure| self.explain(failure))
    }

    /// Starts the unit. One that says by itself when it is ready (`Type=notify`) may not be so yet.
    pub fn start(&self, facts: &Facts) -> Result<(), RuntimeError> {
        if matches!(
            facts.text("ActiveState"),
            "active" | "reloading" | "refreshing"
        ) {
            return Ok(());
        }
        // That it failed, or was started often, a moment ago must not keep it from starting now.
        let _ = self.manager.call("ResetFailedUnit", &(self.doing.unit,));
        // Else it forgets at once what became of a unit that does not stay up. Our connection holds this reference.
        let _ = self.manager.call("RefUnit", &(self.doing.unit,));
        self.follow(self.job("StartUnit", "replace")?)
    }

    /// Waits until a start is accepted, or gave up.
    pub fn follow(&self, mut job: Job<'_>) -> Result<(), RuntimeError> {
        let begun = Instant::now();
        loop {
            let end = job.end(LOOK).map_err(|failure| self.explain(failure))?;
            if let Some(end) = end {
                return self.started(&end);
            }
            if self.facts()?.text("ActiveState") == "activating" {
                return Ok(());
            }
            if begun.elapsed() >= WAITING {
                return Err(self.too_long(WAITING));
            }
        }
    }

    fn started(&self, end: &str) -> Result<(), RuntimeError> {
        let unit = self.doing.unit;
        let facts = self.facts()?;
        let log = || Some(format!("`journalctl --unit {unit}` says more"));
        match end {
            "done" | "skipped" if is_skipped(&facts) => Err(self.failed(
                "a condition of its unit is not met, so systemd did not start it".to_owned(),
                Some(format!("`systemctl status {unit}` says which")),
            )),
            "done" | "skipped" => Ok(()),
            "dependency" => Err(self.failed(
                "a unit that it requires could not be started".to_owned(),
                Some(format!("`systemctl list-dependencies {unit}` says which")),
            )),
            "canceled" => Err(self.canceled()),
            _ => Err(self.failed(ended(&facts), log())),
        }
    }

    /// Stops the unit, and no other one: what requires it is started and stopped by its own order. Kills what is left
    /// of it after `limit`.
    pub fn stop(&self, facts: &Facts, limit: Duration) -> Result<(), RuntimeError> {
        if facts.is_down() {
            return Ok(());
        }
        self.nobody_is_bound(facts)?;
        for unit in facts.texts("TriggeredBy") {
            tracing::warn!(
                unit = self.doing.unit,
                by = unit,
                "stopped, and may be started again by that unit"
            );
        }
        if facts.is_frozen() {
            // A frozen process hears no signal.
            self.call("ThawUnit")?;
        }
        let mut job = self.job("StopUnit", "ignore-dependencies")?;
        let mut end = job.end(limit).map_err(|failure| self.explain(failure))?;
        if end.is_none() {
            // Gone meanwhile is as good; whether it worked shows by what follows.
            let kill = (self.doing.unit, "all", Signal::KILL.as_raw());
            let _ = self.manager.call("KillUnit", &kill);
            end = job.end(KILLED).map_err(|failure| self.explain(failure))?;
        }
        match end.as_deref() {
            None => Err(self.too_long(limit.saturating_add(KILLED))),
            Some("canceled") => Err(self.canceled()),
            Some(_) if self.facts()?.is_down() => Ok(()),
            Some(end) => Err(self.failed(format!("it still runs ({end})"), None)),
        }
    }

    /// systemd stops what is bound to a unit with it, and nobody would start that again.
    fn nobody_is_bound(&self, facts: &Facts) -> Result<(), RuntimeError> {
        let mut running = Vec::new();
        for unit in facts.texts("BoundBy") {
            let bound = super::change::facts(self.manager, unit);
            let bound = bound.map_err(|failure| self.explain(failure))?;
            if !bound.is_absent() && !bound.is_down() {
                running.push(unit);
            }
        }
        if running.is_empty() {
            return Ok(());
        }
        let running = running.join(", ");
        Err(self.failed(
            format!("{running} is bound to it (BindsTo=), would be stopped with it, and not be started again"),
            Some(format!("name {running} as a service too, and stop it first")),
        ))
    }

    /// Freezes or thaws the unit: `FreezeUnit`, `ThawUnit`.
    pub fn call(&self, method: &str) -> Result<(), RuntimeError> {
        let done = self.manager.call(method, &(self.doing.unit,));
        done.map(drop).map_err(|failure| self.explain(failure))
    }

    fn job(&self, method: &str, mode: &str) -> Result<Job<'_>, RuntimeError> {
        let job = self.manager.job(method, self.doing.unit, mode);
        job.map_err(|failure| self.explain(failure))
    }

    pub fn failed(&self, reason: String, hint: Option<String>) -> RuntimeError {
        RuntimeError::Failed {
            doing: self.doing.what.to_owned(),
            service: self.doing.service.to_owned(),
            reason,
            hint,
        }
    }

    fn canceled(&self) -> RuntimeError {
        let hint = "somebody else starts or stops it: `systemctl list-jobs`".to_owned();
        self.failed(
            "another job took the place of this one".to_owned(),
            Some(hint),
        )
    }

    fn too_long(&self, limit: Duration) -> RuntimeError {
        RuntimeError::TookTooLong {
            doing: self.doing.what.to_owned(),
            service: self.doing.service.to_owned(),
            limit,
        }
    }

    pub fn explain(&self, failure: Failure) -> RuntimeError {
        failure.explain(self.doing)
    }
}

/// What systemd says of a unit.
pub(super) fn facts(manager: &Manager, unit: &str) -> Result<Facts, Failure> {
    let path: OwnedObjectPath = manager.unit(unit)?;
    let mut all = manager.properties(&path, "Unit")?;
    if unit.ends_with(".service") {
        all.extend(manager.properties(&path, "Service")?);
    }
    Ok(Facts(all))
}
