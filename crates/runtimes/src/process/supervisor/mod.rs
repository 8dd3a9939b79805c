//! The process that watches one service: starts it, writes down how it goes, starts it again, and
//! stops it when asked by SIGTERM.
//!
//! It outlives the command that started it. What it knows is in its [`Record`]; that it lives is
//! shown by the lock it holds, which ends with it however it ends.

mod child;
mod delay;
mod log;

pub(crate) use log::{MARK, old};

use std::{
    io::{self, Read},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;

use self::{
    child::{Child, Ended, Wake, Watch},
    delay::Delay,
    log::Log,
};
use super::{
    env,
    place::{FileLock, Place},
    record::{Phase, Policy, Record, Spec, StopWish},
};
use crate::identity::Identity;

/// How long a service may take to end if whoever asked did not say.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How long a supervisor waits for its lock: as long as somebody may look at it.
const LOCK: Duration = Duration::from_secs(2);

/// The first of two: starts the supervisor in a session of its own and ends, so that nobody is the
/// supervisor's parent for long. `program` is this program with the arguments that lead to
/// [`supervise`].
///
/// # Errors
/// If it cannot be started.
pub fn detach(mut program: Command) -> io::Result<()> {
    program.stdin(Stdio::inherit());
    program.spawn().map(drop)
}

/// Watches the service whose description is on standard input, and whose state lies in `folder`.
/// Returns when the service has ended for good.
///
/// # Errors
/// If its state cannot be written, or it is described wrongly.
pub fn supervise(folder: PathBuf) -> io::Result<()> {
    // Fails only for a leader of a group, which has what this is for.
    let _ = rustix::process::setsid();
    let mut description = Vec::new();
    io::stdin().read_to_end(&mut description)?;
    let spec: Spec = serde_json::from_slice(&description).map_err(io::Error::other)?;
    drop(description);
    let place = Place::at(folder);
    place.make()?;
    let Some(_lock) = FileLock::take(&place.supervisors_lock(), LOCK)? else {
        return Err(io::Error::other("another supervisor watches this service"));
    };
    let watch = Watch::start()?;
    Supervisor::new(spec, place)?.run(&watch)
}

struct Supervisor {
    spec: Spec,
    place: Place,
    log: Log,
    record: Record,
    delay: Delay,
}

impl Supervisor {
    fn new(spec: Spec, place: Place) -> io::Result<Self> {
        let record = Record {
            launch: spec.launch.clone(),
            phase: Phase::Waiting,
            child: None,
            supervisor: Identity::ours()?,
            since: Timestamp::now(),
            exit_code: None,
            restarts: 0,
            policy: spec.restart,
            why: None,
        };
        Ok(Self {
            log: Log::open(&spec.log, spec.log_limit_bytes)?,
            delay: Delay::new(spec.first_delay),
            spec,
            place,
            record,
        })
    }

    fn run(mut self, watch: &Watch) -> io::Result<()> {
        loop {
            let child = match Child::start(&self.spec, &self.log) {
                Ok(child) => child,
                Err(error) => {
                    let why = format!("cannot be started: {error}");
                    self.log.mark(&why);
                    self.finish(Phase::Failed, None, Some(why));
                    return Ok(());
                }
            };
            self.began(&child);
            let ended = match self.watch(&child, watch)? {
                Watched::Ended(ended) => ended,
                Watched::Asked => return self.stop(child),
            };
            self.log.mark(&ended.to_string());
            let fine = ended.code() == 0;
            let again = match self.spec.restart {
                Policy::No => false,
                Policy::OnFailure => !fine,
                Policy::Always => true,
            };
            if !again {
                let phase = if fine { Phase::Stopped } else { Phase::Failed };
                let why = (!fine).then(|| ended.to_string());
                self.finish(phase, Some(ended.code()), why);
                return Ok(());
            }
            if self.waits(&ended, watch)? {
                let why = "it was asked to stop while it waited to be started again";
                self.finish(Phase::Stopped, Some(ended.code()), Some(why.into()));
                return Ok(());
            }
        }
    }

    fn began(&mut self, child: &Child) {
        self.log
            .mark(&format!("started as process {}", child.identity().pid));
        if let Some(path) = &self.spec.pid_file {
            let text = format!("{}\n", child.identity().pid);
            let written = rekindle_vault::durable::replace(path, text.as_bytes(), 0o644);
            if let Err(error) = written {
                self.log
                    .mark(&format!("pid_file {}: {error}", path.display()));
            }
        }
        self.delay.began();
        self.record.child = Some(child.identity().clone());
        let why = self.record.why.take();
        self.tell(Phase::Running, why);
    }

    /// Waits until the child ends or somebody asks for it, and keeps the log small meanwhile.
    fn watch(&mut self, child: &Child, watch: &Watch) -> io::Result<Watched> {
        loop {
            match watch.wait(Some(child), log::LOOK)? {
                Wake::Ended => return Ok(Watched::Ended(child.end_the_rest()?)),
                Wake::Asked => return Ok(Watched::Asked),
                Wake::Nothing => self.log.keep_small(),
            }
        }
    }

    fn stop(self, child: Child) -> io::Result<()> {
        let limit = StopWish::take(&self.place).map_or(STOP_LIMIT, |wish| wish.limit);
        self.log.mark("asked to stop");
        let (ended, was_killed) = child.stop(&self.spec.stop_signal, limit)?;
        let why = was_killed.then(|| {
            let signal = &self.spec.stop_signal;
            format!(
                "killed: {signal} did not end it within {} s",
                limit.as_secs_f32()
            )
        });
        self.log.mark(why.as_deref().unwrap_or("stopped"));
        self.finish(Phase::Stopped, Some(ended.code()), why);
        Ok(())
    }

    /// Waits before the next start; true if it was asked to stop meanwhile.
    fn waits(&mut self, ended: &Ended, watch: &Watch) -> io::Result<bool> {
        let delay = self.delay.next();
        self.record.child = None;
        self.record.exit_code = Some(ended.code());
        self.record.restarts += 1;
        let why = format!("{ended}; started again after {} s", delay.as_secs_f32());
        self.tell(Phase::Waiting, Some(why));
        let end = std::time::Instant::now() + delay;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match watch.wait(None, left)? {
                Wake::Asked => return Ok(true),
                _ if left.is_zero() => break,
                _ => {}
            }
        }
        self.record.why = Some(format!("started again: {ended}"));
        Ok(false)
    }

    fn finish(mut self, phase: Phase, code: Option<i64>, why: Option<String>) {
        if let Some(path) = &self.spec.pid_file {
            let _ = std::fs::remove_file(path);
        }
        let _ = StopWish::take(&self.place);
        self.record.child = None;
        self.record.exit_code = code;
        self.tell(phase, why);
    }

    /// Writes down how it is. A full disk must not end a service that is well: then the old record
    /// stands, and the log says so.
    fn tell(&mut self, phase: Phase, why: Option<String>) {
        self.record.phase = phase;
        self.record.why = why;
        self.record.since = Timestamp::now();
        if let Err(error) = self.record.write(&self.place) {
            self.log
                .mark(&format!("its state cannot be written down: {error}"));
        }
    }
}

enum Watched {
    Ended(Ended),
    Asked,
}

/// The command of a service, ready to be started.
fn command_of(spec: &Spec) -> io::Result<Command> {
    let (program, arguments) = spec
        .argv
        .split_first()
        .ok_or_else(|| io::Error::other("the command is empty"))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&spec.directory);
    let user = spec.user.as_deref();
    env::furnish(&mut command, &spec.env, spec.env_file.as_deref(), user)?;
    Ok(command)
}
