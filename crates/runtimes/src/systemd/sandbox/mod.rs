//! A second instance of a unit: units of our own that systemd makes for us, and of which nothing stays.
//!
//! One of them keeps what all share, a network without links and directories of its own below `/run`; the service and each
//! command are further ones that join it, are bound to it, and see the machine as it does. All are gone with the first,
//! whatever becomes of this process: what a killed one left is ended by the next sandbox, or after a day.
//!
//! systemd enters namespaces itself, so that no process of ours needs to; and what a unit is told can be read by everybody,
//! so variables are written to a file in the sandbox.

mod leftovers;
mod likeness;
mod places;
mod run;
mod streams;

use std::{
    ffi::OsString,
    hash::{BuildHasher as _, RandomState},
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use zbus::Variant;

use self::{leftovers::PREFIX, places::Places};
use super::{
    bus::{Manager, Property},
    change::Change,
    facts::Facts,
    failure::{Doing, Failure},
    logs::Journal,
    state::state_of,
};
use crate::{
    ExecCommand, ExecOutcome, ExecStreams, LogRequest, RunState, RuntimeError, Sandbox,
    SandboxRequest, ServiceState, Storage, owner,
};

const DOING: &str = "make a sandbox of";

/// What lasts longer was forgotten.
const LIFE_MICROSECONDS: u64 = 24 * 3600 * 1_000_000;

/// How long something of a sandbox may take to end before it is killed.
const END_MICROSECONDS: u64 = 2_000_000;

/// What a sandbox is made of.
pub(super) struct Template<'a> {
    pub service: &'a str,
    pub facts: Facts,
    pub declared: &'a [Storage],
    pub journalctl: &'a [OsString],
}

/// A sandbox of a unit.
pub(super) struct UnitSandbox {
    manager: Arc<Manager>,
    journalctl: Vec<OsString>,
    service: String,
    owner: String,
    facts: Facts,
    request: SandboxRequest,
    places: Places,
    /// The names of its units begin with this; the one that keeps what they share has it alone.
    name: String,
    made: AtomicU32,
    /// The unit of the service, once it was started.
    started: Option<String>,
}

impl UnitSandbox {
    pub fn make(
        manager: &Arc<Manager>,
        template: Template<'_>,
        request: &SandboxRequest,
    ) -> Result<Self, RuntimeError> {
        let Template {
            service,
            facts,
            declared,
            journalctl,
        } = template;
        if let Some(why) = likeness::refusal(&facts, request.command.is_none()) {
            return Err(RuntimeError::Unsupported {
                runtime: manager.bus.to_string(),
                what: format!("cannot make a sandbox of `{service}`: {why}"),
            });
        }
        let name = new_name();
        let owner = owner::this_process().map_err(|source| RuntimeError::Io {
            doing: "find out who we are".to_owned(),
            source,
        })?;
        let sandbox = Self {
            manager: Arc::clone(manager),
            journalctl: journalctl.to_vec(),
            service: service.to_owned(),
            owner,
            places: Places::of(&name, &facts, declared, &request.mounts),
            facts,
            request: request.clone(),
            name,
            made: AtomicU32::new(0),
            started: None,
        };
        sandbox.check_mounts()?;
        if let Err(failure) = leftovers::sweep(manager) {
            let error = sandbox.doing(DOING).explain(failure);
            tracing::warn!(%error, "what an earlier process left could not be ended");
        }
        sandbox.hold()?;
        Ok(sandbox)
    }

    fn check_mounts(&self) -> Result<(), RuntimeError> {
        let absent = self.request.mounts.iter().find(|(here, _)| !here.exists());
        if let Some((here, _)) = absent {
            let reason = format!("there is no {}", here.display());
            return Err(self.doing(DOING).failed(reason, None));
        }
        let Some(inside) = self.places.baseless() else {
            return Ok(());
        };
        let hint = "make an empty directory there: systemd would, and it would stay".to_owned();
        let reason = format!("there is nothing at {} to be covered", inside.display());
        Err(self.doing(DOING).failed(reason, Some(hint)))
    }

    /// Starts what keeps the network and the directories, and has it write down the variables that were asked for.
    fn hold(&self) -> Result<(), RuntimeError> {
        let script = format!(
            "umask 077; cat > {} && echo ready && exec sleep infinity >/dev/null </dev/null",
            self.variables_file("env").display()
        );
        let variables = run::variables(&self.request.env);
        let io = |source| RuntimeError::Io {
            doing: "make a pipe to systemd".to_owned(),
            source,
        };
        let (pipes, ends) = streams::Pipes::new(true).map_err(io)?;
        let mut properties = self.view();
        properties.extend(
            likeness::settings(&self.facts)
                .into_iter()
                .filter(is_of_user),
        );
        properties.extend(ends);
        properties.push(self.places.made());
        properties.push(("Type", "exec".to_owned().into()));
        properties.push(("RuntimeMaxUSec", LIFE_MICROSECONDS.into()));
        properties.push(run::shell(&["/bin/sh", "-c", &script].map(str::to_owned)));
        let holder = self.holder();
        self.start_unit(DOING, &holder, &properties)?;
        // Until these are closed, nobody sees that the other side closed its own.
        drop(properties);
        match pipes.say(variables.as_bytes()) {
            Ok(line) if line == "ready\n" => Ok(()),
            Ok(_) => {
                let reason = "its directory could not be written to".to_owned();
                let hint = format!("`journalctl --unit {holder}` says more");
                Err(self.doing(DOING).failed(reason, Some(hint)))
            }
            Err(error) => Err(io(error)),
        }
    }

    /// What every unit of the sandbox is told.
    fn view(&self) -> Vec<Property> {
        let mut all: Vec<Property> = vec![
            (
                "Description",
                leftovers::description(&self.service, &self.owner).into(),
            ),
            ("CollectMode", "inactive-or-failed".to_owned().into()),
            // Our connection holds it, so that systemd remembers how it ended.
            ("AddRef", true.into()),
            ("PrivateNetwork", true.into()),
            ("TimeoutStopUSec", END_MICROSECONDS.into()),
        ];
        all.extend(self.places.view());
        all
    }

    /// What those are told that join the first.
    fn joined(&self) -> Vec<Property> {
        let holder = vec![self.holder()];
        let mut all = self.view();
        for name in ["BindsTo", "After", "JoinsNamespaceOf"] {
            all.push((name, holder.clone().into()));
        }
        all
    }

    fn holder(&self) -> String {
        format!("{}.service", self.name)
    }

    fn next_unit(&self) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}.service", self.name)
    }

    fn variables_file(&self, name: &str) -> PathBuf {
        self.places.home().join(name)
    }

    /// Files with variables: those of the unit, then what was asked for, then others.
    fn variables_files(&self, more: Option<&PathBuf>) -> Property {
        let mut files = likeness::pairs(&self.facts);
        let own = self.variables_file("env");
        for file in std::iter::once(&own).chain(more) {
            files.push((file.display().to_string(), false));
        }
        ("EnvironmentFiles", files.into())
    }

    fn start_unit(
        &self,
        doing: &str,
        unit: &str,
        properties: &[Property],
    ) -> Result<(), RuntimeError> {
        let change = Change {
            manager: &self.manager,
            doing: Doing {
                what: doing,
                service: &self.service,
                unit,
            },
        };
        let job = self.manager.start_transient(unit, properties);
        change.follow(job.map_err(|failure| change.explain(failure))?)
    }

    fn doing<'a>(&'a self, what: &'a str) -> Here<'a> {
        Here {
            sandbox: self,
            what,
        }
    }
}

/// What is being done with a sandbox, for errors.
struct Here<'a> {
    sandbox: &'a UnitSandbox,
    what: &'a str,
}

impl Here<'_> {
    fn failed(&self, reason: String, hint: Option<String>) -> RuntimeError {
        RuntimeError::Failed {
            doing: self.what.to_owned(),
            service: self.sandbox.service.clone(),
            reason,
            hint,
        }
    }

    fn explain(&self, failure: Failure) -> RuntimeError {
        failure.explain(Doing {
            what: self.what,
            service: &self.sandbox.service,
            unit: &self.sandbox.holder(),
        })
    }
}

/// The directories are made for the user that the program runs as.
fn is_of_user(property: &Property) -> bool {
    matches!(property.0, "User" | "Group" | "SupplementaryGroups")
}

/// A name that no other sandbox has, of whatever process.
fn new_name() -> String {
    let random = RandomState::new().hash_one(std::process::id());
    format!("{PREFIX}{random:016x}")
}

impl Sandbox for UnitSandbox {
    fn start(&mut self) -> Result<(), RuntimeError> {
        let unit = self.next_unit();
        let mut properties = self.joined();
        let settings = likeness::settings(&self.facts).into_iter();
        properties.extend(settings.filter(|(name, _)| *name != "EnvironmentFiles"));
        properties.push(self.variables_files(None));
        match &self.request.command {
            Some(command) => properties.push(run::shell(&run::by_path(command))),
            None => properties.extend(likeness::program(&self.facts)),
        }
        if let Some(before) = self.started.take()
            && let Err(failure) = leftovers::end(&self.manager, &before)
        {
            return Err(self.doing("start the sandbox of").explain(failure));
        }
        self.started = Some(unit.clone());
        self.start_unit("start the sandbox of", &unit, &properties)
    }

    fn state(&self) -> Result<ServiceState, RuntimeError> {
        let Some(unit) = &self.started else {
            return Ok(ServiceState {
                run: RunState::Created,
                ..ServiceState::absent(&self.service)
            });
        };
        let facts = super::change::facts(&self.manager, unit)
            .map_err(|failure| self.doing("look at the sandbox of").explain(failure))?;
        Ok(state_of(&self.service, unit, &facts, &[]))
    }

    fn exec(
        &self,
        command: &ExecCommand,
        streams: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError> {
        self.run(command, streams)
    }

    fn logs(&self, request: &LogRequest, out: &mut dyn Write) -> Result<(), RuntimeError> {
        let Some(unit) = &self.started else {
            return Ok(());
        };
        let journal = Journal {
            program: &self.journalctl,
            unit,
            of_user: false,
        };
        let goes_on = || {
            self.state()
                .is_ok_and(|state| state.run == RunState::Running)
        };
        journal
            .write(request, out, &goes_on)
            .map_err(|error: io::Error| {
                self.doing("read the log of the sandbox of")
                    .failed(error.to_string(), None)
            })
    }
}

impl Drop for UnitSandbox {
    fn drop(&mut self) {
        let started = self.started.take().into_iter();
        for unit in started.chain([self.holder()]) {
            if let Err(failure) = leftovers::end(&self.manager, &unit) {
                let error = self.doing("end the sandbox of").explain(failure);
                // The next one that is made finds it by its name.
                tracing::warn!(%error, unit, "a sandbox may be left; it will be ended next time");
            }
        }
    }
}

/// A text as a property holds it.
fn text(text: impl Into<String>) -> Variant<'static> {
    text.into().into()
}
