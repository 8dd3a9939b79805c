//! Does as planned, step by step, each in the journal before it is done.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rekindle_postgres::server::{LiveServer, Report, StartOptions, StartedServer};
use rekindle_vault::Vault;

use super::{
    Event, InPlaceError, InPlacePlan, InPlaceRequest, OnStep, Stage, candidate, check,
    check::CheckReport,
    journal::Journal,
    live::Place,
    plan::plan_at,
    site::{self, Site},
    tell,
    undo::go_back,
};
use crate::RecoveryError;

/// A shutdown writes everything that memory holds; a server that takes longer is hung.
const STOP_PATIENCE: Duration = Duration::from_secs(900);
/// A server that starts may take as long as it needs, but not do nothing for so long.
const START_PATIENCE: Duration = Duration::from_secs(600);

/// The steps that need no vault: from here on everything lies beside the live directory.
const SWAP: [Stage; 5] = [
    Stage::Stopping,
    Stage::SettingAside,
    Stage::Promoting,
    Stage::Starting,
    Stage::Checking,
];

/// A restored server in its place.
#[derive(Clone, Debug)]
pub struct InPlaceOutcome {
    /// The moment, in words.
    pub target: String,
    /// Where it runs.
    pub data_directory: PathBuf,
    /// Where the old directory stands.
    pub set_aside: PathBuf,
    /// What was found in it.
    pub check: CheckReport,
    /// From stopping the old server to an answer of the restored one.
    pub downtime: Duration,
    /// All of it, or what was left to do after an interruption.
    pub took: Duration,
    /// Whether an interrupted swap was finished instead of beginning anew.
    pub was_resumed: bool,
}

/// Restores in place. After a crash of an earlier run in the midst of its swap, finishes that.
///
/// # Errors
/// [`InPlaceError::Refused`] and [`InPlaceError::Candidate`] before the live server is touched;
/// [`InPlaceError::Failed`] with how things stand: the old server is put back and started again
/// wherever that can be done.
pub fn restore_in_place(
    vault: &Vault,
    request: &InPlaceRequest<'_>,
) -> Result<InPlaceOutcome, RecoveryError> {
    let clock = Instant::now();
    let place = Place::find(request.stack, &request.service, Some(vault))?;
    let _lock = place.site.lock()?;
    let found = Journal::read(&place.site)?;
    let begun = |journal: &Journal| SWAP.contains(&journal.stage);
    let (journal, was_resumed) = match found {
        Some(journal) if begun(&journal) => (journal, true),
        found => (begin(vault, request, &place, found)?, false),
    };
    let mut outcome = swap(&place, journal, request.on_step.as_ref())?;
    outcome.took = clock.elapsed();
    outcome.was_resumed = was_resumed;
    Ok(outcome)
}

/// Plans, and builds the candidate.
fn begin(
    vault: &Vault,
    request: &InPlaceRequest<'_>,
    place: &Place<'_>,
    found: Option<Journal>,
) -> Result<Journal, RecoveryError> {
    let plan = plan_at(vault, request, place)?;
    if !plan.refusals.is_empty() {
        let refusals = plan.refusals;
        return Err(InPlaceError::Refused { refusals }.into());
    }
    let mut journal = new_journal(&plan, place, found.as_ref())?;
    let on_step = request.on_step.as_ref();
    step(&place.site, &mut journal, Stage::Building, on_step, || {
        let built = candidate::build(vault, request, &plan.point, &place.site);
        built.map_err(|source| InPlaceError::Candidate {
            source: Box::new(source),
        })
    })?;
    Ok(journal)
}

fn new_journal(
    plan: &InPlacePlan,
    place: &Place<'_>,
    found: Option<&Journal>,
) -> Result<Journal, InPlaceError> {
    let site = &place.site;
    let now = Timestamp::now();
    let mut left_over = found.map(Journal::directories).unwrap_or_default();
    left_over.retain(|path| *path != site.candidate());
    let control = rekindle_postgres::ControlFile::read(site.pgdata());
    Ok(Journal {
        format: Journal::FORMAT,
        service: place.service.clone(),
        stage: Stage::Building,
        started: now,
        point: plan.point.id.to_string(),
        target: plan.target.clone(),
        data_directory: site.pgdata().to_owned(),
        candidate: site.candidate(),
        set_aside: site.aside("before", now),
        restored_aside: None,
        system_identifier: control.map_or(0, |control| control.system_identifier),
        old_timeline: plan.live.timeline,
        was_running: plan.live.is_running,
        start_options: StartOptions::read(site.pgdata())?.as_str().to_owned(),
        log: log_for(place)?,
        left_over,
    })
}

/// Where the server writes now, if its user may go on writing there; else a file of ours.
fn log_for(place: &Place<'_>) -> Result<PathBuf, InPlaceError> {
    let found = place.server()?.log_file_of_running();
    Ok(found.unwrap_or_else(|| place.site.log()))
}

/// All that is left to do from the journal's stage on. On a failure goes back.
fn swap(
    place: &Place<'_>,
    mut journal: Journal,
    on_step: Option<&OnStep>,
) -> Result<InPlaceOutcome, InPlaceError> {
    let clock = Instant::now();
    if journal.system_identifier == 0 {
        // The old directory is damaged; what was built says which cluster it is.
        let control = rekindle_postgres::ControlFile::read(&journal.candidate);
        journal.system_identifier = control.map_or(0, |control| control.system_identifier);
    }
    let mut report = CheckReport::default();
    let mut started = None;
    for stage in SWAP {
        if stage < journal.stage {
            continue;
        }
        let done = step(&place.site, &mut journal.clone(), stage, on_step, || {
            match stage {
                Stage::Starting => started = Some(start(place, &journal, on_step)?),
                Stage::Checking => {
                    let server = match started.take() {
                        Some(server) => server,
                        None => start(place, &journal, on_step)?,
                    };
                    report = finish(place, &journal, server)?;
                }
                _ => move_directories(place, &journal, stage)?,
            }
            Ok(())
        });
        journal.stage = stage;
        if let Err(error) = done {
            return Err(take_back(place, journal, stage, error, on_step));
        }
    }
    journal.enter(&place.site, Stage::Held)?;
    Ok(InPlaceOutcome {
        target: journal.target,
        data_directory: journal.data_directory,
        set_aside: journal.set_aside,
        check: report,
        downtime: clock.elapsed(),
        took: Duration::ZERO,
        was_resumed: false,
    })
}

/// Writes the stage, does its work, tells of both.
pub(super) fn step(
    site: &Site,
    journal: &mut Journal,
    stage: Stage,
    on_step: Option<&OnStep>,
    work: impl FnOnce() -> Result<(), InPlaceError>,
) -> Result<(), InPlaceError> {
    journal.enter(site, stage)?;
    tracing::info!(directory = %site.pgdata().display(), "{}", stage.doing());
    tell(on_step, Event::Begins(stage));
    work()?;
    tell(on_step, Event::Ended(stage));
    Ok(())
}

/// Each can be repeated: what lies where says whether it was done.
fn move_directories(
    place: &Place<'_>,
    journal: &Journal,
    stage: Stage,
) -> Result<(), InPlaceError> {
    let live = &journal.data_directory;
    let is_aside = journal.set_aside.exists();
    match stage {
        Stage::Stopping | Stage::SettingAside if is_aside => Ok(()),
        Stage::Stopping => stop(place, &place.server()?),
        Stage::SettingAside => {
            // After an interruption somebody may have started it again.
            stop(place, &place.server()?)?;
            site::rename(live, &journal.set_aside)
        }
        Stage::Promoting if !journal.candidate.exists() && live.exists() => Ok(()),
        Stage::Promoting => {
            candidate::take_histories(&journal.set_aside, &journal.candidate)?;
            site::rename(&journal.candidate, live)
        }
        _ => Ok(()),
    }
}

/// Stops a server if it runs.
pub(super) fn stop(place: &Place<'_>, server: &LiveServer) -> Result<(), InPlaceError> {
    if !server.is_running()? {
        return Ok(());
    }
    let command = place.settings.stop_command.as_deref();
    Ok(server.stop(command, STOP_PATIENCE)?)
}

/// Starts the server on the live directory, whichever that is now, unless it runs; waits for it.
pub(super) fn start(
    place: &Place<'_>,
    journal: &Journal,
    on_step: Option<&OnStep>,
) -> Result<StartedServer, InPlaceError> {
    let server = place.server()?;
    if !server.is_running()? {
        let options = StartOptions::new(&*journal.start_options);
        let command = place.settings.start_command.as_deref();
        server.start(command, &options, &journal.log)?;
    }
    let report = on_step.cloned().map(|on_step| -> Report {
        Arc::new(move |doing| on_step(Event::Recovers(doing.to_owned())))
    });
    let connection = place.cluster.options();
    Ok(server.wait(connection, &journal.log, START_PATIENCE, report)?)
}

fn finish(
    place: &Place<'_>,
    journal: &Journal,
    server: StartedServer,
) -> Result<CheckReport, InPlaceError> {
    let mut report = check::check(place, journal, server)?;
    let pgdata = place.site.pgdata();
    if let Err(error) = candidate::forget_recovery(pgdata) {
        report.warnings.push(format!(
            "the settings of the recovery are still in {}: {error}",
            pgdata.join("postgresql.auto.conf").display()
        ));
    }
    Ok(report)
}

/// After a failure: the old directory in its place, the old server running if it ran.
fn take_back(
    place: &Place<'_>,
    mut journal: Journal,
    failed: Stage,
    error: InPlaceError,
    on_step: Option<&OnStep>,
) -> InPlaceError {
    let doing = failed.doing().to_owned();
    let was_running = journal.was_running;
    let went_back = go_back(place, &mut journal, "failed", on_step);
    let (after, hint) = match went_back {
        Ok(()) => {
            let serves = match was_running {
                true => "the old server serves again",
                false => "the old directory is in its place, stopped as it was found",
            };
            let kept: Vec<_> = [Some(&journal.candidate), journal.restored_aside.as_ref()]
                .into_iter()
                .flatten()
                .filter(|path| path.exists())
                .map(|path| path.display().to_string())
                .collect();
            let kept = match kept.is_empty() {
                true => String::new(),
                false => format!("; what was restored is kept in {}", kept.join(", ")),
            };
            (
                format!("{serves}{kept}"),
                "`rekindle restore --discard` removes what is kept".to_owned(),
            )
        }
        Err(second) => (
            format!(
                "and going back failed too, while {}: {}",
                journal.stage.doing(),
                rekindle_datasets::with_causes(&second)
            ),
            "`rekindle restore --undo` goes on with going back, once the cause is mended"
                .to_owned(),
        ),
    };
    InPlaceError::Failed {
        doing,
        after,
        hint: format!(
            "{}{hint}",
            error.hint().map_or_else(String::new, |hint| hint + "; ")
        ),
        source: Box::new(error),
    }
}
