//! The way back.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rekindle_stack::Stack;
use rekindle_vault::Vault;

use super::{
    InPlaceError, OnStep, Stage, branch,
    journal::Journal,
    live::Place,
    run::{start, step, stop},
    site,
};
use crate::RecoveryError;

const BACK: [Stage; 4] = [
    Stage::StoppingRestored,
    Stage::SettingRestoredAside,
    Stage::PuttingBack,
    Stage::StartingOld,
];

/// The old directory in its place again.
#[derive(Clone, Debug)]
pub struct UndoOutcome {
    /// The live directory.
    pub data_directory: PathBuf,
    /// Where the restored one stands, with all that was written to it; `None` if it was never in
    /// place.
    pub restored_aside: Option<PathBuf>,
    /// Whether the old server was started: not if it was found stopped.
    pub is_started: bool,
    /// All of it.
    pub took: Duration,
}

/// Puts the old directory back and starts its server, from whatever stage a restore in place is in.
/// Nothing is deleted: the restored directory is set aside. The vault is asked only for where the
/// directory is, if neither configuration nor server say so.
///
/// # Errors
/// [`InPlaceError::NothingHeld`] if there is nothing to undo; [`InPlaceError::Failed`] with the step
/// that failed, from which another undo goes on.
pub fn undo_in_place(
    stack: &Stack,
    service: &str,
    vault: Option<&Vault>,
    on_step: Option<&OnStep>,
) -> Result<UndoOutcome, RecoveryError> {
    let clock = Instant::now();
    let place = Place::find(stack, service, vault)?;
    let _lock = place.site.lock()?;
    let nothing = || InPlaceError::NothingHeld {
        path: place.site.pgdata().to_owned(),
    };
    let mut journal = Journal::read(&place.site)?.ok_or_else(nothing)?;
    if journal.stage == Stage::Undone {
        return Err(nothing().into());
    }
    if !journal.set_aside.exists() && journal.stage == Stage::Held {
        return Err(InPlaceError::NotADirectory {
            path: journal.set_aside,
            reason: "the old directory is not there any more".to_owned(),
        }
        .into());
    }
    go_back(&place, &mut journal, "restored", on_step).map_err(|source| InPlaceError::Failed {
        doing: journal.stage.doing().to_owned(),
        after: "the way back is not finished".to_owned(),
        hint: "`rekindle restore --undo` goes on from there, once the cause is mended".to_owned(),
        source: Box::new(source),
    })?;
    Ok(UndoOutcome {
        restored_aside: journal.restored_aside.filter(|path| path.exists()),
        is_started: journal.was_running,
        data_directory: journal.data_directory,
        took: clock.elapsed(),
    })
}

/// Goes back from any stage. What is set aside is called `what`.
pub(super) fn go_back(
    place: &Place<'_>,
    journal: &mut Journal,
    what: &str,
    on_step: Option<&OnStep>,
) -> Result<(), InPlaceError> {
    if journal.restored_aside.is_none() {
        journal.restored_aside = Some(place.site.aside(what, Timestamp::now()));
    }
    let from = match journal.stage.is_way_back() {
        true => journal.stage,
        false => Stage::StoppingRestored,
    };
    for stage in BACK.into_iter().filter(|stage| *stage >= from) {
        let known = journal.clone();
        step(&place.site, journal, stage, on_step, || {
            perform(place, &known, stage, on_step)
        })?;
    }
    journal.enter(&place.site, Stage::Undone)
}

/// Each can be repeated. As long as the old directory stands aside, what is in its place is not it.
fn perform(
    place: &Place<'_>,
    journal: &Journal,
    stage: Stage,
    on_step: Option<&OnStep>,
) -> Result<(), InPlaceError> {
    let live = &journal.data_directory;
    let is_aside = journal.set_aside.exists();
    match (stage, &journal.restored_aside) {
        (Stage::StoppingRestored, _) if is_aside && live.exists() => stop(place, &place.server()?),
        (Stage::SettingRestoredAside, Some(aside)) if is_aside && live.exists() => {
            site::rename(live, aside)
        }
        (Stage::PuttingBack, _) if is_aside => site::rename(&journal.set_aside, live),
        (Stage::StartingOld, aside) => start_old(place, journal, aside.as_deref(), on_step),
        _ => Ok(()),
    }
}

/// The old server, on a timeline of its own if the restored one had begun one.
fn start_old(
    place: &Place<'_>,
    journal: &Journal,
    restored: Option<&Path>,
    on_step: Option<&OnStep>,
) -> Result<(), InPlaceError> {
    let live = &journal.data_directory;
    let restored = restored.filter(|path| path.exists());
    if let Some(restored) = restored
        && !place.server()?.is_running()?
    {
        branch::prepare(live, restored)?;
    }
    if journal.was_running {
        start(place, journal, on_step)?;
        branch::finish(live)?;
    }
    Ok(())
}
