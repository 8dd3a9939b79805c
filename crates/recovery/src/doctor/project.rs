//! The project that the stack describes, held against `rekindle.yaml`: what is unprotected, what Docker was not told.

use std::sync::Arc;

use rekindle_datasets::with_causes;
use rekindle_runtimes::{Health, RunState, Runtime, ServiceState};
use rekindle_stack::{
    self as stack, DuringBackup, Stack,
    compose::{ComposeError, Project},
    discover::{Difference, differences, recommend, uncovered},
};

use super::Findings;
use crate::{project::living_project, runtime::needed_runtime_of};

/// Looks at the project, and at what runs it; returns the latter if it can be used.
pub(super) fn look(stack: &Stack, findings: &mut Findings) -> Option<Arc<dyn Runtime>> {
    match living_project(stack) {
        Some(Ok(project)) => look_at_project(&project, stack, findings),
        Some(Err(error)) => look_at_error(&error, findings),
        None => {}
    }
    let is_asked = matches!(
        stack.runtime,
        stack::Runtime::Compose { .. } | stack::Runtime::Systemd { .. }
    );
    if !is_asked {
        return None;
    }
    match needed_runtime_of(stack) {
        Ok(runtime) => {
            look_at_services(stack, runtime.as_ref(), findings);
            Some(runtime)
        }
        Err(error) => {
            let text = format!(
                "what runs the services cannot be asked: {}",
                with_causes(&error)
            );
            let needs = stack
                .services
                .iter()
                .filter(|service| needs_runtime(service));
            let needs: Vec<String> = needs.map(|service| format!("`{}`", service.name)).collect();
            let fix = error.hint().unwrap_or_else(|| ASK.to_owned());
            if needs.is_empty() {
                findings.advice("runtime", text, fix);
            } else {
                let text = format!(
                    "{text}; {} cannot be backed up without it",
                    needs.join(", ")
                );
                findings.problem("runtime", text, Some(fix));
            }
            None
        }
    }
}

const ASK: &str = "does Docker run (`docker ps`), and may this user read its socket? Root may, and who is in its group \
                   (`usermod -aG docker USER`, which makes that user as mighty as root)";

/// Whether a backup of the service needs what runs it.
fn needs_runtime(service: &stack::Service) -> bool {
    let own_name = |url: &stack::ServiceUrl| {
        let mut hosts = url.hosts().iter();
        hosts.any(|(host, _)| *host == *service.name)
    };
    service.during_backup != DuringBackup::Run
        || service.datasets.iter().any(|dataset| match dataset {
            stack::Dataset::Postgres(settings) => own_name(&settings.url),
            stack::Dataset::Redis(settings) => own_name(&settings.url),
            stack::Dataset::S3(settings) => own_name(&settings.endpoint),
            stack::Dataset::Meilisearch(settings) => own_name(&settings.url),
            _ => false,
        })
}

const NAME_FILES: &str = "name them in `runtime.files`: they belong into every recovery point, and tell what is unprotected";

fn look_at_error(error: &ComposeError, findings: &mut Findings) {
    let fix = match error {
        ComposeError::NotFound { .. } => NAME_FILES,
        _ => {
            "mend the file: Docker Compose cannot read it either, and after a disaster it is needed"
        }
    };
    let text = match error {
        ComposeError::Invalid(note) => note.to_string(),
        other => with_causes(other),
    };
    findings.advice("project", text, fix);
}

fn look_at_project(project: &Project, stack: &Stack, findings: &mut Findings) {
    if project.files.is_empty() {
        let text = "its Compose files were not found; what its containers tell was looked at";
        findings.advice("project", text, NAME_FILES);
    }
    let before = findings.0.len();
    for note in &project.notes {
        let fix = "mend the file, or set the variable: Docker Compose stumbles over it, too";
        findings.advice("project", note.to_string(), fix);
    }
    for volume in uncovered(project, stack) {
        let stack::discover::Uncovered { what, target, .. } = &volume;
        if volume.is_configuration {
            let text = format!("{what} ({target}) is read by it and in no dataset");
            findings.advice(&volume.service, text, volume.fix);
        } else {
            let text = format!("{what} ({target}) is unprotected: no dataset covers it");
            findings.problem(&volume.service, text, Some(volume.fix));
        }
    }
    for difference in differences(project, stack) {
        look_at_difference(&difference, findings);
    }
    if findings.0.len() == before {
        let count = project.services.len();
        let text = format!(
            "{}: {count} services, every volume is covered",
            project.name
        );
        findings.fine("project", text);
    }
    look_at_recommendations(project, findings);
}

fn look_at_difference(difference: &Difference, findings: &mut Findings) {
    match difference {
        Difference::OnlyInProject(name) => {
            let text = "is in the project and not in rekindle.yaml: it is not brought back";
            let fix = format!(
                "add it below `services`; if nothing of it needs a backup: `{name}: {{ stateless: true }}`"
            );
            findings.advice(name, text, fix);
        }
        Difference::OnlyInStack(name) => {
            let text = "is in rekindle.yaml, and the project has no such service";
            findings.advice(
                name,
                text,
                "correct its name, or remove it from rekindle.yaml",
            );
        }
    }
}

fn look_at_recommendations(project: &Project, findings: &mut Findings) {
    for found in recommend(project) {
        let fix = match &found {
            stack::discover::Recommendation::HealthCheck { test: None, .. } => {
                "give it a `healthcheck` in the Compose file; only its author knows what to ask"
            }
            _ => "`rekindle init --patch` prints a Compose file that adds it",
        };
        findings.advice(found.service(), found.text(), fix);
    }
}

/// What is down is said to be down, rather than that its data cannot be read.
fn look_at_services(stack: &Stack, runtime: &dyn Runtime, findings: &mut Findings) {
    let states = match runtime.list() {
        Ok(states) => states,
        Err(error) => {
            let text = format!(
                "{} does not answer: {}",
                runtime.describe(),
                with_causes(&error)
            );
            let fix = error.hint().unwrap_or_else(|| ASK.to_owned());
            return findings.problem("runtime", text, Some(fix));
        }
    };
    findings.fine("runtime", runtime.describe());
    for service in &stack.services {
        let state = states.iter().find(|state| state.name == *service.name);
        let Some(trouble) = trouble(state) else {
            continue;
        };
        let fix = format!(
            "`rekindle service start {}`, or look at its log",
            service.name
        );
        if service.optional && !matches!(state.map(|state| state.run), Some(RunState::Failed)) {
            continue;
        }
        if service.datasets.is_empty() {
            findings.advice(&service.name, trouble, fix);
        } else {
            findings.problem(&service.name, trouble, Some(fix));
        }
    }
}

/// What is wrong with a service, in words; `None` if nothing is, or nobody can say.
fn trouble(state: Option<&ServiceState>) -> Option<String> {
    let Some(state) = state else {
        return Some("is down: there is no container of it".to_owned());
    };
    let because = state
        .why
        .as_ref()
        .map(|why| format!(": {why}"))
        .unwrap_or_default();
    match (&state.run, &state.health) {
        (RunState::Absent, _) => Some("is down: there is nothing of that name".to_owned()),
        (RunState::Created, _) => Some("was never started".to_owned()),
        (RunState::Stopped, _) => Some(format!("is down: it was stopped{because}")),
        (RunState::Failed, _) => Some(format!("is down: it failed{because}")),
        (RunState::Restarting, _) => Some(format!("is started again and again{because}")),
        (RunState::Paused, _) => Some("is paused".to_owned()),
        (RunState::Running, Health::Unhealthy { why }) => Some(format!("is not well: {why}")),
        (RunState::Running | RunState::Unknown, _) => None,
    }
}
