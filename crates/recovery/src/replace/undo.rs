//! The way back, and its end.

use jiff::Timestamp;
use rekindle_stack::Stack;
use serde::Serialize;

use super::{
    ReplaceError,
    journal::{Journal, Record, Stage},
    plan::{dataset_of, service_of, settings},
    service::{Found, look, stop},
    settle::settle,
};
use crate::{RecoveryError, runtime::runtime_of};

/// What was taken back.
#[derive(Clone, Debug, Serialize)]
pub struct UndoneReplace {
    /// The service.
    pub service: String,
    /// Which of its datasets.
    pub kind: String,
    /// What was done, in words.
    pub steps: Vec<String>,
    /// Whether the service was stopped for it, and runs again.
    pub was_stopped: bool,
    /// How many earlier states still stand aside.
    pub still_aside: usize,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct DiscardedReplace {
    /// The service.
    pub service: String,
    /// Which of its datasets.
    pub kind: String,
    /// When each of the restores was that set something aside, oldest first.
    pub since: Vec<Timestamp>,
    /// What was done, in words; empty for a plan.
    pub steps: Vec<String>,
}

/// Brings back what the last restore in place set aside, however far that had come. Needs no vault.
///
/// # Errors
/// [`ReplaceError`]; it may be called again.
pub fn undo_replace(
    stack: &Stack,
    service: &str,
    kind: Option<&str>,
) -> Result<UndoneReplace, RecoveryError> {
    let service = service_of(stack, service)?;
    let runtime = runtime_of(stack);
    let dataset = dataset_of(stack, service, kind, runtime.as_ref())?;
    let mut journal = Journal::open(stack, service.name.as_str(), dataset.kind())?;
    let Some(record) = journal.record.clone() else {
        let service = service.name.to_string();
        return Err(ReplaceError::NothingAside { service }.into());
    };
    if record.is_untouched() {
        let mut steps = settle(&*dataset, runtime.as_ref(), &mut journal)?.steps;
        if record.aside.is_none() {
            steps.push("nothing had been changed yet".to_owned());
        }
        return Ok(UndoneReplace {
            service: service.name.to_string(),
            kind: dataset.kind().to_owned(),
            steps,
            was_stopped: false,
            still_aside: record.earlier.len(),
        });
    }
    let owes_start = journal.owes_start();
    let running = match &record.aside {
        Some(aside) if aside.needs_stopped_service() => {
            match look(runtime.as_ref(), service).map_err(ReplaceError::from)? {
                Found::Runs(runtime) => Some(runtime),
                Found::Rests | Found::Unknown => None,
            }
        }
        _ => None,
    };
    let starts = running.clone().or(runtime.filter(|_| owes_start));
    // Noted before it is stopped: whoever comes after a crash starts it.
    journal.save(Record {
        stage: Stage::GoingBack,
        was_running: starts.is_some(),
        ..record.clone()
    })?;
    let start = || match &starts {
        Some(runtime) => runtime.start(service.name.as_str()),
        None => Ok(()),
    };
    if let Some(runtime) = &running
        && let Err(error) = stop(&**runtime, service)
    {
        // It may have stopped nevertheless.
        start().map_err(ReplaceError::from)?;
        return Err(ReplaceError::from(error).into());
    }
    let outcome = match &record.aside {
        Some(aside) => dataset.undo_in_place(aside),
        None => Ok(vec!["nothing had been changed yet".to_owned()]),
    };
    let steps = outcome.map_err(|source| {
        let failed = ReplaceError::Dataset {
            doing: "take back",
            kind: dataset.kind().to_owned(),
            service: service.name.to_string(),
            source: Box::new(source),
        };
        match starts {
            Some(_) => ReplaceError::LeftStopped {
                service: service.name.to_string(),
                kind: dataset.kind().to_owned(),
                source: Box::new(failed),
            },
            None => failed,
        }
    })?;
    start().map_err(ReplaceError::from)?;
    let still_aside = journal.take_back()?;
    Ok(UndoneReplace {
        service: service.name.to_string(),
        kind: dataset.kind().to_owned(),
        steps,
        was_stopped: running.is_some(),
        still_aside,
    })
}

/// Says what [`discard_replaced`] would remove.
///
/// # Errors
/// [`ReplaceError::NothingAside`], [`ReplaceError::Unfinished`].
pub fn plan_discard_replaced(
    stack: &Stack,
    service: &str,
    kind: Option<&str>,
) -> Result<DiscardedReplace, RecoveryError> {
    let service = service_of(stack, service)?;
    let kind = settings(service, kind)?.kind();
    let journal = Journal::open(stack, service.name.as_str(), kind)?;
    Ok(what_stands_aside(&journal, service.name.as_str())?)
}

/// Removes what restores in place have set aside, for good.
///
/// # Errors
/// [`ReplaceError`]; it may be called again.
pub fn discard_replaced(
    stack: &Stack,
    service: &str,
    kind: Option<&str>,
) -> Result<DiscardedReplace, RecoveryError> {
    let service = service_of(stack, service)?;
    let runtime = runtime_of(stack);
    let dataset = dataset_of(stack, service, kind, runtime.as_ref())?;
    let mut journal = Journal::open(stack, service.name.as_str(), dataset.kind())?;
    let mut discarded = what_stands_aside(&journal, service.name.as_str())?;
    let settled = settle(&*dataset, runtime.as_ref(), &mut journal)?;
    discarded.steps = settled.steps;
    let Some(record) = journal.record.clone() else {
        return Ok(discarded);
    };
    if settled.owes_start {
        return Err(unfinished(&record).into());
    }
    let earlier = record.earlier.iter().map(|earlier| &earlier.aside);
    for aside in earlier.chain(&record.aside) {
        let steps = dataset
            .discard_aside(aside)
            .map_err(|source| ReplaceError::Dataset {
                doing: "remove what stands aside of",
                kind: dataset.kind().to_owned(),
                service: service.name.to_string(),
                source: Box::new(source),
            })?;
        discarded.steps.extend(steps);
    }
    journal.remove()?;
    Ok(discarded)
}

fn what_stands_aside(journal: &Journal, service: &str) -> Result<DiscardedReplace, ReplaceError> {
    let Some(record) = &journal.record else {
        let service = service.to_owned();
        return Err(ReplaceError::NothingAside { service });
    };
    let is_settled = matches!(record.stage, Stage::Held | Stage::Starting);
    if !is_settled && !record.is_untouched() {
        return Err(unfinished(record));
    }
    let earlier = record.earlier.iter().map(|earlier| earlier.started);
    Ok(DiscardedReplace {
        service: record.service.clone(),
        kind: record.kind.clone(),
        since: earlier.chain([record.started]).collect(),
        steps: Vec::new(),
    })
}

fn unfinished(record: &Record) -> ReplaceError {
    ReplaceError::Unfinished {
        service: record.service.clone(),
        kind: record.kind.clone(),
        started: record.started,
    }
}
