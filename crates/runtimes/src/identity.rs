//! Which process is meant: a number alone is given to another one sooner or later.

use std::{fs, io};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// One process, also after it ended and its number was given away: number, start and boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// When it was started, in the kernel's ticks since the boot. Source: proc_pid_stat(5), field 22.
    pub started: u64,
    /// The boot's id, since ticks begin anew with each.
    pub boot: String,
}

/// What `/proc` says of a process.
struct Stat {
    /// `R`, `S`, `T` for stopped, `Z` for one that ended and was not waited for.
    state: char,
    group: i32,
    started: u64,
}

impl Identity {
    /// The process of this number; `None` if there is none.
    ///
    /// # Errors
    /// As `/proc` cannot be read.
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        let Some(stat) = stat(pid)? else {
            return Ok(None);
        };
        let boot = boot_id()?;
        let started = stat.started;
        Ok(Some(Self { pid, started, boot }))
    }

    /// This process.
    ///
    /// # Errors
    /// As `/proc` cannot be read.
    pub fn ours() -> io::Result<Self> {
        let ours = Self::of(rustix::process::getpid().as_raw_pid())?;
        ours.ok_or_else(|| io::Error::other("/proc does not show this process"))
    }

    /// Whether it runs or is stopped; one that ended and was not waited for does not.
    pub fn is_alive(&self) -> bool {
        self.stat()
            .is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
    }

    /// Whether it is stopped by a signal, as by a pause.
    pub fn is_stopped(&self) -> bool {
        self.stat()
            .is_some_and(|stat| matches!(stat.state, 'T' | 't'))
    }

    /// Whether it is of this boot; none of another one lives.
    pub fn is_of_this_boot(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot)
    }

    /// Sends a signal to the process, and to no other that has its number by now.
    ///
    /// # Errors
    /// As the system refuses. A process that is gone is no error.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(());
        };
        // Opened first and looked at then: what the descriptor means does not change any more.
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            other => other?,
        };
        if self.stat().is_none() {
            return Ok(());
        }
        match pidfd_send_signal(handle, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Sends a signal to the process's group, which it leads. Nothing happens if it is gone, even
    /// if others of its group are left: their group's number may belong to somebody else by now.
    ///
    /// # Errors
    /// As the system refuses.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        let leads = self.stat().is_some_and(|stat| stat.group == self.pid);
        match Pid::from_raw(self.pid).filter(|_| leads) {
            Some(group) => signal_group(group, signal),
            None => self.signal(signal),
        }
    }

    /// What `/proc` says of it; `None` if it is gone.
    fn stat(&self) -> Option<Stat> {
        let stat = stat(self.pid).ok()??;
        (stat.started == self.started && self.is_of_this_boot()).then_some(stat)
    }
}

/// Sends a signal to every process of a group. One without members is no error.
pub(crate) fn signal_group(group: Pid, signal: Signal) -> io::Result<()> {
    match rustix::process::kill_process_group(group, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether anybody of a group lives, its leader apart.
pub(crate) fn has_followers(leader: i32) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut others = pids.filter(|pid| *pid != leader);
    others.any(|pid| {
        let stat = stat(pid).ok().flatten();
        stat.is_some_and(|stat| stat.group == leader && !matches!(stat.state, 'Z' | 'X'))
    })
}

fn stat(pid: i32) -> io::Result<Option<Stat>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => parsed(&text)
            .map(Some)
            .ok_or_else(|| io::Error::other("/proc/PID/stat is of another form")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // It ended while it was read.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The name of the program, in parentheses, may hold anything; what counts comes after it.
fn parsed(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn boot_id() -> io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 1 9 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        let stat = parsed(text).unwrap();
        assert_eq!((stat.state, stat.group, stat.started), ('S', 9, 12345));
    }

    #[test]
    fn another_process_of_the_same_number_is_not_meant() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id() as i32).unwrap().unwrap();
        let mut other = identity.clone();
        other.started += 1;
        assert!(identity.is_alive() && !other.is_alive());
        other.signal(Signal::KILL).unwrap();
        other.signal_group(Signal::KILL).unwrap();
        assert!(identity.is_alive());
        let mut earlier = identity.clone();
        earlier.boot = "another".into();
        earlier.signal(Signal::KILL).unwrap();
        assert!(identity.is_alive());
        identity.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(!identity.is_alive());
        identity.signal(Signal::KILL).unwrap();
    }

    #[test]
    fn one_that_ended_and_was_not_waited_for_does_not_live() {
        let mut child = Command::new("true").spawn().unwrap();
        let identity = Identity::of(child.id() as i32).unwrap().unwrap();
        while identity.is_alive() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
