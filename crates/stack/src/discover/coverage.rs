//! A configuration held against the project that it is about.

use std::path::PathBuf;

use super::engine::{Engine, recognise};
use super::storage::{self, Role};
use crate::compose::{Mount, MountKind, Project, Service};
use crate::model::{Dataset, Stack};

/// Storage of a service that no dataset covers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uncovered {
    /// The first service that uses it.
    pub service: String,
    /// What it is, for people: `volume uploads`, `directory ./data`.
    pub what: String,
    /// Where the service sees it.
    pub target: String,
    /// Where it lies on this machine, if that is known.
    pub directory: Option<PathBuf>,
    /// Whether the service only reads it: files that somebody wrote.
    pub is_configuration: bool,
    /// What covers it: lines of `rekindle.yaml`, or words.
    pub fix: String,
}

/// A service that only one of both knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// `rekindle.yaml` does not name it, so it is not brought back.
    OnlyInProject(String),
    /// The project has no such service, so it cannot be started.
    OnlyInStack(String),
}

/// Names every volume and directory of the project that no dataset covers, each once.
pub fn uncovered(project: &Project, stack: &Stack) -> Vec<Uncovered> {
    let mut seen: Vec<&MountKind> = Vec::new();
    let mut found = Vec::new();
    for service in &project.services {
        for mount in &service.mounts {
            if storage::role(mount) == Role::Nothing || seen.contains(&&mount.kind) {
                continue;
            }
            seen.push(&mount.kind);
            if !is_covered(project, stack, &mount.kind) {
                found.push(describe(project, service, mount));
            }
        }
    }
    found
}

/// Whether some service's dataset covers what is mounted.
fn is_covered(project: &Project, stack: &Stack, kind: &MountKind) -> bool {
    let users = project.services.iter().flat_map(|service| {
        let mounts = service.mounts.iter().filter(|mount| mount.kind == *kind);
        mounts.map(move |mount| (service, mount))
    });
    users.into_iter().any(|(service, mount)| {
        is_server_data(stack, service, mount) || is_among_files(project, stack, service, mount)
    })
}

/// Whether the service has a dataset of its own kind, and keeps its data there.
fn is_server_data(stack: &Stack, service: &Service, mount: &Mount) -> bool {
    let component = recognise(service);
    let kind = match component.engine {
        Engine::Postgres => "postgres",
        Engine::Redis => "redis",
        Engine::S3 => "s3",
        Engine::Meilisearch => "meilisearch",
        Engine::OtherDatabase | Engine::Other => return false,
    };
    let configured = stack.service(&service.name);
    let has_dataset =
        configured.is_some_and(|service| service.datasets.iter().any(|set| set.kind() == kind));
    has_dataset && storage::is_data_of(service, &component, mount)
}

fn is_among_files(project: &Project, stack: &Stack, service: &Service, mount: &Mount) -> bool {
    let directory = storage::directory(project, mount);
    stack.services.iter().any(|configured| {
        let paths = configured
            .datasets
            .iter()
            .flat_map(|dataset| match dataset {
                Dataset::Files(files) => files.paths.as_slice(),
                _ => &[],
            });
        let is_same = configured.name.as_str() == service.name;
        paths.into_iter().any(|path| {
            let is_here = directory
                .as_ref()
                .is_some_and(|directory| directory.starts_with(path));
            // As the service sees it, which is how a volume is named where its directory cannot be read.
            is_here || is_same && std::path::Path::new(&mount.target).starts_with(path)
        })
    })
}

fn describe(project: &Project, service: &Service, mount: &Mount) -> Uncovered {
    let directory = storage::directory(project, mount);
    let what = match &mount.kind {
        MountKind::Volume(key) => format!("volume {key}"),
        _ => {
            let path = directory.as_deref().map(|path| path.display().to_string());
            format!("directory {}", path.unwrap_or_default())
        }
    };
    let path = directory.as_deref().map(|path| path.display().to_string());
    let path = path.unwrap_or_else(|| mount.target.clone());
    let fix = format!(
        "add to service `{}`: `datasets: [ {{ kind: files, paths: [{path}] }} ]`",
        service.name
    );
    Uncovered {
        service: service.name.clone(),
        what,
        target: mount.target.clone(),
        directory,
        is_configuration: storage::role(mount) == Role::Configuration,
        fix,
    }
}

/// Services that only the project, or only `rekindle.yaml`, has.
pub fn differences(project: &Project, stack: &Stack) -> Vec<Difference> {
    let missing = project
        .services
        .iter()
        .filter(|service| stack.service(&service.name).is_none());
    let gone = stack
        .services
        .iter()
        .filter(|service| project.service(&service.name).is_none());
    let missing = missing.map(|service| Difference::OnlyInProject(service.name.clone()));
    missing
        .chain(gone.map(|service| Difference::OnlyInStack(service.name.to_string())))
        .collect()
}
