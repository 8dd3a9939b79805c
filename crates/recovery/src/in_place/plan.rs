//! What a restore in place would do.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rekindle_postgres::major_of_directory;
use rekindle_stack::Stack;
use rekindle_vault::{Progress, Vault};
use serde::Serialize;

use super::{
    InPlaceError, LiveFacts, OnStep, Refusal,
    candidate::{self, CandidatePlan},
    journal::{Journal, Stage},
    live::Place,
};
use crate::{
    PointSummary, RecoveryError,
    wal::{RecoveryTarget, TimelineChoice},
};

/// What to restore in place.
pub struct InPlaceRequest<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// A service with a PostgreSQL dataset.
    pub service: String,
    /// The base backup to begin from: a point's id or the beginning of one. `None`: the newest that
    /// leads to the target.
    pub point: Option<String>,
    /// The moment. [`RecoveryTarget::Consistent`] is the point as it is.
    pub target: RecoveryTarget,
    /// The history, where timelines part.
    pub timeline: TimelineChoice,
    /// Whether the target itself is still part of it.
    pub inclusive: bool,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
    /// Told of each step.
    pub on_step: Option<OnStep>,
}

/// What a restore in place would do.
#[derive(Clone, Debug, Serialize)]
pub struct InPlacePlan {
    /// The service.
    pub service: String,
    /// The point.
    pub point: PointSummary,
    /// The moment, in words.
    pub target: String,
    /// The live directory.
    pub data_directory: PathBuf,
    /// Where the candidate is built.
    pub candidate: PathBuf,
    /// Bytes that it needs.
    pub bytes: u64,
    /// Free bytes there; `None` if that cannot be asked.
    pub free_bytes: Option<u64>,
    /// The live server.
    pub live: LiveFacts,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What speaks against it; if there is anything, it is not done.
    pub refusals: Vec<Refusal>,
    /// What would be done, in order.
    pub steps: Vec<String>,
}

/// Says what a restore in place would do. Nothing is changed.
///
/// # Errors
/// If the point or the data directory cannot be found. What speaks against the restore itself is in
/// the plan.
pub fn plan_in_place(
    vault: &Vault,
    request: &InPlaceRequest<'_>,
) -> Result<InPlacePlan, RecoveryError> {
    let place = Place::find(request.stack, &request.service, Some(vault))?;
    plan_at(vault, request, &place)
}

pub(super) fn plan_at(
    vault: &Vault,
    request: &InPlaceRequest<'_>,
    place: &Place<'_>,
) -> Result<InPlacePlan, RecoveryError> {
    let site = &place.site;
    let pgdata = site.pgdata();
    let major = major_of_directory(pgdata).map_err(|error| InPlaceError::NotADirectory {
        path: pgdata.to_owned(),
        reason: rekindle_datasets::with_causes(&error),
    })?;
    let planned = candidate::plan(vault, request, site)?;
    let (live, mut refusals) = LiveFacts::gather(place)?;
    refusals.extend(site.refusals());
    refusals.extend(candidate::refusals(&planned, site, major));
    refusals.extend(not_over(Journal::read(site)?.as_ref()));
    let mut notes = notes(&planned, &live, place);
    if request.target == RecoveryTarget::Latest {
        notes.push(
            "the end of the archive is looked for when the candidate is built: what is written \
             between that and the stop is not in it"
                .to_owned(),
        );
    }
    Ok(InPlacePlan {
        service: place.service.clone(),
        steps: steps(&planned, &live, place),
        point: planned.point,
        target: planned.target,
        data_directory: pgdata.to_owned(),
        candidate: site.candidate(),
        bytes: planned.bytes,
        free_bytes: site.free_bytes(),
        live,
        notes,
        refusals,
    })
}

/// One hold at a time: a second swap over a first one would leave nobody knowing what undo means.
fn not_over(journal: Option<&Journal>) -> Option<Refusal> {
    let journal =
        journal.filter(|journal| !matches!(journal.stage, Stage::Building | Stage::Undone))?;
    let error = InPlaceError::NotOver {
        path: journal.data_directory.clone(),
        state: journal.state(),
    };
    Some(Refusal::new(
        error.to_string(),
        error.hint().unwrap_or_default(),
    ))
}

fn notes(planned: &CandidatePlan, live: &LiveFacts, place: &Place<'_>) -> Vec<String> {
    let mut notes = planned.notes.clone();
    let pgdata = place.site.pgdata();
    notes.push(
        "everything written after the restored moment is not in the restored server; it stays in \
         the old directory"
            .to_owned(),
    );
    if let Some(connections) = live.connections.filter(|connections| *connections > 0) {
        notes.push(format!(
            "{connections} connection(s) of clients will be ended by the stop"
        ));
    }
    for standby in &live.standbys {
        notes.push(format!(
            "`{standby}` receives WAL from the live server, and will not be able to follow the \
             restored one: a standby has to be built anew"
        ));
    }
    for slot in &live.slots {
        notes.push(format!(
            "{} replication slot `{}` is not in the restored directory: who uses it begins anew",
            slot.kind, slot.name
        ));
    }
    if live.is_archiving {
        notes.push(
            "the server archives its WAL; the restored one goes on with that, on a new timeline"
                .to_owned(),
        );
    }
    if let Some(reason) = &live.not_asked {
        notes.push(format!(
            "the live server could not be asked about its users: {reason}"
        ));
    }
    if !live.is_running {
        notes.push(
            "no server runs on the live directory now; the restored one is started".to_owned(),
        );
    }
    if pgdata.join("pg_wal").is_symlink() {
        notes.push(
            "the live directory keeps its WAL elsewhere by a symbolic link; the restored one keeps \
             it inside"
                .to_owned(),
        );
    }
    let tablespaces = outside_tablespaces(pgdata);
    if tablespaces > 0 {
        notes.push(format!(
            "{tablespaces} tablespace(s) lie outside the live directory; the restored one keeps \
             them inside, and the old files stay where they are"
        ));
    }
    notes
}

fn outside_tablespaces(pgdata: &Path) -> usize {
    let Ok(entries) = fs::read_dir(pgdata.join("pg_tblspc")) else {
        return 0;
    };
    let targets = entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.filter(|target| target.is_absolute()).count()
}

fn steps(planned: &CandidatePlan, live: &LiveFacts, place: &Place<'_>) -> Vec<String> {
    let site = &place.site;
    let shown = |path: &Path| path.display().to_string();
    let by = |command: &Option<String>, otherwise: &str| {
        command.as_ref().map_or_else(
            || format!("`{otherwise}`"),
            |command| format!("`{command}`"),
        )
    };
    let settings = place.settings;
    let mut steps = vec![format!(
        "build {} from point {} while the live server goes on",
        shown(&site.candidate()),
        planned.point.id.short()
    )];
    if live.is_running {
        let how = by(&settings.stop_command, "pg_ctl stop -m fast");
        steps.push(format!(
            "stop the server by {how}, and make sure that it has"
        ));
    }
    let aside = site.aside("before", Timestamp::now());
    steps.push(format!(
        "rename {} to {}",
        shown(site.pgdata()),
        shown(&aside)
    ));
    steps.push(format!("rename the candidate to {}", shown(site.pgdata())));
    let how = by(&settings.start_command, "pg_ctl start");
    steps.push(format!(
        "start it by {how}; it recovers to {}",
        planned.target
    ));
    steps.push("check identity, timeline and every database".to_owned());
    steps.push("keep the old directory until it is undone or discarded".to_owned());
    steps
}
