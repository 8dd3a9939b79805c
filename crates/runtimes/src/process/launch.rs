//! How a supervisor is started, and how it is asked to stop.

use std::{
    env,
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    process::{ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::Signal,
};

use super::{
    env::passed_on,
    place::{FileLock, Place},
    record::{Phase, Record, Spec, StopWish},
};

/// How long a supervisor may take to say that its service runs.
const BEGIN: Duration = Duration::from_secs(30);

/// How much longer than it was told a supervisor may take to stop its service.
const GRACE: Duration = Duration::from_secs(10);

const LOOK: Duration = Duration::from_millis(5);

/// The program that becomes a supervisor, with the arguments that lead to
/// [`supervise`](super::supervise); the folder is added.
#[derive(Clone, Debug)]
pub struct SupervisorProgram {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl SupervisorProgram {
    /// This program itself: `rekindle service supervise`.
    ///
    /// # Errors
    /// If the system does not say where it lies.
    pub fn ourselves() -> io::Result<Self> {
        let program = env::current_exe()?.into_os_string();
        let argv = vec![program, "service".into(), "supervise".into()];
        Ok(Self::new(argv))
    }

    /// Another one, as tests need.
    #[must_use]
    pub fn new(argv: Vec<OsString>) -> Self {
        Self {
            argv,
            env: Vec::new(),
        }
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn command(&self, place: &Place) -> io::Result<Command> {
        let (program, arguments) = self
            .argv
            .split_first()
            .ok_or_else(|| io::Error::other("the supervisor's command is empty"))?;
        let mut command = Command::new(program);
        command.args(arguments).arg(place.path());
        // It lives long, and needs none of our secrets.
        command
            .env_clear()
            .envs(passed_on())
            .envs(self.env.iter().cloned());
        command.current_dir("/");
        Ok(command)
    }
}

/// Starts a supervisor; returns when its service runs.
///
/// # Errors
/// With what the supervisor said.
pub(super) fn launch(
    program: &SupervisorProgram,
    place: &Place,
    spec: &Spec,
) -> io::Result<Record> {
    let mut options = OpenOptions::new();
    let options = options.create(true).write(true).truncate(true).mode(0o600);
    let said = options.open(place.supervisor_log())?;
    let mut command = program.command(place)?;
    command.stdin(Stdio::piped());
    // Never written to: that nobody holds it any more tells that the supervisor ended.
    command.stdout(Stdio::piped()).stderr(said);
    let mut first = command.spawn()?;
    let description = serde_json::to_vec(spec)?;
    let written = first
        .stdin
        .take()
        .map(|mut pipe| pipe.write_all(&description));
    // The first of the two ends at once; the second belongs to nobody.
    let status = first.wait()?;
    if !status.success() || !matches!(written, Some(Ok(()))) {
        return Err(failed(place, "the supervisor did not start"));
    }
    let life = first
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("it has no output"))?;
    until_told(place, &spec.launch, &life)
}

fn until_told(place: &Place, launch: &str, life: &ChildStdout) -> io::Result<Record> {
    let begun = Instant::now();
    loop {
        // Asked before the look: its last word is written before it ends.
        let has_ended = is_closed(life, LOOK)?;
        let told = Record::read(place)?.filter(|record| record.launch == launch);
        match told {
            Some(record) if record.phase == Phase::Failed && record.exit_code.is_none() => {
                let why = record
                    .why
                    .unwrap_or_else(|| "it cannot be started".to_owned());
                return Err(io::Error::other(why));
            }
            Some(record) => return Ok(record),
            None if begun.elapsed() > BEGIN => {
                return Err(failed(place, "the supervisor says nothing"));
            }
            None if has_ended => return Err(failed(place, "the supervisor ended")),
            None => {}
        }
    }
}

/// Whether nobody holds the other end; waits for `limit` at most.
fn is_closed(pipe: &ChildStdout, limit: Duration) -> io::Result<bool> {
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut polled = [PollFd::new(pipe, PollFlags::empty())];
    match poll(&mut polled, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled[0].revents().contains(PollFlags::HUP))
}

fn failed(place: &Place, what: &str) -> io::Error {
    let said = fs::read_to_string(place.supervisor_log()).unwrap_or_default();
    match said.trim() {
        "" => io::Error::other(what.to_owned()),
        said => io::Error::other(format!("{what}: {said}")),
    }
}

/// Whether a supervisor watches the service.
pub(super) fn is_watched(place: &Place) -> io::Result<bool> {
    FileLock::is_held(&place.supervisors_lock())
}

/// Stops the service and its supervisor; true once nothing of them runs.
pub(super) fn stop(place: &Place, limit: Duration) -> io::Result<bool> {
    if is_watched(place)? && !ask(place, limit)? {
        return Ok(false);
    }
    // A supervisor that was killed meanwhile has stopped nothing.
    match Record::read(place)? {
        Some(record) => stop_orphan(place, record, limit),
        None => Ok(true),
    }
}

fn ask(place: &Place, limit: Duration) -> io::Result<bool> {
    StopWish { limit }.leave(place)?;
    let begun = Instant::now();
    while is_watched(place)? {
        // Again and again: it may have taken its lock and not said its name yet.
        if let Some(record) = Record::read(place)? {
            record.supervisor.signal(Signal::TERM)?;
        }
        if begun.elapsed() > limit + GRACE {
            return Ok(false);
        }
        thread::sleep(LOOK);
    }
    Ok(true)
}

/// If the service lives though nobody watches it, it is stopped by us.
fn stop_orphan(place: &Place, mut record: Record, limit: Duration) -> io::Result<bool> {
    let Some(child) = record.child.take().filter(|child| child.is_alive()) else {
        return Ok(true);
    };
    child.signal_group(Signal::TERM)?;
    child.signal_group(Signal::CONT)?;
    let begun = Instant::now();
    while child.is_alive() && begun.elapsed() < limit {
        thread::sleep(LOOK);
    }
    record.why = child
        .is_alive()
        .then(|| "killed: it did not end when asked".to_owned());
    while child.is_alive() && begun.elapsed() < limit + GRACE {
        child.signal_group(Signal::KILL)?;
        thread::sleep(LOOK);
    }
    record.phase = Phase::Stopped;
    record.since = jiff::Timestamp::now();
    record.write(place)?;
    Ok(!child.is_alive())
}
