//! Services of a Compose project, through the engine's API.
//!
//! Start at [`Docker`]. Its services are the containers with the exact labels that Compose wrote onto them, so that a
//! lost Compose file loses nothing; only where a container is gone the Compose command makes it again
//! ([`Docker::compose_up`]). Requests name no version of the API: an engine of any age answers in its own, and Podman
//! does, too.
//!
//! `labels.rs`, `state.rs`, `address.rs`, `storage.rs` decide, without I/O; `engine.rs` asks, with a limit on every
//! question; `failure.rs` says what a refusal is called and what to do about it.

mod access;
mod address;
mod compose;
mod compose_file;
mod containers;
mod dialect;
mod endpoint;
mod engine;
mod exec;
mod failure;
mod helper;
mod kill;
mod labels;
mod lifecycle;
mod logs;
mod pack;
mod prefix;
mod project;
mod sandbox;
mod state;
mod storage;
mod tarball;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use compose::{ComposeFiles, Up};
pub use endpoint::{Endpoint, Found, Surroundings};

use access::Access;
use containers::{Container, foremost, id_of, labels_of, of_project, of_service};
use engine::{Doing, Engine};
use exec::{Inside, exec};
use sandbox::DockerSandbox;

use rekindle_stack::compose::Project;

use crate::{
    Dependency, ExecCommand, ExecOutcome, ExecStreams, LogRequest, Runtime, RuntimeError, Sandbox,
    SandboxRequest, ServiceState, Storage, StorageAccess,
};

/// The services of one Compose project.
#[derive(Debug)]
pub struct Docker {
    engine: Arc<Engine>,
    project: String,
}

impl Docker {
    /// The project of that name on the engine that the environment names. Nothing is asked yet.
    ///
    /// # Errors
    /// [`RuntimeError::Unreachable`] if `DOCKER_HOST` cannot be used.
    pub fn open(project: &str) -> Result<Self, RuntimeError> {
        let endpoint = Endpoint::choose(&Surroundings::of_this_process(), Found::at)?;
        Ok(Self::at(endpoint, project))
    }

    /// The project of that name on a certain engine. Nothing is asked yet.
    pub fn at(endpoint: Endpoint, project: &str) -> Self {
        Self {
            engine: Arc::new(Engine::new(endpoint)),
            project: project.into(),
        }
    }

    /// The project's name.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Where the labels of the project's containers say that it is described; `None` if there is no container, or
    /// they do not say.
    ///
    /// # Errors
    /// As [`Runtime::list`].
    pub fn compose_files(&self) -> Result<Option<ComposeFiles>, RuntimeError> {
        let services = of_project(&self.engine, &self.project)?;
        let mut containers = services.values().flatten();
        Ok(containers.find_map(|container| ComposeFiles::of(labels_of(container)?)))
    }

    /// The project as its containers tell it: images, environment, storage, ports, dependencies, health checks. Its
    /// [`Project::files`] are empty. `None` if it has no containers.
    ///
    /// # Errors
    /// As [`Runtime::list`].
    pub fn project_of_containers(&self) -> Result<Option<Project>, RuntimeError> {
        let services = of_project(&self.engine, &self.project)?;
        Ok(project::project_of(&self.project, &services))
    }

    /// Asks where the engine keeps the volumes of a project, and notes it at each. Of an engine elsewhere nothing is noted,
    /// because its directories are not of this machine.
    ///
    /// # Errors
    /// [`RuntimeError`] if it does not answer within 10 s; volumes that it told of are noted.
    pub fn locate_volumes(&self, project: &mut Project) -> Result<(), RuntimeError> {
        volumes::locate(&self.engine, project)
    }

    /// The names of all projects that have containers on this engine, also stopped ones.
    ///
    /// # Errors
    /// As [`Runtime::list`].
    pub fn projects(&self) -> Result<BTreeSet<String>, RuntimeError> {
        containers::projects(&self.engine)
    }

    /// Which engine it is, and where: `Docker at unix:///var/run/docker.sock`.
    pub fn engine_name(&self) -> String {
        self.engine.name()
    }

    /// Makes containers that are gone, by the Compose command, and starts them if told to. Services of profiles must
    /// be named; without names it is all others. Images are neither built nor pulled anew.
    ///
    /// # Errors
    /// [`RuntimeError`] without Compose, without a Compose file, or with Compose's own words.
    pub fn compose_up(
        &self,
        compose: &ComposeFiles,
        services: &[&str],
        how: Up,
    ) -> Result<(), RuntimeError> {
        compose::up(
            self.engine.endpoint(),
            &self.project,
            compose,
            services,
            how,
        )
    }

    fn states(&self, services: &BTreeMap<String, Vec<Container>>) -> Vec<ServiceState> {
        // Read once, and only if some container does not say what it depends on.
        let mut from_files: Option<BTreeMap<String, Vec<Dependency>>> = None;
        let mut needs_of = |name: &str, containers: &[Container]| {
            let labels = containers.first().and_then(labels_of);
            let Some(labels) = labels else {
                return Vec::new();
            };
            let needs = labels::depends_on(labels);
            needs.unwrap_or_else(|| {
                let all = from_files.get_or_insert_with(|| compose_file::dependencies(labels));
                all.get(name).cloned().unwrap_or_default()
            })
        };
        let states = services.iter().map(|(name, containers)| {
            let needs = needs_of(name, containers);
            state::state_of(name, containers, needs)
        });
        states.collect()
    }
}

impl Runtime for Docker {
    fn describe(&self) -> String {
        format!("{}, project {}", self.engine.name(), self.project)
    }

    fn list(&self) -> Result<Vec<ServiceState>, RuntimeError> {
        let services = of_project(&self.engine, &self.project)?;
        Ok(self.states(&services))
    }

    fn start(&self, service: &str) -> Result<(), RuntimeError> {
        lifecycle::start(&self.engine, &self.project, service)
    }

    fn stop(&self, service: &str, limit: Duration) -> Result<(), RuntimeError> {
        lifecycle::stop(&self.engine, &self.project, service, limit)
    }

    fn pause(&self, service: &str) -> Result<(), RuntimeError> {
        lifecycle::pause(&self.engine, &self.project, service)
    }

    fn resume(&self, service: &str) -> Result<(), RuntimeError> {
        lifecycle::resume(&self.engine, &self.project, service)
    }

    fn logs(
        &self,
        service: &str,
        request: &LogRequest,
        out: &mut dyn Write,
    ) -> Result<(), RuntimeError> {
        let doing = Doing {
            what: "read the log of",
            service,
        };
        let containers = of_service(&self.engine, &self.project, doing)?;
        logs::logs(&self.engine, doing, &containers, request, out)
    }

    fn exec(
        &self,
        service: &str,
        command: &ExecCommand,
        streams: ExecStreams<'_>,
    ) -> Result<ExecOutcome, RuntimeError> {
        let doing = Doing {
            what: "run a command in",
            service,
        };
        let container = id_of(&foremost(&self.engine, &self.project, doing)?);
        let inside = Inside {
            engine: &self.engine,
            container: &container,
            service,
        };
        exec(inside, command, streams)
    }

    fn command_prefix(
        &self,
        service: &str,
        env: &[&str],
    ) -> Result<Option<Vec<OsString>>, RuntimeError> {
        let doing = Doing {
            what: "find the container of",
            service,
        };
        let container = foremost(&self.engine, &self.project, doing)?;
        let is_podman = self.engine.is_podman(doing)?;
        Ok(prefix::prefix(
            self.engine.endpoint(),
            is_podman,
            &id_of(&container),
            env,
        ))
    }

    fn address(&self, service: &str, port: u16) -> Result<Option<SocketAddr>, RuntimeError> {
        let doing = Doing {
            what: "find the address of",
            service,
        };
        let container = foremost(&self.engine, &self.project, doing)?;
        address::address(&self.engine, doing, &container, port)
    }

    fn storage(&self, service: &str) -> Result<Vec<Storage>, RuntimeError> {
        let doing = Doing {
            what: "find the storage of",
            service,
        };
        let containers = of_service(&self.engine, &self.project, doing)?;
        let found = storage::storage_of(&containers).into_iter();
        Ok(found
            .map(|one| one.seen_from_here(&self.engine, doing))
            .collect())
    }

    fn open_storage(
        &self,
        service: &str,
        storage: &Storage,
    ) -> Result<Box<dyn StorageAccess>, RuntimeError> {
        let doing = Doing {
            what: "open the storage of",
            service,
        };
        let containers = of_service(&self.engine, &self.project, doing)?;
        // An anonymous volume belongs to one container of the service, and not to the others.
        let mut found = storage::storage_of(&containers).into_iter();
        let Some(found) = found.find(|one| storage::is_same(&one.storage, storage)) else {
            return Err(RuntimeError::Failed {
                doing: doing.what.into(),
                service: service.into(),
                reason: format!(
                    "it has no {} at {} any more",
                    storage.name,
                    storage.inside.display()
                ),
                hint: Some(
                    "was its container made again meanwhile, by a changed Compose file?".into(),
                ),
            });
        };
        Ok(Box::new(Access {
            engine: Arc::clone(&self.engine),
            service: service.into(),
            container: found.container,
            inside: storage.inside.clone(),
        }))
    }

    fn sandbox(
        &self,
        service: &str,
        request: &SandboxRequest,
    ) -> Result<Box<dyn Sandbox>, RuntimeError> {
        let doing = Doing {
            what: "make a sandbox of",
            service,
        };
        let container = foremost(&self.engine, &self.project, doing)?;
        Ok(Box::new(DockerSandbox::create(
            &self.engine,
            service,
            &container,
            request,
        )?))
    }
}
