//! What runs the services of a stack: one trait over Docker, systemd and plain processes.
//!
//! Start at [`Runtime`]; [`open`] gives the one that the configuration names. The trait promises only what its weakest
//! kind can keep, and every kind keeps all of it or says [`RuntimeError::Unsupported`].
//!
//! Absent on purpose: what the services hold (datasets), and in which order recovery touches them.

mod command;
mod directory;
pub mod docker;
mod error;
pub mod health;
mod identity;

mod net;
pub mod order;
pub mod owed;
mod owner;
pub mod process;
mod state;
mod storage;
pub mod systemd;

use std::{
    ffi::OsString,
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rekindle_stack::{Runtime as Kind, Stack};

pub use directory::DirectoryAccess;
pub use error::RuntimeError;
pub use identity::Identity;
pub use state::{Condition, Dependency, Health, RunState, ServiceState};
pub use storage::{Storage, StorageAccess, StorageKind};

/// Runs services. All methods may be called from several threads.
///
/// Services are named as in `rekindle.yaml`. What already is as asked for is no error: starting what runs, stopping
/// what does not.
pub trait Runtime: Send + Sync {
    /// What it is and where, in a few words for people: `Docker at unix:///var/run/docker.sock, project shop`.
    fn describe(&self) -> String;

    /// Every service that it knows, stopped ones included.
    ///
    /// # Errors
    /// If it cannot be asked. The list is complete or an error.
    fn list(&self) -> Result<Vec<ServiceState>, RuntimeError>;

    /// One service; [`RunState::Absent`] if there is none of that name.
    ///
    /// # Errors
    /// As [`Runtime::list`].
    fn state(&self, service: &str) -> Result<ServiceState, RuntimeError> {
        let all = self.list()?;
        let found = all.into_iter().find(|state| state.name == service);
        Ok(found.unwrap_or_else(|| ServiceState::absent(service)))
    }

    /// Starts a service: returns when that is accepted. Whether it is well is another question.
    ///
    /// # Errors
    /// [`RuntimeError`]; the service is then as it was, or shows why not.
    fn start(&self, service: &str) -> Result<(), RuntimeError>;

    /// Stops a service: asks it to end, and kills it after `limit`. Returns when nothing of it runs.
    ///
    /// # Errors
    /// [`RuntimeError`]; it may still run then.
    fn stop(&self, service: &str, limit: Duration) -> Result<(), RuntimeError>;

    /// Stops and starts a service.
    ///
    /// # Errors
    /// As [`Runtime::stop`] and [`Runtime::start`].
    fn restart(&self, service: &str, limit: Duration) -> Result<(), RuntimeError> {
        self.stop(service, limit)?;
        self.start(service)
    }

    /// Freezes a running service: it does nothing until [`Runtime::resume`], and forgets nothing.
    ///
    /// # Errors
    /// [`RuntimeError`]; it runs on then.
    fn pause(&self, service: &str) -> Result<(), RuntimeError>;

    /// Lets a frozen service go on.
    ///
    /// # Errors
    /// [`RuntimeError`].
    fn resume(&self, service: &str) -> Result<(), RuntimeError>;

    /// Writes what a service has logged.
    ///
    /// # Errors
    /// [`RuntimeError`]; also if `out` does not take it.
    fn logs(
        &self,
        service: &str,
        request: &LogRequest,
        out: &mut dyn Write,
    ) -> Result<(), RuntimeError>;

    /// Runs a command where a service runs, with its environment and files. Returns when the command has ended, which
    /// may be with any exit code.
    ///
    /// # Errors
    /// If it could not be run, or ran into its limit: nothing of it runs then.
    fn exec(
        &self,
        service: &str,
        command: &ExecCommand,
        streams: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError>;

    /// Words that make a command line of this machine run where a service runs, with its streams passed through, and with
    /// those environment variables of `env` that are set: for long streams, and for whoever starts processes himself.
    /// `None` if the service runs on this machine, or there are no such words.
    ///
    /// # Errors
    /// If the runtime cannot be asked.
    fn command_prefix(
        &self,
        service: &str,
        env: &[&str],
    ) -> Result<Option<Vec<OsString>>, RuntimeError> {
        let _ = (service, env);
        Ok(None)
    }

    /// Where a port of a service is reached from this machine; `None` if it is not.
    ///
    /// # Errors
    /// If the runtime cannot be asked.
    fn address(&self, service: &str, port: u16) -> Result<Option<SocketAddr>, RuntimeError>;

    /// Where a service keeps files that outlive it.
    ///
    /// # Errors
    /// If the runtime cannot be asked.
    fn storage(&self, service: &str) -> Result<Vec<Storage>, RuntimeError>;

    /// Files of this machine that say how a service is run and that only the runtime knows: its unit, what adds to it, files
    /// with its environment. One that is named may not exist. Empty where there are none.
    ///
    /// # Errors
    /// If the runtime cannot be asked.
    fn configuration(&self, service: &str) -> Result<Vec<PathBuf>, RuntimeError> {
        let _ = service;
        Ok(Vec::new())
    }

    /// Opens storage of a service, running or not, for reading and writing.
    ///
    /// # Errors
    /// [`RuntimeError`].
    fn open_storage(
        &self,
        service: &str,
        storage: &Storage,
    ) -> Result<Box<dyn StorageAccess>, RuntimeError>;

    /// Makes a second instance of a service: the same program, storage of its own, no network.
    ///
    /// # Errors
    /// [`RuntimeError`].
    fn sandbox(
        &self,
        service: &str,
        request: &SandboxRequest,
    ) -> Result<Box<dyn Sandbox>, RuntimeError>;
}

/// Which part of a log.
#[derive(Clone, Debug, Default)]
pub struct LogRequest {
    /// The last so many lines; all if `None`.
    pub tail: Option<u64>,
    /// What was logged since then.
    pub since: Option<Timestamp>,
    /// Goes on with what is logged from now on, until the service ends or the writer refuses.
    pub follow: bool,
}

/// A command to be run where a service runs.
#[derive(Clone, Debug, Default)]
pub struct ExecCommand {
    /// Program and arguments; no shell is asked.
    pub argv: Vec<String>,
    /// Added to the service's environment. This is the place for secrets: arguments are seen by everybody.
    pub env: Vec<(String, String)>,
    /// Name or number; the service's own if `None`.
    pub user: Option<String>,
    /// Where it begins; the service's own directory if `None`.
    pub directory: Option<PathBuf>,
    /// After this it is killed.
    pub limit: Option<Duration>,
}

/// The ends of a command's streams.
pub struct ExecStreams<'a> {
    /// What it reads; nothing if `None`.
    pub stdin: Option<&'a mut (dyn Read + Send)>,
    /// Where its output goes.
    pub stdout: &'a mut (dyn Write + Send),
    /// Where its complaints go.
    pub stderr: &'a mut (dyn Write + Send),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecOutcome {
    /// 0 for success; 128 and the number of the signal if it was killed by one.
    pub exit_code: i64,
}

/// What a sandbox shall have.
#[derive(Clone, Debug, Default)]
pub struct SandboxRequest {
    /// Program and arguments instead of the service's own.
    pub command: Option<Vec<String>>,
    /// Added to the service's environment.
    pub env: Vec<(String, String)>,
    /// Directories of this machine, and where the sandbox sees them.
    pub mounts: Vec<(PathBuf, PathBuf)>,
}

/// A second instance of a service. Nothing is left of it when it is dropped.
pub trait Sandbox: Send {
    /// Starts it.
    ///
    /// # Errors
    /// [`RuntimeError`].
    fn start(&mut self) -> Result<(), RuntimeError>;

    /// How it is.
    ///
    /// # Errors
    /// [`RuntimeError`].
    fn state(&self) -> Result<ServiceState, RuntimeError>;

    /// As [`Runtime::exec`].
    ///
    /// # Errors
    /// [`RuntimeError`].
    fn exec(
        &self,
        command: &ExecCommand,
        streams: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError>;

    /// As [`Runtime::logs`].
    ///
    /// # Errors
    /// [`RuntimeError`].
    fn logs(&self, request: &LogRequest, out: &mut dyn Write) -> Result<(), RuntimeError>;
}

/// The runtime that the configuration names. Asks nothing of it yet.
///
/// # Errors
/// [`RuntimeError::Unsupported`] for a kind that this version cannot use.
pub fn open(stack: &Stack) -> Result<Arc<dyn Runtime>, RuntimeError> {
    match &stack.runtime {
        Kind::Process => Ok(Arc::new(process::ProcessRuntime::open(stack)?)),
        Kind::Compose { project, .. } => {
            let project = project.as_deref().unwrap_or(stack.name.as_str());
            Ok(Arc::new(docker::Docker::open(project)?))
        }
        Kind::Systemd { .. } => Ok(Arc::new(systemd::Systemd::open(stack))),
        other => Err(RuntimeError::Unsupported {
            runtime: format!("{other:?}"),
            what: "is not supported by this version".to_owned(),
        }),
    }
}
