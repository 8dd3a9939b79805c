//! The Compose project of a stack, as its files describe it.

use rekindle_runtimes::docker::Docker;
use rekindle_stack::{
    Runtime, Stack,
    compose::{self, ComposeError, Project},
};

/// Reads the Compose project of the stack; `None` if it is run by something else.
///
/// Its files are those of `runtime.files`, else those that Compose finds beside `rekindle.yaml`.
///
/// # Errors
/// [`ComposeError`] if there are none, or they cannot be read.
#[must_use]
pub fn compose_project(stack: &Stack) -> Option<Result<Project, ComposeError>> {
    let Runtime::Compose { project, files, .. } = &stack.runtime else {
        return None;
    };
    // The names of volumes begin with it.
    let named = |name: &str| match name {
        "COMPOSE_PROJECT_NAME" => project.clone(),
        _ => None,
    };
    let variable = |name: &str| named(name).or_else(|| std::env::var(name).ok());
    Some(compose::load(&stack.directory, files, &variable))
}

/// As [`compose_project`], with what the engine knows of it, if that answers: where its volumes lie, and, if there are no
/// Compose files, what its containers tell.
pub(crate) fn living_project(stack: &Stack) -> Option<Result<Project, ComposeError>> {
    let Runtime::Compose { project, .. } = &stack.runtime else {
        return None;
    };
    let read = compose_project(stack)?;
    let name = project.as_deref().unwrap_or(stack.name.as_str());
    let Ok(docker) = Docker::open(name) else {
        return Some(read);
    };
    let read = match read {
        Err(ComposeError::NotFound { directory }) => docker
            .project_of_containers()
            .ok()
            .flatten()
            .ok_or(ComposeError::NotFound { directory }),
        other => other,
    };
    Some(read.map(|mut project| {
        if let Err(error) = docker.locate_volumes(&mut project) {
            tracing::debug!(%error, "volumes are looked for where they usually lie");
        }
        project
    }))
}
