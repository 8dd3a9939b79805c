//! What an earlier restore in place left behind that did not come to its end, where nothing live was changed by it, or
//! everything: that is brought in order without asking. Anything between needs an undo.

use std::sync::Arc;

use rekindle_datasets::Dataset;
use rekindle_runtimes::Runtime;

use super::{
    ReplaceError,
    journal::{Journal, Stage},
};

/// What was brought in order.
#[derive(Default)]
pub(super) struct Settled {
    /// Steps done, in words.
    pub steps: Vec<String>,
    /// Whether the service is still owed a start: a killed run had stopped it, and it did not start now.
    pub owes_start: bool,
}

/// Starts a service that a killed run had stopped while its data is as it was or as it shall be, and removes what that run
/// was building.
///
/// # Errors
/// [`ReplaceError::Unfinished`] if the data may be neither.
pub(super) fn settle(
    dataset: &dyn Dataset,
    runtime: Option<&Arc<dyn Runtime>>,
    journal: &mut Journal,
) -> Result<Settled, ReplaceError> {
    let mut settled = Settled::default();
    let Some(record) = journal.record.clone() else {
        return Ok(settled);
    };
    if record.stage == Stage::Held {
        return Ok(settled);
    }
    let is_done = record.stage == Stage::Starting;
    if !is_done && !record.is_untouched() {
        return Err(ReplaceError::Unfinished {
            service: record.service,
            kind: record.kind,
            started: record.started,
        });
    }
    if let (true, Some(runtime)) = (journal.owes_start(), runtime) {
        match runtime.start(&record.service) {
            Ok(()) => settled
                .steps
                .push("started the service, which an interrupted run had stopped".to_owned()),
            Err(error) => {
                tracing::warn!(%error, "a service that an interrupted run had stopped does not start");
                settled.owes_start = true;
            }
        }
    }
    match is_done {
        // As long as the service does not start on it, nobody knows whether it is good.
        true if settled.owes_start => {}
        true => journal.set_stage(Stage::Held)?,
        false => settled.steps.extend(abandon(dataset, journal)?),
    }
    Ok(settled)
}

/// Removes what was built or copied of a restore that changed nothing live, and forgets it. What earlier ones set aside is
/// known as before.
pub(super) fn abandon(
    dataset: &dyn Dataset,
    journal: &mut Journal,
) -> Result<Vec<String>, ReplaceError> {
    let Some(record) = &journal.record else {
        return Ok(Vec::new());
    };
    let mut steps = Vec::new();
    if let Some(aside) = &record.aside {
        let failed = |source| ReplaceError::Dataset {
            doing: "remove what was being built of",
            kind: record.kind.clone(),
            service: record.service.clone(),
            source: Box::new(source),
        };
        // A server may have been told something already.
        steps.extend(dataset.undo_in_place(aside).map_err(&failed)?);
        steps.extend(dataset.discard_aside(aside).map_err(&failed)?);
    }
    journal.take_back()?;
    Ok(steps)
}
