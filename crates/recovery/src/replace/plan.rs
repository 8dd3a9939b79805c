//! What a restore in place would do; changes nothing.

use std::sync::Arc;

use rekindle_datasets::{Dataset, InPlaceSteps, PointSource};
use rekindle_runtimes::Runtime;
use rekindle_stack::{self as stack, Service};
use rekindle_vault::{BackupError, Index, Snapshot, TreePath, Vault};
use serde::Serialize;

use super::{
    ReplaceError, ReplaceRequest,
    service::{Found, look},
};
use crate::{
    PointSummary, RecoveryError, backup,
    buckets::point_of_moment,
    manifest::{DatasetEntry, Manifest},
    runtime::runtime_of,
};

/// What a restore in place would do.
#[derive(Clone, Debug, Serialize)]
pub struct ReplacePlan {
    /// The point.
    pub point: PointSummary,
    /// The service.
    pub service: String,
    /// Which of its datasets.
    pub kind: String,
    /// Whether the service would be stopped meanwhile.
    pub stops_service: bool,
    /// What would be done.
    #[serde(flatten)]
    pub steps: InPlaceSteps,
}

/// All that is needed to do it.
pub(super) struct Goal<'a> {
    pub service: &'a Service,
    pub dataset: Box<dyn Dataset>,
    pub runtime: Option<Arc<dyn Runtime>>,
    pub snapshot: Snapshot,
    pub index: Index,
    pub entry: DatasetEntry,
    pub part: Option<TreePath>,
}

/// Says what a restore in place would do.
///
/// # Errors
/// If the service, its dataset or the point is not there, or the dataset refuses.
pub fn plan_replace(
    vault: &Vault,
    request: &ReplaceRequest<'_>,
) -> Result<ReplacePlan, RecoveryError> {
    let goal = goal(vault, request)?;
    let steps = goal
        .dataset
        .plan_in_place(&goal.source(vault, request))
        .map_err(|source| goal.failed("restore", source))?;
    let mut plan = ReplacePlan {
        point: PointSummary::of(&goal.snapshot),
        service: request.service.clone(),
        kind: goal.dataset.kind().to_owned(),
        stops_service: false,
        steps,
    };
    if let Some(at) = plan.steps.stop_after {
        match look(goal.runtime.as_ref(), goal.service).map_err(ReplaceError::from)? {
            Found::Runs(_) => {
                plan.stops_service = true;
                let at = at.min(plan.steps.steps.len());
                plan.steps.steps.insert(at, "stop the service".to_owned());
                plan.steps.steps.push("start the service again".to_owned());
            }
            Found::Rests => {}
            Found::Unknown => plan.steps.warnings.push(
                "nobody here can say whether the service runs: make sure that it does not"
                    .to_owned(),
            ),
        }
    }
    Ok(plan)
}

/// The settings of the dataset that is meant: the one of that kind, else the only one.
pub(super) fn settings<'a>(
    service: &'a Service,
    kind: Option<&str>,
) -> Result<&'a stack::Dataset, ReplaceError> {
    let which = |wanted: String| ReplaceError::WhichDataset {
        service: service.name.to_string(),
        known: kinds(service),
        wanted,
    };
    match (kind, service.datasets.as_slice()) {
        (None, [only]) => Ok(only),
        (None, []) => Err(which("there is nothing to restore".to_owned())),
        (None, _) => Err(which("which is meant?".to_owned())),
        (Some(kind), datasets) => datasets
            .iter()
            .find(|dataset| dataset.kind() == kind)
            .ok_or_else(|| which(format!("not {kind}"))),
    }
}

fn kinds(service: &Service) -> String {
    let kinds: Vec<_> = service.datasets.iter().map(stack::Dataset::kind).collect();
    match kinds.is_empty() {
        true => "no datasets".to_owned(),
        false => format!("datasets of kind {}", kinds.join(", ")),
    }
}

pub(super) fn service_of<'a>(
    stack: &'a stack::Stack,
    name: &str,
) -> Result<&'a Service, RecoveryError> {
    stack
        .service(name)
        .ok_or_else(|| RecoveryError::UnknownService {
            name: name.to_owned(),
            known: backup::names(stack),
        })
}

/// The dataset as it is to be brought back or taken back.
pub(super) fn dataset_of(
    stack: &stack::Stack,
    service: &Service,
    kind: Option<&str>,
    runtime: Option<&Arc<dyn Runtime>>,
) -> Result<Box<dyn Dataset>, RecoveryError> {
    let settings = settings(service, kind)?;
    backup::dataset(stack, service, settings, runtime)?.ok_or_else(|| RecoveryError::NothingToDo {
        reason: format!("this version knows nothing of {} datasets", settings.kind()),
    })
}

pub(super) fn goal<'a>(
    vault: &Vault,
    request: &ReplaceRequest<'a>,
) -> Result<Goal<'a>, RecoveryError> {
    let service = service_of(request.stack, &request.service)?;
    let runtime = runtime_of(request.stack);
    let dataset = dataset_of(
        request.stack,
        service,
        request.kind.as_deref(),
        runtime.as_ref(),
    )?;
    let dataset = match request.moment {
        None => dataset,
        Some(moment) => {
            let kind = dataset.kind().to_owned();
            dataset
                .at_moment(moment)
                .map_err(|source| ReplaceError::Dataset {
                    doing: "restore",
                    kind,
                    service: request.service.clone(),
                    source: Box::new(source),
                })?
        }
    };
    let named = Some(request.point.as_str()).filter(|point| *point != "latest");
    let snapshot = point_of_moment(vault, named, &request.service, request.moment)?;
    let (index, _) = vault.load_readable_index()?;
    let manifest = Manifest::read(vault, &index, &snapshot)?;
    let path = format!("{}/{}", service.name, dataset.kind());
    let entry = manifest
        .dataset_at(&path)
        .ok_or_else(|| RecoveryError::ServiceNotInPoint {
            point: snapshot.id,
            service: path.clone(),
            known: manifest.services(),
        })?
        .clone();
    let part = match request.part.as_deref().map(|part| part.trim_matches('/')) {
        None | Some("") => None,
        Some(part) => Some(TreePath::new(part).map_err(BackupError::from)?),
    };
    Ok(Goal {
        service,
        dataset,
        runtime,
        snapshot,
        index,
        entry,
        part,
    })
}

impl Goal<'_> {
    pub fn source<'s>(
        &'s self,
        vault: &'s Vault,
        request: &'s ReplaceRequest<'_>,
    ) -> PointSource<'s> {
        PointSource {
            vault,
            index: &self.index,
            snapshot: &self.snapshot,
            // A path that the manifest names is one.
            at: TreePath::new(&self.entry.path).unwrap_or_else(|_| TreePath::root()),
            record: &self.entry.record,
            part: self.part.clone(),
            progress: &request.progress,
        }
    }

    pub fn failed(
        &self,
        doing: &'static str,
        source: rekindle_datasets::InPlaceError,
    ) -> ReplaceError {
        ReplaceError::Dataset {
            doing,
            kind: self.dataset.kind().to_owned(),
            service: self.service.name.to_string(),
            source: Box::new(source),
        }
    }
}
