//! Which WAL may go: never what a kept moment needs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rekindle_postgres::{Lsn, SegmentName, Timeline, layout::TimelineHistory};
use rekindle_stack::Period;
use rekindle_vault::{Hold, HoldScope, Id, Lock, Vault, WalArchive};
use serde::Serialize;

use super::{
    archive::ArchiveView,
    bases::{BasePoint, Bases},
    choose::{self, Times, end_of},
    fetch::wal_file,
    moments::{self, ArchiveTimes},
    target::utc,
};
use crate::RecoveryError;

/// Segments of one timeline that may go, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WalRemoval {
    /// The timeline.
    pub timeline: Timeline,
    /// The first segment.
    pub first: String,
    /// The last one.
    pub last: String,
    /// How many files.
    pub segments: u64,
    /// Why nothing that is kept needs them.
    pub reason: String,
    #[serde(skip)]
    pub(super) files: Vec<(SegmentName, bool)>,
}

/// What the retention of WAL would remove, and what it keeps.
#[derive(Clone, Debug, Serialize)]
pub struct WalRetentionPlan {
    /// The service.
    pub service: String,
    /// The cluster; `None` if there is no base backup of it.
    pub system_identifier: Option<u64>,
    /// Every moment since then stays restorable; `None` if all WAL is kept.
    pub since: Option<Timestamp>,
    /// What would go.
    pub removals: Vec<WalRemoval>,
    /// What stays: segments.
    pub kept_segments: u64,
    /// Why it stays, in words.
    pub kept_because: Vec<String>,
}

/// Says which WAL of a service may go. `keep` is how far back every moment stays restorable; without it
/// all WAL stays.
///
/// # Errors
/// If a listing or a time cannot be had: what cannot be told to be unneeded stays.
pub fn plan_wal_retention(
    vault: &Vault,
    service: &str,
    keep: Option<Period>,
    now: Timestamp,
) -> Result<WalRetentionPlan, RecoveryError> {
    let mut plan = WalRetentionPlan {
        service: service.to_owned(),
        system_identifier: None,
        since: None,
        removals: Vec::new(),
        kept_segments: 0,
        kept_because: Vec::new(),
    };
    if let Some(hold) = hold_on(vault, service, now)? {
        plan.kept_because.push(format!("all WAL stays: {hold}"));
        return Ok(plan);
    }
    let bases = Bases::read(vault, service)?;
    if let Some(unreadable) = bases.unreadable.first() {
        plan.kept_because.push(format!(
            "all WAL stays, because not every recovery point can be read: {unreadable}"
        ));
        return Ok(plan);
    }
    let (Some(period), Some(newest)) = (keep, bases.points.last()) else {
        plan.kept_because.push(match keep {
            None => "all WAL stays: `retention.wal` is not set".to_owned(),
            Some(_) => "all WAL stays: there is no base backup".to_owned(),
        });
        return Ok(plan);
    };
    plan.system_identifier = Some(newest.system);
    let Some(archive) = moments::archive_of(vault)? else {
        plan.kept_because.push("there is no WAL archive".to_owned());
        return Ok(plan);
    };
    let view = moments::view(Some(&archive), newest.system, newest.segment_size)?;
    let times = ArchiveTimes::new(Some(archive), newest.system, newest.segment_size);
    let since = since(period, now);
    plan.since = Some(since);
    let decided = decide(&view, &bases.of_system(newest.system), since, &times)?;
    (plan.removals, plan.kept_segments, plan.kept_because) = decided;
    Ok(plan)
}

fn since(period: Period, now: Timestamp) -> Timestamp {
    let seconds = i64::try_from(period.as_secs()).unwrap_or(i64::MAX);
    let length = jiff::SignedDuration::from_secs(seconds);
    now.checked_sub(length).unwrap_or(Timestamp::MIN)
}

/// A hold that keeps the WAL of a service, in words.
fn hold_on(vault: &Vault, service: &str, now: Timestamp) -> Result<Option<String>, RecoveryError> {
    let holds = vault.holds()?;
    if let Some(unreadable) = holds.unreadable.first() {
        return Ok(Some(format!("a {unreadable}")));
    }
    let is_on = |hold: &&Hold| match &hold.scope {
        HoldScope::All => true,
        HoldScope::Below(path) => path.trim_matches('/').split('/').next() == Some(service),
        HoldScope::Point(_) => false,
    };
    let mut on_it = holds.all.iter().filter(|hold| !hold.is_over(now));
    Ok(on_it
        .find(is_on)
        .map(|hold| format!("hold `{}`", hold.name)))
}

/// Which base backups the moments within a service's `retention.wal` begin from.
pub(crate) enum NeededBases {
    /// All of them, and why.
    All(String),
    /// These, each with why.
    These(BTreeMap<Id, String>),
}

/// Says which base backups of a service must stay for every moment of the last `keep` to be
/// restorable that is now. Agrees with [`plan_wal_retention`]: whatever else is forgotten, the same
/// WAL stays.
pub(crate) fn needed_bases(
    vault: &Vault,
    service: &str,
    keep: Period,
    now: Timestamp,
) -> Result<NeededBases, RecoveryError> {
    let Some(archive) = moments::archive_of(vault)? else {
        return Ok(NeededBases::These(BTreeMap::new()));
    };
    let bases = Bases::read(vault, service)?;
    if let Some(unreadable) = bases.unreadable.first() {
        let text = format!("its WAL may need it: not every point can be read: {unreadable}");
        return Ok(NeededBases::All(text));
    }
    let Some(newest) = bases.points.last() else {
        return Ok(NeededBases::These(BTreeMap::new()));
    };
    let view = moments::view(Some(&archive), newest.system, newest.segment_size)?;
    let times = ArchiveTimes::new(Some(archive), newest.system, newest.segment_size);
    let bases = bases.of_system(newest.system);
    needed_of(&view, &bases, since(keep, now), &times)
}

/// Of each history the base backup that its oldest kept moment begins from, and the first one
/// behind each hole.
pub(super) fn needed_of(
    view: &ArchiveView,
    bases: &[BasePoint],
    since: Timestamp,
    times: &dyn Times,
) -> Result<NeededBases, RecoveryError> {
    let mut needed = BTreeMap::new();
    for timeline in view.timelines() {
        let Some(lineage) = view.lineage(timeline) else {
            let text = format!("the history of timeline {timeline} cannot be read");
            return Ok(NeededBases::All(format!("its WAL may need it: {text}")));
        };
        let Some(anchor) = anchor(view, bases, &lineage, since, times)? else {
            continue;
        };
        let text = |what: &str| format!("WAL {what} here on timeline {timeline}");
        needed
            .entry(anchor.id)
            .or_insert_with(|| text(&format!("window since {} begins", utc(since))));
        let mut behind = choose::on_lineage(bases, &lineage);
        behind.retain(|base| base.stop > anchor.stop);
        let mut end = view.reach(&lineage, anchor.stop).end;
        for base in behind {
            if base.stop > end {
                needed
                    .entry(base.id)
                    .or_insert_with(|| text("begins anew after a hole"));
                end = view.reach(&lineage, base.stop).end;
            }
        }
    }
    Ok(NeededBases::These(needed))
}

/// Plans and removes under an exclusive lock that is held, so that the plan is true when it is carried
/// out and no restore loses WAL in its middle. Oldest first: being stopped leaves no hole. Returns
/// the plan, and how many files were removed.
///
/// # Errors
/// As the store failed, or the lock was lost; what was not removed yet stays.
pub fn apply_wal_retention_under(
    lock: &Lock,
    vault: &Vault,
    service: &str,
    keep: Option<Period>,
    now: Timestamp,
) -> Result<(WalRetentionPlan, u64), RecoveryError> {
    let plan = plan_wal_retention(vault, service, keep, now)?;
    lock.ensure_held()?;
    let (Some(system), Some(archive)) = (plan.system_identifier, moments::archive_of(vault)?)
    else {
        return Ok((plan, 0));
    };
    let mut removed = 0;
    for removal in &plan.removals {
        for (segment, is_partial) in &removal.files {
            remove(&archive, system, *segment, *is_partial)?;
            removed += 1;
        }
        tracing::info!(
            timeline = %removal.timeline, first = removal.first, last = removal.last, "WAL removed"
        );
    }
    Ok((plan, removed))
}

fn remove(
    archive: &WalArchive,
    system: u64,
    segment: SegmentName,
    is_partial: bool,
) -> Result<(), RecoveryError> {
    Ok(archive.delete(&wal_file(system, segment, is_partial))?)
}

type Decided = (Vec<WalRemoval>, u64, Vec<String>);

/// Where each timeline begins to be needed. A segment below that on its timeline may go.
pub(super) fn decide(
    view: &ArchiveView,
    bases: &[BasePoint],
    since: Timestamp,
    times: &dyn Times,
) -> Result<Decided, RecoveryError> {
    let mut needed: BTreeMap<Timeline, u64> = BTreeMap::new();
    let mut because = Vec::new();
    for timeline in view.timelines() {
        let Some(lineage) = view.lineage(timeline) else {
            because.push(format!(
                "all WAL stays: the history of timeline {timeline} cannot be read, so nobody can say what it needs"
            ));
            return Ok((Vec::new(), count(view), because));
        };
        let anchor = anchor(view, bases, &lineage, since, times)?;
        if anchor.is_none() && view.timelines().last() == Some(&timeline) {
            because.push(format!(
                "all WAL stays: no base backup leads to timeline {timeline}, the newest; the next \
                 `rekindle backup` makes one"
            ));
            return Ok((Vec::new(), count(view), because));
        }
        let Some(anchor) = anchor else {
            because.push(format!(
                "timeline {timeline}: no moment since {} needs its own WAL",
                utc(since)
            ));
            continue;
        };
        because.push(format!(
            "timeline {timeline}: from the base backup of {} on, so that every moment since {} can \
             be restored",
            utc(anchor.stop_time),
            utc(since)
        ));
        need(view, &lineage, anchor.start, &mut needed);
    }
    let removals = removals(view, &needed, since);
    let removed: u64 = removals.iter().map(|removal| removal.segments).sum();
    Ok((removals, count(view).saturating_sub(removed), because))
}

fn count(view: &ArchiveView) -> u64 {
    let whole: usize = view
        .timelines()
        .into_iter()
        .map(|timeline| view.segments_of(timeline).count())
        .sum();
    (whole + view.partials().count()) as u64
}

/// The base backup that the oldest kept moment of a history begins from: the newest one before
/// `since`, else the oldest one there is. `None` if nothing of it is as new as `since`.
fn anchor<'a>(
    view: &ArchiveView,
    bases: &'a [BasePoint],
    lineage: &TimelineHistory,
    since: Timestamp,
    times: &dyn Times,
) -> Result<Option<&'a BasePoint>, RecoveryError> {
    let mut on_it: Vec<_> = bases
        .iter()
        .filter(|base| lineage.contains(base.timeline, base.stop))
        .collect();
    on_it.sort_by_key(|base| base.stop);
    let Some(newest) = on_it.last() else {
        return Ok(None);
    };
    let end = end_of(
        view,
        lineage,
        newest,
        &view.reach(lineage, newest.stop),
        times,
    )?;
    let is_newest = view.timelines().last() == Some(&lineage.timeline());
    if !is_newest && end.time.is_some_and(|end| end < since) {
        return Ok(None);
    }
    let before = on_it.iter().rev().find(|base| base.stop_time <= since);
    Ok(before.or(on_it.first()).copied())
}

/// Notes that a history is needed from `start` on, on every timeline that it passes through.
fn need(
    view: &ArchiveView,
    lineage: &TimelineHistory,
    start: Lsn,
    needed: &mut BTreeMap<Timeline, u64>,
) {
    let size = view.size();
    let ancestors = lineage.entries().iter().map(|entry| entry.timeline);
    for timeline in ancestors.chain([lineage.timeline()]) {
        if lineage.end_of(timeline).is_some_and(|end| end <= start) {
            continue;
        }
        let begin = lineage.begin_of(timeline).unwrap_or(Lsn::INVALID);
        let from = size.number_of(begin.max(start));
        let least = needed.entry(timeline).or_insert(from);
        *least = from.min(*least);
    }
}

fn removals(
    view: &ArchiveView,
    needed: &BTreeMap<Timeline, u64>,
    since: Timestamp,
) -> Vec<WalRemoval> {
    let mut removals = Vec::new();
    for timeline in view.timelines() {
        let least = needed.get(&timeline).copied().unwrap_or(u64::MAX);
        let whole = view.segments_of(timeline).map(|segment| (segment, false));
        let unfinished = view
            .partials()
            .filter(|segment| segment.timeline() == timeline)
            .map(|segment| (segment, true));
        let mut files: Vec<_> = whole
            .chain(unfinished)
            .filter(|(segment, _)| segment.number() < least)
            .collect();
        files.sort_by_key(|(segment, is_partial)| (segment.number(), *is_partial));
        let (Some((first, _)), Some((last, _))) = (files.first(), files.last()) else {
            continue;
        };
        removals.push(WalRemoval {
            timeline,
            first: first.to_string(),
            last: last.to_string(),
            segments: files.len() as u64,
            reason: format!("no moment since {} needs it", utc(since)),
            files,
        });
    }
    removals
}
