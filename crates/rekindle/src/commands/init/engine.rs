//! What the engine knows of projects: one that runs, where its volumes lie, which others there are.

use std::path::Path;

use rekindle_runtimes::docker::Docker;
use rekindle_stack::compose::{self, Project};

use crate::errors::CliError;

/// A project, and what a person should know of how it was found.
pub(super) struct Running {
    pub project: Project,
    pub notes: Vec<String>,
}

/// The project of that name, by the Compose files that its containers name if they can be read, else by the containers
/// themselves.
pub(super) fn running(name: &str) -> Result<Running, CliError> {
    let docker = Docker::open(name)?;
    let mut notes = Vec::new();
    if let Some(described) = docker.compose_files()? {
        match of_files(name, &described.directory, &described.files) {
            Ok(project) => return Ok(Running { project, notes }),
            Err(why) => notes.push(format!(
                "{why}; so the containers of {name} were asked: what is built, profiles and what does not run are not known"
            )),
        }
    }
    let project = docker.project_of_containers()?;
    let project = project.ok_or_else(|| not_there(&docker, name))?;
    Ok(Running { project, notes })
}

fn of_files(name: &str, directory: &Path, files: &[std::path::PathBuf]) -> Result<Project, String> {
    // Relative paths would begin elsewhere than they did for Compose.
    if files.first().and_then(|file| file.parent()) != Some(directory) {
        return Err(format!(
            "its Compose files do not lie in its directory {}",
            directory.display()
        ));
    }
    let variable = |asked: &str| match asked {
        "COMPOSE_PROJECT_NAME" => Some(name.to_owned()),
        _ => std::env::var(asked).ok(),
    };
    compose::load(directory, files, &variable).map_err(|error| error.to_string())
}

fn not_there(docker: &Docker, name: &str) -> CliError {
    let engine = docker.engine_name();
    let known = docker.projects().unwrap_or_default();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let hint = if known.is_empty() {
        "it has no container of any project; `docker compose up -d` starts one".to_owned()
    } else {
        format!("there are containers of {}", known.join(", "))
    };
    CliError::wrong_use(
        format!("{engine} has no container of a project {name}"),
        hint,
    )
}

/// Notes where the volumes lie, if the engine answers.
pub(super) fn locate(project: &mut Project) {
    let asked = Docker::open(&project.name).and_then(|docker| docker.locate_volumes(project));
    if let Err(error) = asked {
        tracing::debug!(%error, "volumes are taken to lie where they usually do");
    }
}

/// Where a project was looked for, and what is left to try.
pub(super) fn looked_for(folder: &Path) -> String {
    let files = format!(
        "no Compose file was found: looked in {} for those of COMPOSE_FILE, compose.yaml, compose.yml,\n\
         docker-compose.yaml and docker-compose.yml; `--compose FILE` names another one",
        folder.display()
    );
    let Ok(docker) = Docker::open("") else {
        return files;
    };
    let engine = docker.engine_name();
    let projects = match docker.projects() {
        Err(_) => format!("{engine} does not answer, so it has no projects to tell of"),
        Ok(known) if known.is_empty() => format!("{engine} has no containers of a project"),
        Ok(known) => {
            let each = known
                .iter()
                .map(|name| format!("\n  rekindle init --project {name}"));
            format!("{engine} has containers of:{}", each.collect::<String>())
        }
    };
    format!("{files}\n{projects}")
}
