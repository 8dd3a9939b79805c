//! Does it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rekindle_datasets::RestoredInPlace;
use rekindle_runtimes::Runtime;
use rekindle_vault::Vault;
use serde::Serialize;

use super::{
    ReplaceError, ReplaceRequest,
    journal::{Journal, Record, Stage},
    plan::{Goal, goal},
    service::{Found, look, stop},
};
use crate::{PointSummary, RecoveryError};

/// What a restore in place did.
#[derive(Clone, Debug, Serialize)]
pub struct ReplaceOutcome {
    /// The point.
    pub point: PointSummary,
    /// The service.
    pub service: String,
    /// Which of its datasets.
    pub kind: String,
    /// What was restored, and where the former state is.
    #[serde(flatten)]
    pub restored: RestoredInPlace,
    /// Whether the service was stopped for it, and runs again.
    pub was_stopped: bool,
    /// From the first look to the end.
    #[serde(skip)]
    pub took: Duration,
}

/// Puts what was captured in the place of what is there, which is set aside.
///
/// # Errors
/// [`ReplaceError`]; the service runs again if it ran before, and `undo` brings back what was there.
pub fn replace(
    vault: &Vault,
    request: &ReplaceRequest<'_>,
) -> Result<ReplaceOutcome, RecoveryError> {
    let clock = Instant::now();
    let goal = goal(vault, request)?;
    // Whatever would be refused is refused before the service is touched.
    goal.dataset
        .plan_in_place(&goal.source(vault, request))
        .map_err(|source| goal.failed("restore", source))?;
    let mut journal = Journal::open(request.stack, &request.service, goal.dataset.kind())?;
    let before = settled(&journal)?;
    let point = goal.snapshot.id.to_string();
    let kind = goal.dataset.kind();
    let record = Record::new(request.stack, &request.service, kind, point, before);
    journal.save(record)?;
    let stopped = stop_if_needed(&goal, &mut journal)?;
    let outcome = restore(vault, request, &goal, &mut journal);
    let started = start_again(&goal, stopped.as_ref());
    let restored = outcome?;
    started?;
    set_stage(&mut journal, Stage::Held)?;
    Ok(ReplaceOutcome {
        point: PointSummary::of(&goal.snapshot),
        service: request.service.clone(),
        kind: kind.to_owned(),
        restored,
        was_stopped: stopped.is_some(),
        took: clock.elapsed(),
    })
}

/// What the journal says of an earlier one, if that came to its end.
fn settled(journal: &Journal) -> Result<Option<Record>, ReplaceError> {
    match &journal.record {
        // Nothing was changed yet.
        Some(record) if record.stage != Stage::Held && record.aside.is_none() => Ok(None),
        Some(record) if record.stage != Stage::Held => Err(ReplaceError::Unfinished {
            service: record.service.clone(),
            kind: record.kind.clone(),
            started: record.started,
        }),
        record => Ok(record.clone()),
    }
}

fn stop_if_needed(
    goal: &Goal<'_>,
    journal: &mut Journal,
) -> Result<Option<Arc<dyn Runtime>>, ReplaceError> {
    if !goal.dataset.needs_stopped_service() {
        return Ok(None);
    }
    let Found::Runs(runtime) = look(goal.runtime.as_ref(), goal.service)? else {
        return Ok(None);
    };
    if let Some(record) = &mut journal.record {
        record.was_running = true;
    }
    set_stage(journal, Stage::Stopping)?;
    if let Err(error) = stop(&*runtime, goal.service) {
        // It may have stopped nevertheless.
        start_again(goal, Some(&runtime))?;
        return Err(error.into());
    }
    Ok(Some(runtime))
}

fn restore(
    vault: &Vault,
    request: &ReplaceRequest<'_>,
    goal: &Goal<'_>,
    journal: &mut Journal,
) -> Result<RestoredInPlace, ReplaceError> {
    set_stage(journal, Stage::Restoring)?;
    let restored = goal
        .dataset
        .restore_in_place(&goal.source(vault, request), journal)
        .map_err(|source| goal.failed("restore", source))?;
    set_stage(journal, Stage::Starting)?;
    Ok(restored)
}

fn start_again(goal: &Goal<'_>, stopped: Option<&Arc<dyn Runtime>>) -> Result<(), ReplaceError> {
    match stopped {
        Some(runtime) => Ok(runtime.start(goal.service.name.as_str())?),
        None => Ok(()),
    }
}

pub(super) fn set_stage(journal: &mut Journal, stage: Stage) -> Result<(), ReplaceError> {
    match journal.record.clone() {
        Some(record) => journal.save(Record { stage, ..record }),
        None => Ok(()),
    }
}
