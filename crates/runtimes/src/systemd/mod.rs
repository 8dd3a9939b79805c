//! Units of systemd, over D-Bus.
//!
//! A service is the unit that its `unit:` names, `NAME.service` without it. Start at [`Systemd`]; what is asked goes
//! through `bus.rs`, changes are jobs in `change.rs`, and what systemd says becomes a state in `state.rs`, which asks
//! nothing. Sandboxes are in `sandbox/`.
//!
//! Absent on purpose: writing units to disk, enabling them, and signals that stop processes without systemd's knowing.

mod address;
mod bus;
mod change;
mod exec;
mod facts;
mod failure;
mod logs;
mod sandbox;
mod state;
mod storage;
mod survey;

use std::{
    ffi::OsString,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rekindle_stack::{Runtime as Kind, Stack};

pub use self::{address::Bus, survey::survey};
use self::{
    bus::Manager,
    change::Change,
    facts::Facts,
    failure::Doing,
    logs::Journal,
    sandbox::{Template, UnitSandbox},
};
use crate::{
    ExecCommand, ExecOutcome, ExecStreams, LogRequest, RunState, Runtime, RuntimeError, Sandbox,
    SandboxRequest, ServiceState, Storage, StorageAccess, directory::DirectoryAccess,
    process::declared_storage,
};

/// Runs the services of a stack as units of systemd.
pub struct Systemd {
    manager: Arc<Manager>,
    services: Vec<Service>,
    journalctl: Vec<OsString>,
}

struct Service {
    name: String,
    unit: String,
    /// What its datasets name.
    declared: Vec<Storage>,
}

impl Systemd {
    /// On the bus that the configuration names. Nothing is asked yet.
    #[must_use]
    pub fn open(stack: &Stack) -> Self {
        let name = match &stack.runtime {
            Kind::Systemd { bus } => bus.as_deref(),
            _ => None,
        };
        Self::at(stack, Bus::named(name), vec!["journalctl".into()])
    }

    /// On a bus; `journalctl` are the words that run that program where the journal of its units is.
    #[must_use]
    pub fn at(stack: &Stack, bus: Bus, journalctl: Vec<OsString>) -> Self {
        let service = |service: &rekindle_stack::Service| Service {
            name: service.name.to_string(),
            unit: service.unit(),
            declared: declared_storage(service),
        };
        Self {
            manager: Arc::new(Manager::new(bus)),
            services: stack.services.iter().map(service).collect(),
            journalctl,
        }
    }

    fn service(&self, name: &str) -> Result<&Service, RuntimeError> {
        let found = self.services.iter().find(|service| service.name == name);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.services.iter().map(|it| it.name.as_str()).collect();
            RuntimeError::NoService {
                runtime: self.describe(),
                service: name.to_owned(),
                known: known.join(", "),
            }
        })
    }

    fn change<'a>(&'a self, what: &'a str, name: &'a str) -> Result<Change<'a>, RuntimeError> {
        let service = self.service(name)?;
        let doing = Doing {
            what,
            service: name,
            unit: &service.unit,
        };
        Ok(Change {
            manager: &self.manager,
            doing,
        })
    }

    /// A unit that is there, and what systemd says of it.
    fn there<'a>(
        &'a self,
        what: &'a str,
        name: &'a str,
    ) -> Result<(Change<'a>, Facts), RuntimeError> {
        let change = self.change(what, name)?;
        let facts = change.facts()?;
        if facts.is_absent() {
            let unit = change.doing.unit;
            let hint = Some(failure::not_there(unit));
            return Err(change.failed(format!("there is no unit {unit}"), hint));
        }
        Ok((change, facts))
    }

    fn look(&self, service: &Service) -> Result<ServiceState, RuntimeError> {
        let facts = self.change("look at", &service.name)?.facts()?;
        let units = self
            .services
            .iter()
            .map(|it| (it.name.clone(), it.unit.clone()));
        let units: Vec<_> = units.collect();
        Ok(state::state_of(
            &service.name,
            &service.unit,
            &facts,
            &units,
        ))
    }

    fn is_of_user(&self) -> bool {
        self.manager.bus == Bus::User
    }
}

impl Runtime for Systemd {
    fn describe(&self) -> String {
        self.manager.bus.to_string()
    }

    fn list(&self) -> Result<Vec<ServiceState>, RuntimeError> {
        self.services
            .iter()
            .map(|service| self.look(service))
            .collect()
    }

    fn state(&self, service: &str) -> Result<ServiceState, RuntimeError> {
        match self.service(service) {
            Ok(service) => self.look(service),
            Err(_) => Ok(ServiceState::absent(service)),
        }
    }

    fn start(&self, service: &str) -> Result<(), RuntimeError> {
        let (change, facts) = self.there("start", service)?;
        change.start(&facts)
    }

    fn stop(&self, service: &str, limit: Duration) -> Result<(), RuntimeError> {
        let (change, facts) = self.there("stop", service)?;
        change.stop(&facts, limit)
    }

    fn pause(&self, service: &str) -> Result<(), RuntimeError> {
        let (change, facts) = self.there("pause", service)?;
        if facts.is_down() {
            return Err(change.failed("it does not run".to_owned(), None));
        }
        if facts.is_frozen() {
            return Ok(());
        }
        change.call("FreezeUnit")
    }

    fn resume(&self, service: &str) -> Result<(), RuntimeError> {
        let (change, facts) = self.there("resume", service)?;
        if facts.is_frozen() {
            return change.call("ThawUnit");
        }
        Ok(())
    }

    fn logs(
        &self,
        service: &str,
        request: &LogRequest,
        out: &mut dyn Write,
    ) -> Result<(), RuntimeError> {
        let doing = "read the log of";
        let (change, _) = self.there(doing, service)?;
        let goes_on = || {
            let state = self.state(service);
            let states = [RunState::Running, RunState::Paused, RunState::Restarting];
            state.is_ok_and(|state| states.contains(&state.run))
        };
        let journal = Journal {
            program: &self.journalctl,
            unit: change.doing.unit,
            of_user: self.is_of_user(),
        };
        journal.write(request, out, &goes_on).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => {
                    "the program `journalctl` was not found; the log is read by it (Debian: part of systemd)"
                }
                _ => "who may read the journal: root, and members of the group systemd-journal",
            };
            change.failed(error.to_string(), Some(hint.to_owned()))
        })
    }

    fn exec(
        &self,
        service: &str,
        command: &ExecCommand,
        streams: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError> {
        let (_, facts) = self.there("run a command as", service)?;
        exec::run(service, &facts, command, streams)
    }

    fn address(&self, service: &str, port: u16) -> Result<Option<SocketAddr>, RuntimeError> {
        let (_, facts) = self.there("find the address of", service)?;
        // A unit has the machine's network, unless it was given none or another one.
        let is_apart = facts.is("PrivateNetwork") || !facts.text("NetworkNamespacePath").is_empty();
        Ok((!is_apart).then(|| (Ipv4Addr::LOCALHOST, port).into()))
    }

    fn storage(&self, service: &str) -> Result<Vec<Storage>, RuntimeError> {
        let facts = self.change("find the files of", service)?.facts()?;
        let declared = &self.service(service)?.declared;
        if exec::other_root(&facts).is_some() {
            // What its other properties name lies in there.
            return Ok(declared.clone());
        }
        Ok(storage::storage_of(&facts, declared, self.is_of_user()))
    }

    /// The unit's own file, its drop-ins in the order in which they count, its files with variables.
    fn configuration(&self, service: &str) -> Result<Vec<PathBuf>, RuntimeError> {
        let facts = self.change("find the files of", service)?.facts()?;
        let own = [facts.text("FragmentPath"), facts.text("SourcePath")].into_iter();
        let variables = facts.list("EnvironmentFiles").iter();
        let variables = variables.filter_map(|file| file.get(0)?.as_str());
        let all = own.chain(facts.texts("DropInPaths")).chain(variables);
        Ok(all
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .collect())
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
        let (_, facts) = self.there("make a sandbox of", service)?;
        if self.is_of_user() {
            return Err(RuntimeError::Unsupported {
                runtime: self.describe(),
                what:
                    "cannot make a sandbox: only root's systemd gives a unit a network of its own"
                        .to_owned(),
            });
        }
        let template = Template {
            service,
            facts,
            declared: &self.service(service)?.declared,
            journalctl: &self.journalctl,
        };
        let sandbox = UnitSandbox::make(&self.manager, template, request)?;
        Ok(Box::new(sandbox))
    }
}
