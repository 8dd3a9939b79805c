//! The process of a service, and what is waited for.

use std::{
    fmt, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, pidfd_open, waitid, waitpid,
    },
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{command_of, log::Log};
use crate::{
    identity::{Identity, has_followers, signal_group},
    process::record::Spec,
};

/// How long the rest of a group may live when its leader ended by itself.
const FOLLOWERS: Duration = Duration::from_secs(2);

/// How often it is looked whether the rest of a group has ended.
const LOOK: Duration = Duration::from_millis(10);

/// A process that leads a group of its own. It is not waited for before its group is gone, so that
/// the group's number stays ours as long as we send signals to it.
pub(super) struct Child {
    pid: Pid,
    handle: OwnedFd,
    identity: Identity,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Exit(i32),
    Signal(i32),
}

impl Ended {
    /// The exit code as shells count: 128 and the number for one by a signal.
    pub fn code(self) -> i64 {
        match self {
            Self::Exit(code) => code.into(),
            Self::Signal(number) => 128 + i64::from(number),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(number) => {
                let name = signal_hook::low_level::signal_name(*number);
                write!(
                    f,
                    "ended by signal {number} ({})",
                    name.unwrap_or("unknown")
                )
            }
        }
    }
}

impl Child {
    pub fn start(spec: &Spec, log: &Log) -> io::Result<Self> {
        let mut command = command_of(spec)?;
        command.stdin(Stdio::null());
        command.stdout(log.outlet()?).stderr(log.outlet()?);
        command.process_group(0);
        let program = spec.argv.first().cloned().unwrap_or_default();
        let started = command.spawn().map_err(|error| {
            let place = spec.directory.display();
            io::Error::new(error.kind(), format!("`{program}` in {place}: {error}"))
        })?;
        // Waited for by its number below: `std` would do so before its group is gone.
        let raw = i32::try_from(started.id()).map_err(io::Error::other)?;
        let gone = || io::Error::other("it has no number");
        let pid = Pid::from_raw(raw).ok_or_else(gone)?;
        Ok(Self {
            pid,
            handle: pidfd_open(pid, PidfdFlags::empty())?,
            identity: Identity::of(raw)?.ok_or_else(gone)?,
        })
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Ends the group: asks, waits for `limit` at most, kills. True if it had to be killed.
    pub fn stop(self, signal: &str, limit: Duration) -> io::Result<(Ended, bool)> {
        signal_group(self.pid, signal_named(signal))?;
        // One that is paused could not hear it.
        signal_group(self.pid, Signal::CONT)?;
        let was_killed = !self.ends_within(limit)?;
        if was_killed {
            self.kill()?;
        }
        Ok((self.reap()?, was_killed))
    }

    /// The leader ended by itself: ends what it left behind.
    pub fn end_the_rest(&self) -> io::Result<Ended> {
        if has_followers(self.pid.as_raw_pid()) {
            signal_group(self.pid, Signal::TERM)?;
            signal_group(self.pid, Signal::CONT)?;
            if !self.ends_within(FOLLOWERS)? {
                self.kill()?;
            }
        }
        self.reap()
    }

    fn ends_within(&self, limit: Duration) -> io::Result<bool> {
        let begun = Instant::now();
        loop {
            if self.has_ended()? && !has_followers(self.pid.as_raw_pid()) {
                return Ok(true);
            }
            if begun.elapsed() >= limit {
                return Ok(false);
            }
            thread::sleep(LOOK);
        }
    }

    /// Sends SIGKILL until nobody of the group is left: somebody may be born in between.
    fn kill(&self) -> io::Result<()> {
        loop {
            signal_group(self.pid, Signal::KILL)?;
            if self.ends_within(Duration::from_millis(200))? {
                return Ok(());
            }
        }
    }

    fn has_ended(&self) -> io::Result<bool> {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), how)?.is_some())
    }

    /// Waits for the leader; its number is free from now on.
    fn reap(&self) -> io::Result<Ended> {
        let gone = || io::Error::other("somebody else waited for it");
        let (_, status) = waitpid(Some(self.pid), WaitOptions::empty())?.ok_or_else(gone)?;
        Ok(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ended::Exit(code),
            (None, Some(number)) => Ended::Signal(number),
            (None, None) => return Err(io::Error::other("it ended in an unknown way")),
        })
    }
}

fn signal_named(name: &str) -> Signal {
    match name {
        "SIGINT" => Signal::INT,
        "SIGQUIT" => Signal::QUIT,
        "SIGHUP" => Signal::HUP,
        "SIGUSR1" => Signal::USR1,
        "SIGUSR2" => Signal::USR2,
        _ => Signal::TERM,
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The process ended.
    Ended,
    /// A signal asks to stop.
    Asked,
    /// Time is over.
    Nothing,
}

/// Notices signals that ask to stop.
pub(super) struct Watch {
    asked: UnixStream,
}

impl Watch {
    /// From now on, SIGTERM and SIGINT are noticed; SIGHUP is not for us.
    pub fn start() -> io::Result<Self> {
        let (asked, asks) = UnixStream::pair()?;
        asked.set_nonblocking(true)?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(signal, asks.try_clone()?)?;
        }
        let ignored = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, ignored)?;
        Ok(Self { asked })
    }

    /// Waits until the child ends, a signal comes, or `limit` is over.
    pub fn wait(&self, child: Option<&Child>, limit: Duration) -> io::Result<Wake> {
        let mut handles: Vec<BorrowedFd<'_>> = vec![self.asked.as_fd()];
        handles.extend(child.map(|child| child.handle.as_fd()));
        let polled = handles
            .iter()
            .map(|handle| PollFd::new(handle, PollFlags::IN));
        let mut polled: Vec<PollFd<'_>> = polled.collect();
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        match poll(&mut polled, Some(&limit)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return self.wait(child, Duration::ZERO),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |index: usize| {
            let events = polled.get(index).map(PollFd::revents);
            events.is_some_and(|events| !events.is_empty())
        };
        Ok(match (is_ready(0), is_ready(1)) {
            // Asked first: it ends for good then, also if it ended by itself at the same time.
            (true, _) => {
                self.empty();
                Wake::Asked
            }
            (false, true) => Wake::Ended,
            (false, false) => Wake::Nothing,
        })
    }

    fn empty(&self) {
        let mut bytes = [0; 64];
        while io::Read::read(&mut &self.asked, &mut bytes).is_ok_and(|read| read > 0) {}
    }
}
