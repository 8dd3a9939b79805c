//! Where a password is found, without ever writing it down again where it does not belong.

use std::path::{Path, PathBuf};

use crate::compose::{MountKind, Origin, Project, Service};
use crate::secret::Secret;

/// How a dataset gets at a secret.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A variable of `.env`, or of the environment.
    Variable(String),
    /// A file that is there.
    File(PathBuf),
    /// A file that must be written first, because the secret stands in the middle of something else.
    New(SecretFile),
}

/// A file to be written for its owner alone.
#[derive(Clone, Debug)]
pub struct SecretFile {
    /// Its name below the directory of `rekindle.yaml`.
    pub name: PathBuf,
    /// What it holds.
    pub content: Secret,
}

/// The directory of secrets that had to be copied out of a Compose file.
pub(super) const DIRECTORY: &str = "rekindle-secrets";

impl Credential {
    pub(super) fn new(service: &Service, what: &str, content: &str) -> Self {
        let name = format!("{DIRECTORY}/{}-{what}", service.name);
        Self::New(SecretFile {
            name: name.into(),
            content: Secret::new(content),
        })
    }
}

/// The first of these variables that the service has, or the file that `<variable>_FILE` names.
pub(super) fn of_variables(
    project: &Project,
    service: &Service,
    variables: &[&str],
    what: &str,
) -> Option<Credential> {
    let file = |variable: &&str| named_file(project, service, variable).map(Credential::File);
    let value = |variable: &&str| of_variable(project, service, variable, what);
    variables
        .iter()
        .find_map(|variable| file(variable).or_else(|| value(variable)))
}

fn of_variable(
    project: &Project,
    service: &Service,
    variable: &str,
    what: &str,
) -> Option<Credential> {
    let value = service.value(variable)?;
    if let Origin::Variable(name) = &service.environment.get(variable)?.origin {
        return Some(Credential::Variable(name.clone()));
    }
    Some(of_value(project, service, value, what))
}

/// The variable of `.env` that has this value, else a file of its own.
pub(super) fn of_value(
    project: &Project,
    service: &Service,
    value: &str,
    what: &str,
) -> Credential {
    let same = project
        .variables
        .iter()
        .find(|(_, known)| known.expose() == value);
    match same {
        Some((name, _)) => Credential::Variable(name.clone()),
        None => Credential::new(service, what, value),
    }
}

/// The file of this machine that `<variable>_FILE` is about.
fn named_file(project: &Project, service: &Service, variable: &str) -> Option<PathBuf> {
    let inside = service.value(&format!("{variable}_FILE"))?;
    let path = Path::new(inside);
    if let Ok(name) = path.strip_prefix("/run/secrets") {
        let name = name.to_str()?;
        let (key, _) = service.secrets.iter().find(|(_, target)| target == name)?;
        return project.secrets.get(key).cloned();
    }
    let mount = service.mount_of(inside)?;
    match &mount.kind {
        MountKind::Bind(source) => {
            let rest = path.strip_prefix(&mount.target).ok()?;
            Some(if rest.as_os_str().is_empty() {
                source.clone()
            } else {
                source.join(rest)
            })
        }
        _ => None,
    }
}
