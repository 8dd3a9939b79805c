//! Lets services rest while their data is captured, and go on afterwards whatever happens.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rekindle_runtimes::{RunState, Runtime};
use rekindle_stack::{self as stack, DuringBackup, Stack};
use rustix::process::{Pid, Signal};

use crate::{RecoveryError, runtime::needed_runtime_of};

/// How long stopping and each hook may take, unless the configuration says otherwise.
const LIMIT: Duration = Duration::from_secs(60);

/// What the configuration wants to rest, and what can make it.
pub(super) struct Quiet<'a> {
    stack: &'a Stack,
    runtime: Option<Arc<dyn Runtime>>,
}

/// Services that rest, in the order in which they were laid to rest. They go on when this is dropped.
#[must_use]
pub(super) struct Resting<'a> {
    services: Vec<OneResting<'a>>,
}

struct OneResting<'a> {
    service: &'a stack::Service,
    /// What runs it, if it was paused or stopped.
    runtime: Option<Arc<dyn Runtime>>,
}

impl<'a> Quiet<'a> {
    /// # Errors
    /// If a service shall rest, and nothing can make it: before anything was captured.
    pub fn new(
        stack: &'a Stack,
        runtime: Option<&Arc<dyn Runtime>>,
    ) -> Result<Self, RecoveryError> {
        let wants = stack
            .services
            .iter()
            .find(|service| service.during_backup != DuringBackup::Run);
        let runtime = match (runtime, wants) {
            (Some(runtime), _) => Some(Arc::clone(runtime)),
            (None, Some(service)) => {
                Some(
                    needed_runtime_of(stack).map_err(|source| RecoveryError::Rest {
                        service: service.name.to_string(),
                        source,
                    })?,
                )
            }
            (None, None) => None,
        };
        Ok(Self { stack, runtime })
    }

    /// Lays those to rest that have no data themselves, but write into others': for as long as anything is captured.
    pub fn rest_writers(&self) -> Result<Resting<'a>, RecoveryError> {
        let writers = self.stack.services.iter().filter(|s| s.datasets.is_empty());
        self.rest(writers)
    }

    /// Lays the owners of datasets to rest, while these are captured.
    pub fn rest_owners(
        &self,
        owners: impl Iterator<Item = &'a stack::Service>,
    ) -> Result<Resting<'a>, RecoveryError> {
        let mut distinct: Vec<&'a stack::Service> = Vec::new();
        for owner in owners {
            if !distinct.iter().any(|known| known.name == owner.name) {
                distinct.push(owner);
            }
        }
        self.rest(distinct.into_iter())
    }

    fn rest(
        &self,
        services: impl Iterator<Item = &'a stack::Service>,
    ) -> Result<Resting<'a>, RecoveryError> {
        let mut resting = Resting {
            services: Vec::new(),
        };
        for service in services {
            let touched = service.during_backup != DuringBackup::Run
                || service.before_backup.is_some()
                || service.after_backup.is_some();
            if !touched {
                continue;
            }
            // Noted first: a hook that fails half-way is followed by its counterpart, too.
            resting.services.push(OneResting {
                service,
                runtime: None,
            });
            if let Some(command) = &service.before_backup {
                hook(service, "before_backup", command)?;
            }
            if self.lay_down(service)?
                && let Some(last) = resting.services.last_mut()
            {
                last.runtime.clone_from(&self.runtime);
            }
        }
        Ok(resting)
    }

    /// Whether something was paused or stopped: what did not run shall not be started afterwards.
    fn lay_down(&self, service: &stack::Service) -> Result<bool, RecoveryError> {
        let Some(runtime) = &self.runtime else {
            return Ok(false);
        };
        if service.during_backup == DuringBackup::Run {
            return Ok(false);
        }
        let name = service.name.as_str();
        let failed = |source| RecoveryError::Rest {
            service: name.to_owned(),
            source,
        };
        let run = runtime.state(name).map_err(failed)?.run;
        // Where nobody can say whether it runs, what follows says why it cannot be laid to rest.
        if !matches!(run, RunState::Running | RunState::Unknown) {
            return Ok(false);
        }
        match service.during_backup {
            DuringBackup::Pause => runtime.pause(name),
            _ => runtime.stop(name, limit(service)),
        }
        .map_err(failed)?;
        Ok(true)
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        for OneResting { service, runtime } in self.services.iter().rev() {
            let name = service.name.as_str();
            if let Some(runtime) = runtime {
                let woken = match service.during_backup {
                    DuringBackup::Pause => runtime.resume(name),
                    _ => runtime.start(name),
                };
                if let Err(error) = woken {
                    tracing::error!(%error, service = name, "a service that was laid to rest does not go on; start it by hand");
                }
            }
            if let Some(command) = &service.after_backup
                && let Err(error) = hook(service, "after_backup", command)
            {
                tracing::error!(%error, service = name, "a hook failed");
            }
        }
    }
}

fn limit(service: &stack::Service) -> Duration {
    service
        .hook_limit
        .map_or(LIMIT, |period| period.as_duration())
}

/// What a hook started itself ends with it.
fn kill_group(child: &Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group
        && let Err(error) = rustix::process::kill_process_group(group, Signal::KILL)
    {
        tracing::warn!(%error, "a hook that took too long could not be killed");
    }
}

/// Runs a hook; its output goes where ours goes, except that nothing reaches standard output.
fn hook(service: &stack::Service, key: &'static str, command: &str) -> Result<(), RecoveryError> {
    let failed = |reason: String| RecoveryError::Hook {
        service: service.name.to_string(),
        key,
        reason,
    };
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let (clock, limit) = (Instant::now(), limit(service));
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(failed(format!("it ended with {status}"))),
            Ok(None) if clock.elapsed() < limit => thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                kill_group(&child);
                // It is gone, or nobody can say; the limit has passed either way.
                drop(child.wait());
                return Err(failed(format!(
                    "it was not done within {} s",
                    limit.as_secs()
                )));
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    }
}
