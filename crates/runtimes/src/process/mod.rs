//! Ordinary processes, each watched by a small supervisor of its own.
//!
//! A service is run here if it has `run:` in `rekindle.yaml`; of all others it is only known that
//! they are there. Start at [`ProcessRuntime`]; the supervisor's side is `supervisor/`, how one is
//! started and asked to stop is `launch.rs`, where its state lies is `place.rs`.
//!
//! Absent on purpose: programs that put themselves into the background. Nobody could tell whether
//! they run.

mod env;
mod launch;
mod logs;
mod place;
mod record;
mod sandbox;
mod services;
mod state;
mod supervisor;

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use rekindle_stack::{Run, Stack};
use rustix::process::Signal;

pub(crate) use self::{
    env::{become_group, furnish, passed_on, read_env_file},
    place::FileLock,
    services::{needs, storage as declared_storage},
};
pub use self::{
    launch::SupervisorProgram,
    supervisor::{detach, supervise},
};
use self::{
    place::Place,
    record::Record,
    services::{Described, describe, spec},
};
use crate::{
    ExecCommand, ExecOutcome, ExecStreams, LogRequest, RunState, Runtime, RuntimeError, Sandbox,
    SandboxRequest, ServiceState, Storage, StorageAccess,
    command::{self, CommandError},
    directory::DirectoryAccess,
};

/// How long another command may take to change the same service.
const OTHERS: Duration = Duration::from_secs(120);

/// Runs the services of a stack as ordinary processes.
pub struct ProcessRuntime {
    stack: String,
    services: Vec<Described>,
    directory: PathBuf,
    program: SupervisorProgram,
}

impl ProcessRuntime {
    /// Of the stack's services, with their state where it usually lies.
    ///
    /// # Errors
    /// If the system does not say which program this is, which becomes the supervisors'.
    pub fn open(stack: &Stack) -> Result<Self, RuntimeError> {
        let program = SupervisorProgram::ourselves().map_err(|source| RuntimeError::Io {
            doing: "find this program".to_owned(),
            source,
        })?;
        let directory = place::run_directory();
        Ok(Self::new(stack, directory, program))
    }

    /// With the state of all stacks in `directory`, and `program` as supervisor.
    #[must_use]
    pub fn new(stack: &Stack, directory: PathBuf, program: SupervisorProgram) -> Self {
        Self {
            stack: stack.name.to_string(),
            services: describe(stack),
            directory: directory.join(stack.name.as_str()),
            program,
        }
    }

    fn service(&self, name: &str) -> Result<&Described, RuntimeError> {
        let found = self.services.iter().find(|service| service.name == name);
        found.ok_or_else(|| RuntimeError::NoService {
            runtime: self.describe(),
            service: name.to_owned(),
            known: self
                .services
                .iter()
                .map(|service| service.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// A service that is run here.
    fn ours(&self, name: &str, doing: &str) -> Result<(&Described, &Run, Place), RuntimeError> {
        let service = self.service(name)?;
        let run = service.run.as_ref().ok_or_else(|| RuntimeError::Failed {
            doing: doing.to_owned(),
            service: name.to_owned(),
            reason: "something else runs it".to_owned(),
            hint: Some(format!(
                "say how in rekindle.yaml: `run: {{ command: [ … ] }}` of `{name}`"
            )),
        })?;
        Ok((service, run, Place::of(&self.directory, name)))
    }

    /// Keeps other commands from changing the service meanwhile.
    fn alone(&self, name: &str, doing: &str, place: &Place) -> Result<FileLock, RuntimeError> {
        let failed = failure(doing, name);
        place.make().map_err(&failed)?;
        let lock = FileLock::take(&place.clients_lock(), OTHERS).map_err(&failed)?;
        lock.ok_or_else(|| failed(io::Error::other("another command is changing it")))
    }

    /// Sends a signal to all of a service that runs.
    fn signal(&self, name: &str, doing: &str, signal: Signal) -> Result<(), RuntimeError> {
        let (_, _, place) = self.ours(name, doing)?;
        let failed = failure(doing, name);
        let record = Record::read(&place).map_err(&failed)?;
        let child = record.and_then(|record| record.child);
        match child.filter(|child| child.is_alive()) {
            Some(child) => child.signal_group(signal).map_err(failed),
            None => Err(failed(io::Error::other("it does not run"))),
        }
    }
}

/// What went wrong with a service.
fn failure<'a>(doing: &'a str, service: &'a str) -> impl Fn(io::Error) -> RuntimeError + 'a {
    move |error| RuntimeError::Failed {
        doing: doing.to_owned(),
        service: service.to_owned(),
        reason: error.to_string(),
        hint: None,
    }
}

impl Runtime for ProcessRuntime {
    fn describe(&self) -> String {
        format!(
            "processes of stack {}, state in {}",
            self.stack,
            self.directory.display()
        )
    }

    fn list(&self) -> Result<Vec<ServiceState>, RuntimeError> {
        let states = self.services.iter().map(|service| self.look(service));
        states.collect()
    }

    fn state(&self, service: &str) -> Result<ServiceState, RuntimeError> {
        match self.service(service) {
            Ok(service) => self.look(service),
            Err(_) => Ok(ServiceState::absent(service)),
        }
    }

    fn start(&self, service: &str) -> Result<(), RuntimeError> {
        let (described, run, place) = self.ours(service, "start")?;
        let _lock = self.alone(service, "start", &place)?;
        let state = self.look(described)?;
        if matches!(
            state.run,
            RunState::Running | RunState::Paused | RunState::Restarting
        ) {
            return Ok(());
        }
        let failed = failure("start", service);
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|error| failed(io::Error::other(error)))?;
        let launch = format!("{:016x}", u64::from_le_bytes(bytes));
        let spec = spec(described, run, launch);
        let outcome = launch::launch(&self.program, &place, &spec);
        outcome.map(drop).map_err(failed)
    }

    fn stop(&self, service: &str, limit: Duration) -> Result<(), RuntimeError> {
        let (_, _, place) = self.ours(service, "stop")?;
        let _lock = self.alone(service, "stop", &place)?;
        let stopped = launch::stop(&place, limit).map_err(failure("stop", service))?;
        let service = service.to_owned();
        let doing = "stop".to_owned();
        stopped.then_some(()).ok_or(RuntimeError::TookTooLong {
            doing,
            service,
            limit,
        })
    }

    fn pause(&self, service: &str) -> Result<(), RuntimeError> {
        self.signal(service, "pause", Signal::STOP)
    }

    fn resume(&self, service: &str) -> Result<(), RuntimeError> {
        self.signal(service, "resume", Signal::CONT)
    }

    fn logs(
        &self,
        service: &str,
        request: &LogRequest,
        out: &mut dyn Write,
    ) -> Result<(), RuntimeError> {
        let (described, _, _) = self.ours(service, "read the log of")?;
        let goes_on = || {
            let state = self.look(described);
            let states = [RunState::Running, RunState::Paused, RunState::Restarting];
            state.is_ok_and(|state| states.contains(&state.run))
        };
        logs::write(&described.log, request, out, &goes_on)
            .map_err(failure("read the log of", service))
    }

    fn exec(
        &self,
        service: &str,
        command: &ExecCommand,
        streams: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError> {
        let (_, run, _) = self.ours(service, "run a command as")?;
        exec(
            service,
            run,
            command,
            Command::new(program_of(service, command)?),
            streams,
        )
    }

    fn address(&self, service: &str, port: u16) -> Result<Option<SocketAddr>, RuntimeError> {
        // Where something else runs it, its name may be that of another machine.
        let is_here = self.service(service)?.run.is_some();
        Ok(is_here.then(|| (Ipv4Addr::LOCALHOST, port).into()))
    }

    fn storage(&self, service: &str) -> Result<Vec<Storage>, RuntimeError> {
        Ok(self.service(service)?.storage.clone())
    }

    fn open_storage(
        &self,
        service: &str,
        storage: &Storage,
    ) -> Result<Box<dyn StorageAccess>, RuntimeError> {
        self.service(service)?;
        Ok(Box::new(DirectoryAccess::open(service, storage)?))
    }

    fn sandbox(
        &self,
        service: &str,
        request: &SandboxRequest,
    ) -> Result<Box<dyn Sandbox>, RuntimeError> {
        let (described, run, _) = self.ours(service, "make a sandbox of")?;
        let sandbox = sandbox::ProcessSandbox::make(described, run, request, &self.program)?;
        Ok(Box::new(sandbox))
    }
}

fn program_of<'a>(service: &str, command: &'a ExecCommand) -> Result<&'a str, RuntimeError> {
    let empty = || io::Error::other("the command is empty");
    let program = command.argv.first().ok_or_else(empty);
    program
        .map(String::as_str)
        .map_err(failure("run a command as", service))
}

/// Runs a command as a service would; `base` is the program, or what brings it about.
fn exec(
    service: &str,
    run: &Run,
    command: &ExecCommand,
    mut base: Command,
    streams: ExecStreams<'_>,
) -> Result<ExecOutcome, RuntimeError> {
    let doing = format!("run {} as", command.argv.first().map_or("", String::as_str));
    let failed = failure(&doing, service);
    let env = run
        .env
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()));
    let user = command.user.as_deref().or(run.user.as_deref());
    env::furnish(&mut base, &env.collect(), run.env_file.as_deref(), user).map_err(&failed)?;
    base.args(command.argv.iter().skip(1))
        .envs(command.env.iter().cloned());
    base.current_dir(command.directory.as_ref().unwrap_or(&run.directory));
    command::run(base, streams, command.limit).map_err(|error| match error {
        CommandError::Io(error) => failed(error),
        CommandError::TookTooLong(limit) => RuntimeError::TookTooLong {
            doing: doing.clone(),
            service: service.to_owned(),
            limit,
        },
    })
}
