//! Which files belong to the configuration of a stack.

use std::path::{Component, Path, PathBuf};

use rekindle_datasets::with_causes;
use rekindle_stack::{Dataset, Runtime, SecretSource, Stack, compose::Project};

use super::ServiceImage;
use crate::project::compose_project;

/// A file, and its name below `stack/configuration/`.
pub(super) struct Collected {
    pub source: PathBuf,
    pub name: String,
}

/// `rekindle.yaml`, what its services need to be run (Compose files, env files, secrets, units), and the secrets of
/// its datasets; each once. And the project, if it could be read.
pub(super) fn files(
    stack: &Stack,
    runtime: Option<&dyn rekindle_runtimes::Runtime>,
) -> (Vec<Collected>, Option<Project>) {
    let project = compose_project(stack).and_then(Result::ok);
    let mut sources: Vec<PathBuf> = Vec::new();
    sources.extend(stack.env.as_ref().map(|env| env.file.clone()));
    sources.extend(project.iter().flat_map(Project::configuration_files));
    if let Runtime::Compose { files, .. } = &stack.runtime {
        sources.extend(files.iter().cloned());
    }
    sources.extend(
        stack
            .services
            .iter()
            .flat_map(|service| &service.datasets)
            .filter_map(secret_of),
    );
    if matches!(stack.runtime, Runtime::Systemd { .. }) {
        sources.extend(
            stack
                .services
                .iter()
                .flat_map(|service| unit_files(service, runtime)),
        );
    }
    let mut files = vec![Collected {
        source: stack.path.clone(),
        name: "rekindle.yaml".to_owned(),
    }];
    for source in sources {
        // Two ways to write one path have one name.
        let name = format!("files/{}", below_root(&source));
        if !files
            .iter()
            .any(|file| file.source == source || file.name == name)
        {
            files.push(Collected { source, name });
        }
    }
    (files, project)
}

/// The file of a dataset's secret.
fn secret_of(dataset: &Dataset) -> Option<PathBuf> {
    let source = match dataset {
        Dataset::Postgres(settings) => settings.password.as_ref(),
        Dataset::Redis(settings) => settings.password.as_ref(),
        Dataset::S3(settings) => Some(&settings.credentials),
        Dataset::Meilisearch(settings) => settings.key.as_ref(),
        _ => None,
    };
    match source? {
        SecretSource::File(path) => Some(path.clone()),
        _ => None,
    }
}

/// The files of a service's unit: as the runtime tells; if it cannot be asked, those that lie where units do.
fn unit_files(
    service: &rekindle_stack::Service,
    runtime: Option<&dyn rekindle_runtimes::Runtime>,
) -> Vec<PathBuf> {
    match runtime.map(|runtime| runtime.configuration(&service.name)) {
        Some(Ok(mut files)) => {
            files.retain(|file| file.is_file());
            files
        }
        Some(Err(error)) => {
            tracing::warn!(
                service = %service.name,
                error = with_causes(&error),
                "its unit could not be asked for; files with variables that it names are not in the point"
            );
            units(&service.unit())
        }
        None => units(&service.unit()),
    }
}

/// Where units lie, and what adds to them. Source: systemd.unit(5), "UNIT FILE LOAD PATH".
fn units(unit: &str) -> Vec<PathBuf> {
    const PLACES: [&str; 4] = [
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
    ];
    let mut files = Vec::new();
    for place in PLACES.map(Path::new) {
        files.push(place.join(unit));
        let Ok(entries) = place.join(format!("{unit}.d")).read_dir() else {
            continue;
        };
        let drop_ins = entries.flatten().map(|entry| entry.path());
        let mut drop_ins: Vec<PathBuf> = drop_ins
            .filter(|path| path.extension().is_some_and(|end| end == "conf"))
            .collect();
        drop_ins.sort();
        files.extend(drop_ins);
    }
    files.retain(|file| file.is_file());
    files
}

/// An absolute path as one below another directory.
fn below_root(path: &Path) -> String {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    names.collect::<Vec<_>>().join("/")
}

/// What the Compose files say that each service runs.
pub(super) fn images(project: &Project) -> Vec<ServiceImage> {
    let image = |service: &rekindle_stack::compose::Service| ServiceImage {
        service: service.name.clone(),
        image: service.image.clone(),
        digest: None,
        unit: service.container_name.clone().unwrap_or_default(),
    };
    project.services.iter().map(image).collect()
}
