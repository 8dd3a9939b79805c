//! Does it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rekindle_datasets::{RestoredInPlace, with_causes};
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
/// [`ReplaceError`]; the service runs again if it ran before, unless it says that it stays stopped; `undo` brings back what
/// was there.
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
    let owes_start = journal.owes_start();
    let point = goal.snapshot.id.to_string();
    let kind = goal.dataset.kind();
    let record = Record::new(request.stack, &request.service, kind, point, before);
    journal.save(record)?;
    let stopped = stop_if_needed(&goal, &mut journal, owes_start)?;
    let restored = match restore(vault, request, &goal, &mut journal) {
        Ok(restored) => restored,
        Err(error) => return Err(give_back(&goal, &mut journal, stopped.as_ref(), error).into()),
    };
    start_again(&goal, stopped.as_ref())?;
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

/// What the journal says of an earlier one; what had changed nothing yet is no hindrance.
fn settled(journal: &Journal) -> Result<Option<Record>, ReplaceError> {
    match &journal.record {
        Some(record) if record.stage != Stage::Held && record.aside.is_some() => {
            Err(ReplaceError::Unfinished {
                service: record.service.clone(),
                kind: record.kind.clone(),
                started: record.started,
            })
        }
        record => Ok(record.clone()),
    }
}

/// What is to start the service afterwards: it runs and was stopped, or a run that was killed had stopped it.
fn stop_if_needed(
    goal: &Goal<'_>,
    journal: &mut Journal,
    owes_start: bool,
) -> Result<Option<Arc<dyn Runtime>>, ReplaceError> {
    if !goal.dataset.needs_stopped_service() {
        return Ok(None);
    }
    let (runtime, runs) = match look(goal.runtime.as_ref(), goal.service)? {
        Found::Runs(runtime) => (Some(runtime), true),
        Found::Rests => (goal.runtime.clone().filter(|_| owes_start), false),
        Found::Unknown => (None, false),
    };
    let Some(runtime) = runtime else {
        return Ok(None);
    };
    if let Some(record) = &mut journal.record {
        record.was_running = true;
    }
    set_stage(journal, Stage::Stopping)?;
    if runs && let Err(error) = stop(&*runtime, goal.service) {
        // It may have stopped nevertheless.
        start_again(goal, Some(&runtime))?;
        journal.take_back()?;
        return Err(error.into());
    }
    Ok(Some(runtime))
}

/// After a failure, where the service had to stop: puts back what was there, and only then starts it. One that starts on
/// half of its data would take the missing half for its own loss.
fn give_back(
    goal: &Goal<'_>,
    journal: &mut Journal,
    stopped: Option<&Arc<dyn Runtime>>,
    error: ReplaceError,
) -> ReplaceError {
    if !goal.dataset.needs_stopped_service() {
        return error;
    }
    let aside = journal
        .record
        .as_ref()
        .and_then(|record| record.aside.as_ref());
    let undone = match aside {
        Some(aside) => goal
            .dataset
            .undo_in_place(aside)
            .map(drop)
            .map_err(|source| goal.failed("take back", source)),
        None => Ok(()),
    };
    let is_back = undone.is_ok();
    let given_back = undone
        .and_then(|()| start_again(goal, stopped))
        .and_then(|()| journal.take_back());
    let Err(second) = given_back else {
        return error;
    };
    let first = with_causes(&error);
    tracing::error!(
        first,
        "the restore in place failed, and so did what followed"
    );
    match stopped.filter(|_| !is_back) {
        Some(_) => ReplaceError::LeftStopped {
            service: goal.service.name.to_string(),
            kind: goal.dataset.kind().to_owned(),
            source: Box::new(second),
        },
        None => second,
    }
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

fn set_stage(journal: &mut Journal, stage: Stage) -> Result<(), ReplaceError> {
    match journal.record.clone() {
        Some(record) => journal.save(Record { stage, ..record }),
        None => Ok(()),
    }
}
