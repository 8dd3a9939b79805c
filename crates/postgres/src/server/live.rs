//! Stopping and starting the server that people use.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::activity::Activity;
use super::supervised::log_tail;
use super::{
    ControlError, Owner, Postmaster, Process, Programs, Report, StartOptions, processes_on,
};
use crate::client::{Client, Mode};
use crate::error::Error;
use crate::options::ConnectOptions;
use crate::restored::major_of_directory;

const POLL: Duration = Duration::from_millis(100);
/// A server that was just told to start may not have a process yet.
const NO_PROCESS_YET: Duration = Duration::from_secs(3);
/// A server that says that it is ready, and does not answer for so long, will not.
const READY_AND_SILENT: Duration = Duration::from_secs(20);
/// Of what a command writes this much of the end is told.
const SAID: usize = 2000;

/// The server on a data directory, running or not.
#[derive(Clone, Debug)]
pub struct LiveServer {
    pgdata: PathBuf,
    owner: Owner,
    programs: Programs,
}

/// A server that was started and is out of recovery.
#[derive(Debug)]
pub enum StartedServer {
    /// It answers.
    Answers(Box<Client>),
    /// It runs and takes connections, though not this one.
    RefusesUs(Error),
}

impl LiveServer {
    /// The server on `pgdata`. Nothing is done to it.
    ///
    /// # Errors
    /// If the directory cannot be read, this process may not act for its owner, or the programs of
    /// its version are not here.
    pub fn on(pgdata: &Path, bin_dir: Option<&Path>) -> Result<Self, ControlError> {
        let major = major_of_directory(pgdata)?;
        Ok(Self {
            pgdata: pgdata.to_owned(),
            owner: Owner::of(pgdata)?,
            programs: Programs::find(bin_dir, major)?,
        })
    }

    /// The user that it runs as.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Where its programs are.
    pub fn bin_dir(&self) -> &Path {
        self.programs.bin_dir()
    }

    /// Whether it runs: whether one of its processes can be seen, or its lock file names one.
    ///
    /// # Errors
    /// If the lock file cannot be read.
    pub fn is_running(&self) -> Result<bool, ControlError> {
        if !processes_on(&self.pgdata).is_empty() {
            return Ok(true);
        }
        let Some(postmaster) = Postmaster::read(&self.pgdata)? else {
            return Ok(false);
        };
        // A number that was given to another program since is no server; see `processes_on`.
        let title = fs::read_to_string(format!("/proc/{}/cmdline", postmaster.pid));
        Ok(title.is_ok_and(|title| title.contains("postgres")))
    }

    /// Stops it: by `command` in a shell if there is one, else by `pg_ctl stop -m fast` as its
    /// owner. Returns when its lock file and all its processes are gone.
    ///
    /// # Errors
    /// [`ControlError::CommandFailed`]; [`ControlError::NotStopped`] after `patience`.
    pub fn stop(&self, command: Option<&str>, patience: Duration) -> Result<(), ControlError> {
        match command {
            Some(command) => self.shell(command)?,
            None => self.pg_ctl("stop", &["-m", "fast", "-W"])?,
        }
        let clock = Instant::now();
        loop {
            let processes = processes_on(&self.pgdata);
            let has_lock = Postmaster::read(&self.pgdata)?.is_some();
            if processes.is_empty() && !has_lock {
                return Ok(());
            }
            if clock.elapsed() > patience {
                return Err(ControlError::NotStopped {
                    path: self.pgdata.clone(),
                    waited: patience,
                    still_there: still_there(&processes),
                });
            }
            thread::sleep(POLL);
        }
    }

    /// Starts it: by `command` in a shell if there is one, else by `pg_ctl start` with `options` as
    /// its owner, its output going to `log`. Returns at once; [`Self::wait`] waits.
    ///
    /// # Errors
    /// [`ControlError::CommandFailed`], or if `log` cannot be made.
    pub fn start(
        &self,
        command: Option<&str>,
        options: &StartOptions,
        log: &Path,
    ) -> Result<(), ControlError> {
        if let Some(command) = command {
            return self.shell(command);
        }
        self.make_log(log)?;
        let log = log.display().to_string();
        let mut arguments = vec!["-W", "-l", &log];
        if !options.as_str().is_empty() {
            arguments.extend(["-o", options.as_str()]);
        }
        self.pg_ctl("start", &arguments)
    }

    /// Waits until a server that was started has ended recovery and answers at `connection`. It may
    /// take as long as it needs, but not do nothing for longer than `patience`. `report` is told what
    /// recovery does.
    ///
    /// # Errors
    /// [`ControlError::Ended`] or [`ControlError::Stuck`] with the end of its log.
    pub fn wait(
        &self,
        connection: &ConnectOptions,
        log: &Path,
        patience: Duration,
        report: Option<Report>,
    ) -> Result<StartedServer, ControlError> {
        let mut watch = Watch::new(report);
        loop {
            // Looked at before it is asked, so that what is ready has had its chance to answer.
            let is_ready = Postmaster::read(&self.pgdata)?.is_some_and(|found| found.is_ready);
            watch.look(&self.pgdata, &self.log_file(log), is_ready);
            match answering(connection) {
                Ok(Some(client)) => return Ok(StartedServer::Answers(Box::new(client))),
                Ok(None) => {}
                Err(error) => {
                    let has_waited = watch.ready_for() > READY_AND_SILENT;
                    if is_ready && (refuses_us(&error) || has_waited) {
                        return Ok(StartedServer::RefusesUs(error));
                    }
                }
            }
            if watch.gone_for() > NO_PROCESS_YET {
                return Err(ControlError::Ended {
                    path: self.pgdata.clone(),
                    status: "no process is left".to_owned(),
                    log: self.log_tail(log),
                });
            }
            if watch.idle_for() > patience {
                return Err(ControlError::Stuck {
                    path: self.pgdata.clone(),
                    waited: watch.idle_for(),
                    log: self.log_tail(log),
                });
            }
            thread::sleep(POLL);
        }
    }

    /// The file that the running server writes its messages to, if that is one that its user owns;
    /// `None` if it goes elsewhere or cannot be seen.
    pub fn log_file_of_running(&self) -> Option<PathBuf> {
        let processes = processes_on(&self.pgdata);
        let pid = Postmaster::read(&self.pgdata).ok()??.pid;
        processes.iter().find(|process| process.pid == pid)?;
        let path = fs::read_link(format!("/proc/{pid}/fd/2")).ok()?;
        let metadata = fs::metadata(&path).ok()?;
        (metadata.is_file() && metadata.uid() == self.owner.uid()).then_some(path)
    }

    /// The last lines of what it logged: where the directory says, else in `log`.
    pub fn log_tail(&self, log: &Path) -> String {
        log_tail(&self.log_file(log))
    }

    /// With a logging collector the server names its file in `current_logfiles`.
    fn log_file(&self, log: &Path) -> PathBuf {
        let text = fs::read_to_string(self.pgdata.join("current_logfiles")).unwrap_or_default();
        let named = text.lines().find_map(|line| line.strip_prefix("stderr "));
        named.map_or_else(|| log.to_owned(), |name| self.pgdata.join(name.trim()))
    }

    /// The server's user can rarely make files beside its directory, so we do.
    fn make_log(&self, log: &Path) -> Result<(), ControlError> {
        let made = fs::OpenOptions::new().create(true).append(true).open(log);
        made.map_err(|source| Error::io("open", log, source))?;
        self.owner.give(log)?;
        Ok(())
    }

    fn pg_ctl(&self, action: &str, arguments: &[&str]) -> Result<(), ControlError> {
        let program = self.programs.path("pg_ctl");
        let mut command = self.programs.command(&program);
        command.arg(action).arg("-D").arg(&self.pgdata);
        command.args(arguments);
        let output = self.quiet_output(&mut command, true);
        let output = output.map_err(|source| ControlError::Start { program, source })?;
        succeeded(&format!("pg_ctl {action}"), &output)
    }

    /// As ourselves: what starts and stops services, such as systemctl, mostly needs root.
    fn shell(&self, line: &str) -> Result<(), ControlError> {
        let program = PathBuf::from("/bin/sh");
        let mut command = Command::new(&program);
        command
            .args(["-c", line])
            .env("REKINDLE_DATA_DIRECTORY", &self.pgdata)
            .current_dir("/");
        let output = self.quiet_output(&mut command, false);
        let output = output.map_err(|source| ControlError::Start { program, source })?;
        succeeded(line, &output)
    }

    /// What a started server inherits stays open as long as it runs, so output goes to a file and
    /// not to a pipe whose end would never come.
    fn quiet_output(&self, command: &mut Command, as_owner: bool) -> io::Result<Output> {
        let mut file = tempfile::tempfile()?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file.try_clone()?);
        let mut child = match as_owner {
            true => self.owner.spawn(command)?,
            false => command.spawn()?,
        };
        let status = child.wait()?;
        let mut text = Vec::new();
        io::Seek::rewind(&mut file)?;
        io::Read::read_to_end(&mut file, &mut text)?;
        Ok(Output {
            status,
            stdout: text,
            stderr: Vec::new(),
        })
    }
}

fn succeeded(command: &str, output: &Output) -> Result<(), ControlError> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.trim();
    let from = said.len().saturating_sub(SAID);
    let from = (from..said.len()).find(|at| said.is_char_boundary(*at));
    Err(ControlError::CommandFailed {
        command: command.to_owned(),
        status: output.status.to_string(),
        said: said[from.unwrap_or(0)..].to_owned(),
    })
}

fn still_there(processes: &[Process]) -> String {
    match processes {
        [] => "postmaster.pid".to_owned(),
        processes => {
            let names = processes
                .iter()
                .map(|process| format!("{} ({})", process.pid, process.title));
            names.collect::<Vec<_>>().join(", ")
        }
    }
}

/// A connection to a server that is out of recovery; `None` if it is still in it.
fn answering(connection: &ConnectOptions) -> Result<Option<Client>, Error> {
    let mut client = Client::connect(connection, Mode::Sql)?;
    let recovering: String = client.query("SELECT pg_is_in_recovery()")?.single()?;
    Ok((recovering == "f").then_some(client))
}

/// Whether the server takes connections, and something of ours keeps this one out.
fn refuses_us(error: &Error) -> bool {
    matches!(
        error.root(),
        Error::WrongPassword { .. }
            | Error::PasswordMissing { .. }
            | Error::LoginRefused { .. }
            | Error::DatabaseMissing { .. }
            | Error::Tls { .. }
            | Error::TlsNotOffered { .. }
            | Error::ClearTextRefused
            | Error::AuthenticationMethod { .. }
            | Error::Version { .. }
    )
}

/// For how long a server has been gone, idle, or ready.
struct Watch {
    activity: Activity,
    had_process: Instant,
    ready_since: Option<Instant>,
}

impl Watch {
    fn new(report: Option<Report>) -> Self {
        Self {
            activity: Activity::new(report),
            had_process: Instant::now(),
            ready_since: None,
        }
    }

    fn look(&mut self, pgdata: &Path, log: &Path, is_ready: bool) {
        let log_bytes = fs::metadata(log).map_or(0, |metadata| metadata.len());
        if self.activity.look(pgdata, log_bytes) {
            self.had_process = Instant::now();
        }
        self.ready_since = is_ready.then(|| self.ready_since.unwrap_or_else(Instant::now));
    }

    fn idle_for(&self) -> Duration {
        self.activity.idle_for()
    }

    fn gone_for(&self) -> Duration {
        self.had_process.elapsed()
    }

    fn ready_for(&self) -> Duration {
        self.ready_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }
}
