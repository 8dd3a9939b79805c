//! What is to be captured.

use std::sync::Arc;

use rekindle_datasets::{Dataset, Surroundings, dataset_of};
use rekindle_runtimes::Runtime;
use rekindle_stack::{self as stack, Stack};

use super::BackupRequest;
use crate::RecoveryError;

/// A dataset to be captured.
pub(super) struct Job<'a> {
    pub service: &'a stack::Service,
    /// Where it lies in the point: `<service>/<kind>`.
    pub path: String,
    pub dataset: Box<dyn Dataset>,
}

impl Job<'_> {
    /// The services' name.
    pub fn name(&self) -> &str {
        self.service.name.as_str()
    }
}

pub(super) fn wanted<'a>(
    request: &BackupRequest<'a>,
) -> Result<Vec<&'a stack::Service>, RecoveryError> {
    let stack = request.stack;
    if request.services.is_empty() {
        return Ok(stack.services.iter().collect());
    }
    let find = |name: &String| {
        stack
            .service(name)
            .ok_or_else(|| RecoveryError::UnknownService {
                name: name.clone(),
                known: names(stack),
            })
    };
    request.services.iter().map(find).collect()
}

pub(crate) fn names(stack: &Stack) -> String {
    let names: Vec<_> = stack
        .services
        .iter()
        .map(|s| format!("`{}`", s.name))
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// The dataset of these settings; `None` if this version cannot back it up.
pub(crate) fn dataset(
    stack: &Stack,
    service: &stack::Service,
    settings: &stack::Dataset,
    runtime: Option<&Arc<dyn Runtime>>,
) -> Result<Option<Box<dyn Dataset>>, RecoveryError> {
    let surroundings = Surroundings {
        service: service.name.to_string(),
        directory: stack.directory.clone(),
        runtime: runtime.cloned(),
    };
    dataset_of(settings, &surroundings).map_err(|source| RecoveryError::Settings {
        service: service.name.to_string(),
        source: Box::new(source),
    })
}

/// What is to be captured, and why the rest is not.
pub(super) fn jobs<'a>(
    request: &BackupRequest<'a>,
    runtime: Option<&Arc<dyn Runtime>>,
) -> Result<(Vec<Job<'a>>, Vec<String>), RecoveryError> {
    let (mut jobs, mut skipped) = (Vec::new(), Vec::new());
    for service in wanted(request)? {
        for settings in &service.datasets {
            match dataset(request.stack, service, settings, runtime)? {
                Some(dataset) => jobs.push(Job {
                    service,
                    path: format!("{}/{}", service.name, dataset.kind()),
                    dataset,
                }),
                None => skipped.push(format!(
                    "{}: this version cannot back up a {} dataset",
                    service.name,
                    settings.kind()
                )),
            }
        }
    }
    if jobs.is_empty() {
        let reason = skipped
            .pop()
            .unwrap_or_else(|| "the services have no datasets".to_owned());
        return Err(RecoveryError::NothingToDo { reason });
    }
    Ok((jobs, skipped))
}
