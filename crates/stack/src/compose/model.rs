//! A project as types. `Debug` shows no value of any variable.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// A Compose project: of files, or of what a runtime says of running containers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Project {
    /// Its name, which begins the names of its containers and volumes.
    pub name: String,
    /// Where relative paths begin.
    pub directory: PathBuf,
    /// The files it was read from, in the order in which they were merged. Empty if it was made of
    /// running containers.
    pub files: Vec<PathBuf>,
    /// The `.env` file beside them, if there is one.
    pub env_file: Option<PathBuf>,
    /// The variables of that file.
    pub variables: BTreeMap<String, Secret>,
    /// What its first file says of its version, which old Compose programs need in every file.
    pub compose_version: Option<String>,
    /// Its services, by name.
    pub services: Vec<Service>,
    /// Its named volumes, by key.
    pub volumes: Vec<Volume>,
    /// Its networks, by key.
    pub networks: Vec<String>,
    /// Secrets that are files: key and file.
    pub secrets: BTreeMap<String, PathBuf>,
    /// What is wrong with the files, or could not be understood.
    pub notes: Vec<Note>,
}

impl Project {
    /// A project without services.
    pub fn new(name: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            directory: directory.into(),
            files: Vec::new(),
            env_file: None,
            variables: BTreeMap::new(),
            compose_version: None,
            services: Vec::new(),
            volumes: Vec::new(),
            networks: Vec::new(),
            secrets: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The named volume of that key.
    pub fn volume(&self, key: &str) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.key == key)
    }

    /// Every file that the configuration consists of: Compose files, `.env`, `env_file`s and secrets,
    /// each once, in this order.
    pub fn configuration_files(&self) -> Vec<PathBuf> {
        let of_services = self.services.iter().flat_map(|service| &service.env_files);
        let all = self.files.iter().chain(&self.env_file);
        let mut files: Vec<PathBuf> = Vec::new();
        for file in all.chain(of_services).chain(self.secrets.values()) {
            if !files.contains(file) {
                files.push(file.clone());
            }
        }
        files
    }
}

/// A service of a project.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The image, as it is written; `None` if it is only built.
    pub image: Option<String>,
    /// Whether it is built from a directory.
    pub is_built: bool,
    /// What is run in it, if the image's own command is replaced.
    pub command: Words,
    /// Its environment, `env_file`s included.
    pub environment: BTreeMap<String, Variable>,
    /// Files that its environment is read from.
    pub env_files: Vec<PathBuf>,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
    /// Ports it is reached at.
    pub ports: Vec<Port>,
    /// Services it needs.
    pub depends_on: Vec<Dependency>,
    /// How Docker sees that it is well.
    pub health: Option<HealthTest>,
    /// When Docker starts it again by itself; `None` if nothing is said, which means never.
    pub restart: Option<String>,
    /// Profiles that bring it up; without any it is always up.
    pub profiles: Vec<String>,
    /// Its name for Docker, if it is not made of project and service.
    pub container_name: Option<String>,
    /// Secrets it is given: key of the project, and name of the file below `/run/secrets`.
    pub secrets: Vec<(String, String)>,
    /// File and line it begins at; `None` if it was made of a container.
    pub place: Option<(PathBuf, usize)>,
}

impl Service {
    /// A service of which only the name is known.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// The value of a variable of its environment, if it has one that is not empty.
    pub fn value(&self, variable: &str) -> Option<&str> {
        let value = self.environment.get(variable)?.value.as_ref()?;
        Some(value.expose()).filter(|text| !text.is_empty())
    }

    /// The published port that leads to a port of the container.
    pub fn published(&self, target: u16) -> Option<&Port> {
        self.ports
            .iter()
            .find(|port| port.target == target && port.published.is_some())
    }

    /// What is mounted at a path, or above it; the deepest.
    pub fn mount_of(&self, path: &str) -> Option<&Mount> {
        let path = Path::new(path);
        self.mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.target))
            .max_by_key(|mount| mount.target.len())
    }
}

/// The words of a command. `Debug` shows the first, because others may be passwords.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl std::ops::Deref for Words {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_first() {
            None => f.write_str("nothing"),
            Some((first, rest)) => write!(f, "{first} and {} more", rest.len()),
        }
    }
}

/// A variable of a service's environment.
#[derive(Clone)]
#[non_exhaustive]
pub struct Variable {
    /// Its value; `None` if it is taken from the environment of Compose, where it is not set.
    pub value: Option<Secret>,
    /// Where the value comes from.
    pub origin: Origin,
}

impl Variable {
    /// A variable with this value.
    pub fn new(value: impl Into<String>, origin: Origin) -> Self {
        Self {
            value: Some(Secret::new(value)),
            origin,
        }
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_ref().map_or("not set", |_| "***");
        write!(f, "{value} from {:?}", self.origin)
    }
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Written in a Compose file, at least in part.
    Written,
    /// Nothing but another variable, which is set in the environment or in `.env`: its name.
    Variable(String),
    /// A line of an `env_file`.
    File(PathBuf),
    /// Told by a running container.
    Container,
}

/// Something mounted into a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// What.
    pub kind: MountKind,
    /// The path inside the service.
    pub target: String,
    /// Whether the service cannot write to it.
    pub read_only: bool,
}

impl Mount {
    /// Mounts `kind` at `target`.
    pub fn new(kind: MountKind, target: impl Into<String>, read_only: bool) -> Self {
        Self {
            kind,
            target: target.into(),
            read_only,
        }
    }
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountKind {
    /// A named volume, by its key in the project.
    Volume(String),
    /// A file or directory of the machine.
    Bind(PathBuf),
    /// A volume without a name, which goes with its container.
    Anonymous,
    /// Memory.
    Tmpfs,
    /// Something else: a named pipe, a cluster volume.
    Other(String),
}

/// A named volume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Volume {
    /// Its key in the project.
    pub key: String,
    /// Its name for Docker.
    pub name: String,
    /// Whether it was made outside of the project.
    pub external: bool,
    /// Its driver, if it is not `local`.
    pub driver: Option<String>,
    /// Where the engine keeps it, if the engine was asked.
    pub directory: Option<PathBuf>,
}

impl Volume {
    /// A volume of the `local` driver.
    pub fn new(key: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            name: name.into(),
            external: false,
            driver: None,
            directory: None,
        }
    }
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Port {
    /// The address of the machine that it is published at; `None` for all.
    pub host: Option<String>,
    /// The port of the machine; `None` if it is not published, or at one that Docker chooses.
    pub published: Option<u16>,
    /// The port inside.
    pub target: u16,
    /// Whether it is UDP rather than TCP.
    pub udp: bool,
}

impl Port {
    /// A TCP port, published at all addresses if `published` is given.
    pub fn new(target: u16, published: Option<u16>) -> Self {
        Self {
            host: None,
            published,
            target,
            udp: false,
        }
    }
}

/// A service that another one needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dependency {
    /// Its name.
    pub service: String,
    /// What it must have reached.
    pub condition: Condition,
    /// Whether the other one is not started without it.
    pub required: bool,
}

impl Dependency {
    /// A service that must be there.
    pub fn new(service: impl Into<String>, condition: Condition) -> Self {
        Self {
            service: service.into(),
            condition,
            required: true,
        }
    }
}

/// What a needed service must have reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its process runs.
    Started,
    /// Its health check passed.
    Healthy,
    /// It has ended, and well.
    Completed,
}

/// How Docker sees that a service is well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthTest {
    /// The command with `CMD` or `CMD-SHELL` before it; empty if the image's own check is used with
    /// other times.
    pub test: Words,
    /// Whether the check is turned off.
    pub disabled: bool,
}

impl HealthTest {
    /// A check by this command.
    pub fn new(test: Vec<String>) -> Self {
        let disabled = test.first().is_some_and(|word| word == "NONE");
        Self {
            test: Words(test),
            disabled,
        }
    }
}

/// Something to say of a place in a file. Never quotes a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong, or was not understood.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.text)
    }
}
