//! A proposal for a whole project.

use std::path::{Path, PathBuf};

use super::credentials::{Credential, SecretFile};
use super::datasets::{self, Draft};
use super::engine::{Component, Engine, recognise};
use super::health;
use crate::compose::{Project, Service};
use crate::model::Priority;
use crate::name::Name;

/// What services were found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A Compose project of that name.
    Project(String),
    /// Units of systemd.
    Units,
}

/// What a `rekindle.yaml` of a project, or of units, should say.
pub struct Proposal {
    /// What it was found in.
    pub found: Found,
    /// The services, in the order of the files.
    pub services: Vec<ProposedService>,
    /// Files with secrets that must be written beside it, each for its owner alone.
    pub secrets: Vec<SecretFile>,
    /// What a person should know: services that cannot be named, notes of the files.
    pub notes: Vec<String>,
    pub(super) env_file: Option<PathBuf>,
    pub(super) files: Vec<PathBuf>,
    pub(super) base: PathBuf,
}

impl Proposal {
    pub(super) fn new(found: Found, base: &Path) -> Self {
        Self {
            found,
            services: Vec::new(),
            secrets: Vec::new(),
            notes: Vec::new(),
            env_file: None,
            files: Vec::new(),
            base: base.to_owned(),
        }
    }

    /// Takes a service, and the files that must be written for it.
    pub(super) fn add(&mut self, service: ProposedService) {
        let credentials = service.datasets.iter().map(|draft| &draft.credential);
        self.secrets.extend(
            credentials
                .flatten()
                .filter_map(|credential| match credential {
                    Credential::New(file) => Some(file.clone()),
                    _ => None,
                }),
        );
        self.services.push(service);
    }
}

/// A service of a [`Proposal`].
#[non_exhaustive]
pub struct ProposedService {
    /// Its name.
    pub name: Name,
    /// What it was recognised as.
    pub component: Component,
    /// Services it needs.
    pub depends_on: Vec<String>,
    /// How much it matters.
    pub priority: Priority,
    /// Whether the stack is well without it.
    pub optional: bool,
    /// Whether it must be stopped while its files are read.
    pub stops: bool,
    /// A URL that answers when it is well.
    pub health: Option<String>,
    /// A command that succeeds when it is well, where no URL is known.
    pub health_command: Option<Vec<String>>,
    /// Its unit, if it is one of systemd that is not named as the service is.
    pub unit: Option<String>,
    pub(super) datasets: Vec<Draft>,
    pub(super) why: Vec<String>,
    pub(super) is_built: bool,
}

impl ProposedService {
    /// Whether nothing of it needs a backup.
    pub fn is_stateless(&self) -> bool {
        self.datasets.is_empty()
    }

    /// The kinds of its datasets.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.datasets.iter().map(|draft| draft.kind)
    }
}

/// Proposes what to back up. `base` is the directory that the `rekindle.yaml` will lie in.
pub fn propose(project: &Project, base: &Path) -> Proposal {
    let mut proposal = Proposal {
        notes: project.notes.iter().map(ToString::to_string).collect(),
        env_file: project.env_file.clone(),
        files: project.files.clone(),
        ..Proposal::new(Found::Project(project.name.clone()), base)
    };
    for service in &project.services {
        match service.name.parse::<Name>() {
            Ok(name) => {
                let proposed = of_service(project, service, name, base);
                proposal.add(proposed);
            }
            Err(error) => {
                let note = format!("service `{}` is left out: {error}", service.name);
                proposal.notes.push(note);
            }
        }
    }
    let known: Vec<String> = proposal
        .services
        .iter()
        .map(|service| service.name.to_string())
        .collect();
    for service in &mut proposal.services {
        service.depends_on.retain(|name| known.contains(name));
    }
    proposal
}

fn of_service(project: &Project, service: &Service, name: Name, base: &Path) -> ProposedService {
    let component = recognise(service);
    let datasets = datasets::of(project, service, base);
    let is_copied = datasets.iter().any(|draft| draft.kind == "files");
    let is_server = matches!(component.engine, Engine::OtherDatabase | Engine::S3);
    ProposedService {
        depends_on: service
            .depends_on
            .iter()
            .map(|need| need.service.clone())
            .collect(),
        priority: priority(&component, &datasets),
        optional: !service.profiles.is_empty(),
        stops: is_copied && is_server && !datasets::is_captured(project, service),
        health: health::url(service),
        health_command: None,
        unit: None,
        why: reasons(service, &component, &datasets),
        is_built: service.is_built,
        name,
        component,
        datasets,
    }
}

pub(super) fn priority(component: &Component, datasets: &[Draft]) -> Priority {
    match component.engine {
        _ if datasets.is_empty() => Priority::Medium,
        Engine::Postgres => Priority::Critical,
        Engine::OtherDatabase | Engine::S3 | Engine::Redis => Priority::High,
        Engine::Meilisearch => Priority::Low,
        Engine::Other => Priority::Medium,
    }
}

fn reasons(service: &Service, component: &Component, datasets: &[Draft]) -> Vec<String> {
    let mut why = Vec::new();
    why.extend(component.remark.map(|remark| format!("{remark}.")));
    let is_server = component.engine != Engine::Other;
    if is_server && component.engine != Engine::Postgres && !datasets::keeps_something(service) {
        let what = if component.engine == Engine::Meilisearch {
            "No volume: what it holds goes with its container, but for the recovery points."
        } else {
            "No volume: what it holds goes with its container, and nobody counts on it."
        };
        why.push(what.to_owned());
    } else if component.engine == Engine::Postgres && !datasets::keeps_something(service) {
        let what = "No named volume: its data goes with its container. Give it one.";
        why.push(what.to_owned());
    } else if datasets.is_empty() {
        why.push(match service.is_built && service.image.is_none() {
            true => "Keeps nothing: it is built and started again.".to_owned(),
            false => "Keeps nothing: it is started again from its image.".to_owned(),
        });
    }
    if !service.profiles.is_empty() {
        let profiles = service.profiles.join(", ");
        why.push(format!(
            "Only up with the profile {profiles}: the stack is well without it."
        ));
    }
    why
}
