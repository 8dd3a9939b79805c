//! The life of one server process: start, readiness, stop, kill.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::client::{Client, forget_settings};
use crate::TestingError;
use crate::process::{as_server_owner, free_port};

/// How a server is asked to stop. Source: PostgreSQL manual, "Shutting Down the Server".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Ends sessions, writes a checkpoint, stops.
    Fast,
    /// Stops without a checkpoint; the next start recovers from WAL.
    Immediate,
}

/// What has to be true before a start counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// It answers, even if only as a standby.
    Answers,
    /// It has left recovery.
    Writable,
}

/// A server that runs, or ran, on one data directory.
pub(crate) struct Process {
    pub(crate) data_dir: PathBuf,
    /// Settings given on the command line; they win over every file.
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) log: PathBuf,
    pub(crate) ready: Ready,
    pub(crate) patience: Duration,
    pub(crate) child: Option<Child>,
}

impl Process {
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it; on a port that was taken in the meantime, tries others.
    pub(crate) fn start(&mut self, client: &mut Client) -> Result<(), TestingError> {
        if self.child.is_some() {
            return Ok(());
        }
        let mut attempts = 0;
        loop {
            let log_start = fs::metadata(&self.log).map_or(0, |meta| meta.len());
            self.child = Some(self.spawn(client)?);
            let Err(error) = self.wait_until_ready(client) else {
                return Ok(());
            };
            attempts += 1;
            self.stop(Mode::Immediate)?;
            if attempts >= 5 || !self.log_since(log_start).contains("could not bind") {
                return Err(error);
            }
            client.port = free_port()?;
        }
    }

    fn spawn(&self, client: &Client) -> Result<Child, TestingError> {
        let log = open_log(&self.log)?;
        let stderr = log
            .try_clone()
            .map_err(TestingError::file("open", &self.log))?;
        let mut command = Command::new(client.bin_dir.join("postgres"));
        forget_settings(&mut command);
        as_server_owner(&mut command)?;
        command
            .arg("-D")
            .arg(&self.data_dir)
            .args(["-p", &client.port.to_string()]);
        command.args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "logging_collector=off",
        ]);
        command.arg("-c").arg(format!(
            "unix_socket_directories={}",
            client.socket_dir.display()
        ));
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdin(Stdio::null()).stdout(log).stderr(stderr);
        command.spawn().map_err(|source| TestingError::Run {
            program: client.bin_dir.join("postgres").display().to_string(),
            source,
        })
    }

    fn wait_until_ready(&mut self, client: &Client) -> Result<(), TestingError> {
        let deadline = Instant::now() + self.patience;
        while !self.is_ready(client) {
            if let Some(status) = self.ended() {
                return Err(self.trouble(format!("it ended by itself, {status}")));
            }
            if Instant::now() > deadline {
                let wanted = self.ready;
                return Err(self.trouble(format!("not {wanted:?} within {:?}", self.patience)));
            }
            sleep(Duration::from_millis(30));
        }
        Ok(())
    }

    fn is_ready(&self, client: &Client) -> bool {
        let mut probe = client.tool("pg_isready");
        let answers = probe
            .arg("-q")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !answers.is_ok_and(|status| status.success()) {
            return false;
        }
        let recovering = client.try_psql("postgres", "select pg_is_in_recovery()");
        match self.ready {
            Ready::Answers => recovering.is_ok(),
            Ready::Writable => recovering.is_ok_and(|answer| answer == "f"),
        }
    }

    fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut()?.try_wait().ok()?
    }

    pub(crate) fn stop(&mut self, mode: Mode) -> Result<(), TestingError> {
        let signal = match mode {
            Mode::Fast => Signal::INT,
            Mode::Immediate => Signal::QUIT,
        };
        let Some(pid) = self.pid() else { return Ok(()) };
        if self.ended().is_none() {
            send(pid, signal);
        }
        self.wait_until_gone(Duration::from_secs(60))
    }

    pub(crate) fn kill9(&mut self) -> Result<(), TestingError> {
        let Some(pid) = self.pid() else { return Ok(()) };
        // Stopped first, so that it forks no child between our look and the blow.
        send(pid, Signal::STOP);
        let children = children_of(pid);
        send(pid, Signal::KILL);
        children.iter().for_each(|child| send(*child, Signal::KILL));
        self.wait_until_gone(Duration::from_secs(10))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while children.iter().any(|child| is_alive(*child)) {
            if Instant::now() > deadline {
                return Err(self.trouble("a child process survived SIGKILL".into()));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn wait_until_gone(&mut self, patience: Duration) -> Result<(), TestingError> {
        let deadline = Instant::now() + patience;
        while self.ended().is_none() {
            if Instant::now() > deadline {
                return Err(self.trouble(format!("still running after {patience:?}")));
            }
            sleep(Duration::from_millis(5));
        }
        self.child = None;
        Ok(())
    }

    fn trouble(&self, why: String) -> TestingError {
        TestingError::Server {
            data_dir: self.data_dir.clone(),
            why,
            log: self.log_tail(),
        }
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = self.log_since(0);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn log_since(&self, offset: u64) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }
}

impl Drop for Process {
    #[allow(clippy::print_stderr, reason = "the log goes away with its directory")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (dir, log) = (self.data_dir.display(), self.log_tail());
            eprintln!("--- log of the server in {dir} ---\n{log}\n---");
        }
        if self.stop(Mode::Immediate).is_err() {
            let _ = self.kill9();
        }
    }
}

fn open_log(path: &Path) -> Result<File, TestingError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(TestingError::file("open", path))
}

/// Sends a signal; that the process is gone already is no matter.
fn send(pid: u32, signal: Signal) {
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _ = target.map(|pid| kill_process(pid, signal));
}

fn children_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| state_and_parent(*pid).is_some_and(|(_, of)| of == parent))
        .collect()
}

fn is_alive(pid: u32) -> bool {
    // A zombie holds neither memory nor files; whoever inherited it will reap it.
    state_and_parent(pid).is_some_and(|(state, _)| state != "Z" && state != "X")
}

/// State letter and parent from /proc/PID/stat; the name before them may hold spaces and brackets.
fn state_and_parent(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
