//! The moments that can be restored.

use std::fmt;

use jiff::Timestamp;
use rekindle_postgres::{Lsn, Timeline, layout::TimelineHistory};
use rekindle_vault::{Id, Vault};
use serde::Serialize;

use super::{
    archive::{ArchiveView, Hole},
    bases::{BasePoint, Bases},
    choose::{Times, end_of},
    moments::{self, ArchiveTimes},
    target::utc,
};
use crate::RecoveryError;

/// A place in the WAL, and when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// The place.
    pub lsn: Lsn,
    /// When, by the clock of the server; of a base backup by that of the machine that made it.
    pub time: Option<Timestamp>,
}

impl Moment {
    pub(super) const fn of_base(base: &BasePoint) -> Self {
        Self {
            lsn: base.stop,
            time: Some(base.stop_time),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.time {
            Some(time) => write!(f, "{} (LSN {})", utc(time), self.lsn),
            None => write!(f, "LSN {}", self.lsn),
        }
    }
}

/// An unbroken span of WAL in which any moment can be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The timeline at its end.
    pub timeline: Timeline,
    /// The end of its first base backup.
    pub from: Moment,
    /// Its last commit, and where its WAL ends.
    pub to: Moment,
    /// The base backups in it, oldest first.
    pub points: Vec<Id>,
    /// Why it ends, if there is WAL beyond.
    pub hole: Option<Hole>,
}

/// All moments of a service that can be restored.
#[derive(Clone, Debug, Serialize)]
pub struct Windows {
    /// The service.
    pub service: String,
    /// The cluster; `None` if there is neither a base backup nor WAL.
    pub system_identifier: Option<u64>,
    /// The windows, newest timeline first, and within it the newest first.
    pub windows: Vec<Window>,
    /// What a person should know: timelines without history, points that cannot be read.
    pub problems: Vec<String>,
}

/// Computes the windows of a service.
///
/// # Errors
/// If the vault or the archive cannot be listed. What is listed and cannot be read is among the
/// problems.
pub fn windows(vault: &Vault, service: &str) -> Result<Windows, RecoveryError> {
    let bases = Bases::read(vault, service)?;
    let mut found = Windows {
        service: service.to_owned(),
        system_identifier: bases.newest_system(),
        windows: Vec::new(),
        problems: bases.unreadable.clone(),
    };
    let Some((system, newest)) = bases.newest_system().zip(bases.points.last()) else {
        return Ok(found);
    };
    let archive = moments::archive_of(vault)?;
    let view = moments::view(archive.as_ref(), system, newest.segment_size)?;
    let times = ArchiveTimes::new(archive, system, newest.segment_size);
    found.windows = compute(&view, &bases.of_system(system), &times)?;
    found.problems.extend(problems(&view));
    if bases.points.iter().any(|base| base.system != system) {
        found.problems.push(
            "older recovery points are of another cluster; restore them by their id".to_owned(),
        );
    }
    Ok(found)
}

/// The windows of all timelines, those left out that are part of a longer one.
pub(super) fn compute(
    view: &ArchiveView,
    bases: &[BasePoint],
    times: &dyn Times,
) -> Result<Vec<Window>, RecoveryError> {
    let mut timelines = view.timelines();
    timelines.extend(bases.iter().map(|base| base.timeline));
    timelines.sort_unstable();
    timelines.dedup();
    let mut lineages = Vec::new();
    for timeline in timelines.into_iter().rev() {
        match view.lineage(timeline) {
            Some(lineage) => lineages.push(lineage),
            None => tracing::warn!(%timeline, "the history of a timeline is missing"),
        }
    }
    let mut windows: Vec<(TimelineHistory, Window)> = Vec::new();
    for lineage in lineages {
        for window in of_lineage(view, bases, &lineage, times)? {
            let is_part = |(longer, other): &(TimelineHistory, Window)| {
                is_part_of(&window, lineage.timeline(), other, longer)
            };
            if !windows.iter().any(is_part) {
                windows.push((lineage.clone(), window));
            }
        }
    }
    Ok(windows.into_iter().map(|(_, window)| window).collect())
}

fn is_part_of(window: &Window, of: Timeline, other: &Window, longer: &TimelineHistory) -> bool {
    longer.end_of(of).is_some_and(|end| window.to.lsn <= end)
        && window
            .points
            .iter()
            .all(|point| other.points.contains(point))
}

fn of_lineage(
    view: &ArchiveView,
    bases: &[BasePoint],
    lineage: &TimelineHistory,
    times: &dyn Times,
) -> Result<Vec<Window>, RecoveryError> {
    let mut on_it: Vec<_> = bases
        .iter()
        .filter(|base| lineage.contains(base.timeline, base.stop))
        .collect();
    on_it.sort_by_key(|base| base.stop);
    let mut windows: Vec<Window> = Vec::new();
    let mut open_end = None;
    for base in on_it {
        let reach = view.reach(lineage, base.stop);
        // Nothing in the archive at its end: the point is all there is.
        let alone = reach.partial.is_none() && reach.end <= base.stop;
        match windows.last_mut() {
            Some(window) if !alone && open_end == Some(reach.end) => window.points.push(base.id),
            _ => {
                windows.push(Window {
                    timeline: lineage.timeline(),
                    from: Moment::of_base(base),
                    to: end_of(view, lineage, base, &reach, times)?,
                    points: vec![base.id],
                    hole: reach.hole,
                });
                open_end = (!alone).then_some(reach.end);
            }
        }
    }
    windows.reverse();
    Ok(windows)
}

fn problems(view: &ArchiveView) -> Vec<String> {
    let without_history = |timeline: &Timeline| view.lineage(*timeline).is_none();
    view.timelines()
        .into_iter()
        .filter(without_history)
        .map(|timeline| {
            let why = view
                .unreadable_history(timeline)
                .unwrap_or("it is not in the archive");
            format!(
                "timeline {timeline} cannot be restored: {} cannot be had: {why}",
                timeline.history_file_name()
            )
        })
        .collect()
}
