//! Lets services rest while their data is captured, and go on afterwards whatever happens.
//!
//! What rests is noted on disk before it is touched ([`rekindle_runtimes::owed`]), so that the next run wakes what a killed
//! one left asleep; and in this process, so that whoever ends it by a signal can wake it first.

use std::{
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rekindle_runtimes::{
    Runtime,
    owed::{Guard, Owed, OwedError},
};
use rekindle_stack::{self as stack, DuringBackup, Stack};
use rustix::process::{Pid, Signal};

use crate::{RecoveryError, damage::state_directory, runtime::needed_runtime_of};

/// How long stopping and each hook may take, unless the configuration says otherwise.
const LIMIT: Duration = Duration::from_secs(60);

/// All that rests now, in the order in which it was laid to rest.
static ASLEEP: Mutex<Vec<Arc<Sleeper>>> = Mutex::new(Vec::new());

/// What the configuration wants to rest, and what can make it.
pub(super) struct Quiet<'a> {
    stack: &'a Stack,
    means: Option<(Arc<dyn Runtime>, Owed)>,
}

/// Services that rest. They go on when this is dropped.
#[must_use]
pub(super) struct Resting(Vec<Arc<Sleeper>>);

/// A service that rests.
struct Sleeper {
    service: String,
    guard: Mutex<Option<Guard>>,
    /// Its hook for the time after; taken by whoever runs it.
    after: Mutex<Option<Hook>>,
}

/// A command of the configuration.
#[derive(Clone)]
struct Hook {
    service: String,
    key: &'static str,
    command: String,
    /// Where it is run: the directory of `rekindle.yaml`.
    directory: PathBuf,
    limit: Duration,
}

/// Wakes everything that this process has laid to rest: for whoever is about to end it. Returns what does not go on, and why.
pub fn wake_services() -> Vec<String> {
    let asleep = std::mem::take(&mut *lock(&ASLEEP));
    asleep
        .iter()
        .rev()
        .flat_map(|sleeper| sleeper.wake())
        .collect()
}

impl<'a> Quiet<'a> {
    /// Pays first what runs that were killed still owe to services of this stack.
    ///
    /// # Errors
    /// If a service shall rest, and nothing can make it: before anything was captured.
    pub fn new(
        stack: &'a Stack,
        runtime: Option<&Arc<dyn Runtime>>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, RecoveryError> {
        let Some(wants) = stack
            .services
            .iter()
            .find(|service| service.during_backup != DuringBackup::Run)
        else {
            return Ok(Self { stack, means: None });
        };
        let failed = |source: OwedError| RecoveryError::Rest {
            service: wants.name.to_string(),
            source,
        };
        let runtime = match runtime {
            Some(runtime) => Arc::clone(runtime),
            None => needed_runtime_of(stack).map_err(|error| failed(error.into()))?,
        };
        let owed = Owed::open(&state_directory(), stack.name.as_str()).map_err(failed)?;
        for settled in owed.settle(&*runtime).map_err(failed)? {
            warnings.push(match settled.failed {
                None => format!(
                    "{}: an earlier run was killed while it rested; it goes on now",
                    settled.service
                ),
                Some(reason) => format!(
                    "{}: an earlier run was killed while it rested, and it does not go on: {reason}",
                    settled.service
                ),
            });
        }
        Ok(Self {
            stack,
            means: Some((runtime, owed)),
        })
    }

    /// Lays those to rest that have no data themselves, but write into others': for as long as anything is captured.
    pub fn rest_writers(&self) -> Result<Resting, RecoveryError> {
        let writers = self.stack.services.iter().filter(|s| s.datasets.is_empty());
        self.rest(writers)
    }

    /// Lays the owners of datasets to rest, while these are captured.
    pub fn rest_owners<'s>(
        &self,
        owners: impl Iterator<Item = &'s stack::Service>,
    ) -> Result<Resting, RecoveryError> {
        let mut distinct: Vec<&stack::Service> = Vec::new();
        for owner in owners {
            if !distinct.iter().any(|known| known.name == owner.name) {
                distinct.push(owner);
            }
        }
        self.rest(distinct.into_iter())
    }

    fn rest<'s>(
        &self,
        services: impl Iterator<Item = &'s stack::Service>,
    ) -> Result<Resting, RecoveryError> {
        let mut resting = Resting(Vec::new());
        for service in services {
            let touched = service.during_backup != DuringBackup::Run
                || service.before_backup.is_some()
                || service.after_backup.is_some();
            if !touched {
                continue;
            }
            let sleeper = Arc::new(Sleeper {
                service: service.name.to_string(),
                guard: Mutex::new(None),
                after: Mutex::new(hook_of(
                    self.stack,
                    service,
                    "after_backup",
                    service.after_backup.as_ref(),
                )),
            });
            // Noted first: a hook that fails half-way is followed by its counterpart, too.
            resting.0.push(Arc::clone(&sleeper));
            lock(&ASLEEP).push(Arc::clone(&sleeper));
            if let Some(hook) = hook_of(
                self.stack,
                service,
                "before_backup",
                service.before_backup.as_ref(),
            ) {
                hook.run()?;
            }
            // Held while it is laid down, so that a signal waits for that and then wakes it.
            let mut guard = lock(&sleeper.guard);
            *guard = self.lay_down(service)?;
        }
        Ok(resting)
    }

    fn lay_down(&self, service: &stack::Service) -> Result<Option<Guard>, RecoveryError> {
        let Some((runtime, owed)) = &self.means else {
            return Ok(None);
        };
        let name = service.name.as_str();
        let laid = match service.during_backup {
            DuringBackup::Run => return Ok(None),
            DuringBackup::Pause => owed.pause(runtime, name),
            DuringBackup::Stop => owed.stop(runtime, name, limit(service)),
        };
        laid.map(Some).map_err(|source| RecoveryError::Rest {
            service: name.to_owned(),
            source,
        })
    }
}

impl Sleeper {
    /// Lets it go on. Returns what does not, and why; nothing the second time.
    fn wake(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let guard = lock(&self.guard).take();
        if let Some(Err(error)) = guard.map(Guard::wake) {
            problems.push(format!(
                "{} was laid to rest and does not go on: {}; start it by hand, or the next backup tries again",
                self.service,
                rekindle_datasets::with_causes(&error)
            ));
        }
        let after = lock(&self.after).take();
        if let Some(Err(error)) = after.map(|hook| hook.run()) {
            problems.push(error.to_string());
        }
        problems
    }
}

impl Resting {
    /// Lets them go on, the last first. Returns what does not, and why.
    pub fn wake(self) -> Vec<String> {
        self.wake_all()
    }

    fn wake_all(&self) -> Vec<String> {
        let problems = self.0.iter().rev().flat_map(|sleeper| sleeper.wake());
        let problems = problems.collect();
        lock(&ASLEEP).retain(|asleep| !self.0.iter().any(|ours| Arc::ptr_eq(ours, asleep)));
        problems
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        for problem in self.wake_all() {
            tracing::error!("{problem}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn limit(service: &stack::Service) -> Duration {
    service
        .hook_limit
        .map_or(LIMIT, |period| period.as_duration())
}

fn hook_of(
    stack: &Stack,
    service: &stack::Service,
    key: &'static str,
    command: Option<&String>,
) -> Option<Hook> {
    Some(Hook {
        service: service.name.to_string(),
        key,
        command: command?.clone(),
        directory: stack.directory.clone(),
        limit: limit(service),
    })
}

impl Hook {
    fn failed(&self, reason: String) -> RecoveryError {
        RecoveryError::Hook {
            service: self.service.clone(),
            key: self.key,
            reason,
        }
    }

    /// Runs it. What it says on standard error is seen; nothing of it reaches standard output, which is ours.
    fn run(&self) -> Result<(), RecoveryError> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &self.command])
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| self.failed(error.to_string()))?;
        let clock = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.failed(format!("it ended with {status}"))),
                Ok(None) if clock.elapsed() < self.limit => {
                    thread::sleep(Duration::from_millis(20))
                }
                Ok(None) => {
                    kill_group(&child);
                    // It is gone, or nobody can say; the limit has passed either way.
                    drop(child.wait());
                    let seconds = self.limit.as_secs();
                    return Err(self.failed(format!(
                        "it was not done within {seconds} s, and was killed"
                    )));
                }
                Err(error) => return Err(self.failed(error.to_string())),
            }
        }
    }
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
