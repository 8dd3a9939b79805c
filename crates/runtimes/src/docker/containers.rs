//! The containers of a project.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::ListContainersOptionsBuilder;

use super::dialect::understood;
use super::engine::{Doing, Engine};
use super::failure::is_gone;
use super::labels::{self, Labels};
use super::state::run_of;
use crate::{RunState, RuntimeError};

/// What the engine knows of one container.
pub(super) type Container = ContainerInspectResponse;

/// The services of a project with their containers, stopped ones too, in the order of their numbers.
pub(super) fn of_project(
    engine: &Engine,
    project: &str,
) -> Result<BTreeMap<String, Vec<Container>>, RuntimeError> {
    of(
        engine,
        project,
        None,
        Doing {
            what: "list the services of",
            service: project,
        },
    )
}

/// The containers of one service.
///
/// # Errors
/// [`RuntimeError::NoService`] if the project has no container of it.
pub(super) fn of_service(
    engine: &Engine,
    project: &str,
    doing: Doing<'_>,
) -> Result<Vec<Container>, RuntimeError> {
    let mut found = of(engine, project, Some(doing.service), doing)?;
    if let Some(containers) = found.remove(doing.service) {
        return Ok(containers);
    }
    let known: Vec<String> = of_project(engine, project)?.into_keys().collect();
    Err(RuntimeError::NoService {
        runtime: format!("{}, project {project},", engine.name()),
        service: doing.service.into(),
        known: if known.is_empty() {
            "none".into()
        } else {
            known.join(", ")
        },
    })
}

/// The container of a service that does its work: the first that runs, else the first.
pub(super) fn foremost(
    engine: &Engine,
    project: &str,
    doing: Doing<'_>,
) -> Result<Container, RuntimeError> {
    let mut containers = of_service(engine, project, doing)?;
    let running = containers
        .iter()
        .position(|one| run_of(one).0 == RunState::Running);
    Ok(containers.swap_remove(running.unwrap_or(0)))
}

/// How long the question for all projects may take: whoever asks can do without.
const SOON: Duration = Duration::from_secs(10);

/// The projects that any container is of.
pub(super) fn projects(engine: &Engine) -> Result<BTreeSet<String>, RuntimeError> {
    let filters = HashMap::from([("label".to_owned(), vec![labels::PROJECT.to_owned()])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let doing = Doing {
        what: "list the projects of",
        service: "the engine",
    };
    let listed: Vec<ContainerSummary> = engine.ask_within(SOON, doing, async |client| {
        understood(client.list_containers(Some(options)).await)
    })?;
    let labels = listed.into_iter().filter_map(|summary| summary.labels);
    Ok(labels
        .filter_map(|mut labels| labels.remove(labels::PROJECT))
        .collect())
}

/// What the engine calls a container.
pub(super) fn id_of(container: &Container) -> String {
    container.id.clone().unwrap_or_default()
}

/// The labels of a container.
pub(super) fn labels_of(container: &Container) -> Option<&Labels> {
    container
        .config
        .as_ref()
        .and_then(|config| config.labels.as_ref())
}

fn of(
    engine: &Engine,
    project: &str,
    service: Option<&str>,
    doing: Doing<'_>,
) -> Result<BTreeMap<String, Vec<Container>>, RuntimeError> {
    let mut wanted = vec![format!("{}={project}", labels::PROJECT)];
    wanted.extend(service.map(|name| format!("{}={name}", labels::SERVICE)));
    let filters = HashMap::from([("label".to_owned(), wanted)]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let listed: Vec<ContainerSummary> = engine.ask(doing, async |client| {
        understood(client.list_containers(Some(options)).await)
    })?;
    let mut found: BTreeMap<String, Vec<(u64, Container)>> = BTreeMap::new();
    for summary in listed {
        let Some((name, number, id)) = is_ours(&summary, project) else {
            continue;
        };
        if let Some(container) = inspect(engine, &id, doing)? {
            found.entry(name).or_default().push((number, container));
        }
    }
    let in_order = |mut containers: Vec<(u64, Container)>| {
        containers.sort_by_key(|(number, _)| *number);
        containers
            .into_iter()
            .map(|(_, container)| container)
            .collect()
    };
    Ok(found
        .into_iter()
        .map(|(name, containers)| (name, in_order(containers)))
        .collect())
}

/// Asked again of each container: an engine's idea of a filter is not what keeps two projects apart.
fn is_ours(summary: &ContainerSummary, project: &str) -> Option<(String, u64, String)> {
    let labels = summary.labels.as_ref()?;
    let service = labels::service_in(labels, project)?;
    Some((
        service.to_owned(),
        labels::number(labels),
        summary.id.clone()?,
    ))
}

/// `None` if it was removed since it was listed.
pub(super) fn inspect(
    engine: &Engine,
    id: &str,
    doing: Doing<'_>,
) -> Result<Option<Container>, RuntimeError> {
    let asked = engine.try_within(super::engine::PATIENCE, async |client| {
        understood(client.inspect_container(id, None).await)
    })?;
    match asked {
        Ok(container) => Ok(Some(container)),
        Err(failure) if is_gone(&failure) => Ok(None),
        Err(failure) => Err(engine.explain(doing, failure)),
    }
}
