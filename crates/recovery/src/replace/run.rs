//! Does it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rekindle_datasets::{Candidate, PointSource, RestoredInPlace, with_causes};
use rekindle_runtimes::Runtime;
use rekindle_vault::Vault;
use serde::Serialize;

use super::{
    ReplaceError, ReplaceRequest,
    journal::{Journal, Record, Stage},
    plan::{Goal, goal},
    service::{Found, look, stop},
    settle::{abandon, settle},
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
    /// How long the service was stopped: from the request to stop until its start was accepted.
    #[serde(skip)]
    pub outage: Option<Duration>,
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
    let source = goal.source(vault, request);
    let kind = goal.dataset.kind();
    let mut journal = Journal::open(request.stack, &request.service, kind)?;
    let settled = settle(&*goal.dataset, goal.runtime.as_ref(), &mut journal)?;
    // Whatever would be refused is refused before anything is done.
    goal.dataset
        .plan_in_place(&source)
        .map_err(|source| goal.failed("restore", source))?;
    let before = journal.record.clone();
    let point = goal.snapshot.id.to_string();
    let mut record = Record::new(request.stack, &request.service, kind, point, before);
    record.was_running = settled.owes_start;
    journal.save(record)?;
    let (restored, outage) = match goal.dataset.prepare_in_place(&source, &mut journal) {
        Err(source) => Err(given_up(
            &goal,
            &mut journal,
            goal.failed("restore", source),
        )),
        Ok(Some(candidate)) => swap(&goal, candidate, &mut journal),
        Ok(None) => restore_running(&goal, &source, &mut journal).map(|done| (done, None)),
    }?;
    journal.set_stage(Stage::Held)?;
    Ok(ReplaceOutcome {
        point: PointSummary::of(&goal.snapshot),
        service: request.service.clone(),
        kind: kind.to_owned(),
        restored,
        was_stopped: outage.is_some(),
        outage,
        took: clock.elapsed(),
    })
}

/// Nothing live was changed: what was built goes, and the error is told that led to this.
fn given_up(goal: &Goal<'_>, journal: &mut Journal, error: ReplaceError) -> ReplaceError {
    if let Err(second) = abandon(&*goal.dataset, journal) {
        let second = with_causes(&second);
        tracing::warn!(second, "what was built is left to the next restore or undo");
    }
    error
}

/// Gives what was built its place. The service rests from just before that until just after.
fn swap(
    goal: &Goal<'_>,
    candidate: Box<dyn Candidate>,
    journal: &mut Journal,
) -> Result<(RestoredInPlace, Option<Duration>), ReplaceError> {
    let found = match look(goal.runtime.as_ref(), goal.service) {
        Ok(found) => found,
        Err(error) => return Err(given_up(goal, journal, error.into())),
    };
    let rests = matches!(found, Found::Rests);
    let clock = Instant::now();
    let stopped = stop_if_it_runs(goal, found, journal)?;
    let swapped = journal
        .set_stage(Stage::Restoring)
        .and_then(|()| {
            let swapped = candidate.swap(journal);
            swapped.map_err(|source| goal.failed("restore", source))
        })
        .and_then(|restored| journal.set_stage(Stage::Starting).map(|()| restored));
    let mut restored = match swapped {
        Ok(restored) => restored,
        Err(error) => return Err(give_back(goal, journal, stopped.as_ref(), error)),
    };
    start_again(goal, stopped.as_ref())?;
    if rests && stopped.is_none() {
        restored.warnings.push(format!(
            "`{}` was not running, and was not started",
            goal.service.name
        ));
    }
    Ok((restored, stopped.map(|_| clock.elapsed())))
}

/// What is to start the service afterwards: it ran and is stopped now, or a run that was killed had stopped it.
fn stop_if_it_runs(
    goal: &Goal<'_>,
    found: Found,
    journal: &mut Journal,
) -> Result<Option<Arc<dyn Runtime>>, ReplaceError> {
    let owes_start = journal.owes_start();
    let (runtime, runs) = match found {
        Found::Runs(runtime) => (runtime, true),
        Found::Rests => match goal.runtime.clone().filter(|_| owes_start) {
            Some(runtime) => (runtime, false),
            None => return Ok(None),
        },
        Found::Unknown => return Ok(None),
    };
    if let Some(record) = &mut journal.record {
        record.was_running = true;
    }
    if let Err(error) = journal.set_stage(Stage::Stopping) {
        return Err(given_up(goal, journal, error));
    }
    if runs && let Err(error) = stop(&*runtime, goal.service) {
        // It may have stopped nevertheless.
        start_again(goal, Some(&runtime))?;
        return Err(given_up(goal, journal, error.into()));
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

/// Gives a running service its data. If that ends half way, nobody but the operator can say whether the half is better than
/// what was there: it is told, and stays.
fn restore_running(
    goal: &Goal<'_>,
    source: &PointSource<'_>,
    journal: &mut Journal,
) -> Result<RestoredInPlace, ReplaceError> {
    journal.set_stage(Stage::Restoring)?;
    let error = match goal.dataset.restore_in_place(source, journal) {
        Ok(restored) => return Ok(restored),
        Err(error) => error,
    };
    let aside = journal
        .record
        .as_ref()
        .and_then(|record| record.aside.as_ref());
    match aside.filter(|aside| !aside.is_untouched()) {
        None => Err(given_up(goal, journal, goal.failed("restore", error))),
        Some(aside) => Err(ReplaceError::HalfDone {
            service: goal.service.name.to_string(),
            kind: goal.dataset.kind().to_owned(),
            done: aside.in_words(),
            source: Box::new(error),
        }),
    }
}

fn start_again(goal: &Goal<'_>, stopped: Option<&Arc<dyn Runtime>>) -> Result<(), ReplaceError> {
    match stopped {
        Some(runtime) => Ok(runtime.start(goal.service.name.as_str())?),
        None => Ok(()),
    }
}
