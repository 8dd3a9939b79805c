//! Which WAL to read.

use jiff::{SignedDuration, Timestamp};
use rekindle_postgres::{
    Lsn, SegmentName, SegmentSize, layout::TimelineHistory, wal::reader::Segment,
};
use rekindle_vault::{Vault, WalArchive};

use super::{Fetched, FindRequest};
use crate::{
    RecoveryError,
    wal::{
        ArchiveView, BasePoint, TargetError, TimelineChoice,
        bases::Bases,
        choose::{Times, lineage, on_lineage},
        moments::{self, ArchiveTimes},
    },
};

/// Without a time to begin at: so much before the end.
const USUAL: SignedDuration = SignedDuration::from_hours(24);

/// If the base backup that names come from is not further back than this, reading begins with it,
/// because then every table is followed to its files.
const FROM_BASE_BYTES: u64 = 1 << 30;

/// The WAL to read, and what is known about it.
pub(super) struct Span {
    archive: WalArchive,
    view: ArchiveView,
    /// The base backup that names come from.
    pub base: BasePoint,
    pub lineage: TimelineHistory,
    pub is_newest: bool,
    pub since: Option<Timestamp>,
    pub runs: Vec<Run>,
    pub problems: Vec<String>,
}

/// Segments that follow each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    whole: Vec<SegmentName>,
    partial: Option<SegmentName>,
}

impl Run {
    /// The segments, and whether only the beginning of one is there.
    pub fn files(&self) -> impl Iterator<Item = (SegmentName, bool)> {
        let whole = self.whole.iter().map(|segment| (*segment, false));
        whole.chain(self.partial.map(|segment| (segment, true)))
    }
}

impl Span {
    pub fn choose(vault: &Vault, request: &FindRequest<'_>) -> Result<Self, RecoveryError> {
        let bases = Bases::read(vault, &request.service)?;
        let (Some(system), Some(newest)) = (bases.newest_system(), bases.points.last()) else {
            return Err(TargetError::NoBase {
                service: request.service.clone(),
            }
            .into());
        };
        let archive = moments::archive_of(vault)?.ok_or(TargetError::NoArchive)?;
        let view = moments::view(Some(&archive), system, newest.segment_size)?;
        let lineage_of = |choice| lineage(&view, newest, choice);
        let lineage = lineage_of(request.timeline)?;
        let is_newest = lineage_of(TimelineChoice::Latest)
            .is_ok_and(|newest| newest.timeline() == lineage.timeline());
        let times = ArchiveTimes::new(Some(archive.clone()), system, newest.segment_size);
        let mut files = all_runs(&view, &lineage);
        let problems = holes(&files, &view);
        let since = match (request.after, request.since.or(request.until.map(before))) {
            (Some(_), _) => request.since,
            (None, Some(since)) => Some(since),
            (None, None) => last_time(&files, &times)?.map(before),
        };
        let bases = on_lineage(&bases.of_system(system), &lineage);
        let no_base = || TargetError::NoBaseOnTimeline {
            service: request.service.clone(),
            timeline: lineage.timeline(),
        };
        let base = match request.after {
            Some(after) => base_at(&bases, after),
            None => base_for(&bases, since),
        };
        let base = base.ok_or_else(no_base)?;
        let first = match (request.after, since) {
            (Some(after), _) => Some(view.segment_on(&lineage, view.size().number_of(after))),
            (None, Some(since)) => first_after(&files_of(&files), since, &times)?,
            (None, None) => files_of(&files).first().map(|(segment, _)| *segment),
        };
        files = cut(files, first, &base);
        Ok(Self {
            archive,
            view,
            base,
            lineage,
            is_newest,
            since,
            runs: files,
            problems,
        })
    }

    pub const fn size(&self) -> SegmentSize {
        self.view.size()
    }

    /// Where reading begins.
    pub fn from(&self) -> Lsn {
        let first = self.runs.iter().find_map(|run| run.files().next());
        first.map_or(Lsn::INVALID, |(segment, _)| segment.start())
    }

    pub fn fetch(&self, segment: SegmentName, is_partial: bool) -> Fetched {
        let system = self.base.system;
        let bytes = moments::read_segment(&self.archive, system, segment, is_partial)?;
        moments::check(&bytes, segment, self.size(), system, is_partial)?;
        Ok(Segment {
            name: segment,
            bytes,
        })
    }
}

fn before(time: Timestamp) -> Timestamp {
    time.checked_sub(USUAL).unwrap_or(Timestamp::MIN)
}

/// All WAL of a history that is there, from the oldest on.
fn all_runs(view: &ArchiveView, lineage: &TimelineHistory) -> Vec<Run> {
    let whole = view
        .timelines()
        .into_iter()
        .flat_map(|timeline| view.segments_of(timeline).next());
    let is_on_it = |segment: &SegmentName| {
        let timeline = segment.timeline();
        let is_left = lineage
            .end_of(timeline)
            .is_some_and(|end| end <= segment.start());
        lineage.begin_of(timeline).is_some() && !is_left
    };
    let first = whole.chain(view.partials()).filter(is_on_it);
    let mut from = first.map(SegmentName::start).min();
    let mut runs = Vec::new();
    while let Some(start) = from {
        let reach = view.reach(lineage, start);
        let (size, mut run) = (view.size(), Run::default());
        for number in size.number_of(start)..size.number_of(reach.end) {
            run.whole.push(view.segment_on(lineage, number));
        }
        run.partial = reach.partial;
        runs.push(run);
        from = reach
            .hole
            .map(|hole| hole.resumes)
            .filter(|next| *next > start);
    }
    runs.retain(|run| run.files().next().is_some());
    runs
}

fn holes(runs: &[Run], view: &ArchiveView) -> Vec<String> {
    let begins = runs.iter().skip(1).filter_map(|run| run.files().next());
    begins
        .map(|(segment, _)| {
            let before = view.size().start_of(segment.number().saturating_sub(1));
            format!("WAL is missing up to {before}; what was committed there is not listed")
        })
        .collect()
}

fn files_of(runs: &[Run]) -> Vec<(SegmentName, bool)> {
    runs.iter().flat_map(Run::files).collect()
}

/// The time of the last commit there is.
fn last_time(runs: &[Run], times: &dyn Times) -> Result<Option<Timestamp>, RecoveryError> {
    for (segment, is_partial) in files_of(runs).into_iter().rev() {
        if let Some(time) = times.of(segment, is_partial)?.latest {
            return Ok(Some(time));
        }
    }
    Ok(None)
}

/// The newest base backup before `since`, else the oldest there is.
fn base_for(bases: &[BasePoint], since: Option<Timestamp>) -> Option<BasePoint> {
    let is_before = |base: &&BasePoint| since.is_some_and(|since| base.stop_time <= since);
    bases.iter().rfind(is_before).or(bases.first()).cloned()
}

/// The newest base backup before a place, else the oldest there is.
fn base_at(bases: &[BasePoint], after: Lsn) -> Option<BasePoint> {
    let is_before = |base: &&BasePoint| base.stop <= after;
    bases.iter().rfind(is_before).or(bases.first()).cloned()
}

/// The first file with a commit that is not before `since`, by halving: times ascend but for moments.
fn first_after(
    files: &[(SegmentName, bool)],
    since: Timestamp,
    times: &dyn Times,
) -> Result<Option<SegmentName>, RecoveryError> {
    let (mut low, mut high) = (0, files.len());
    while low < high {
        let middle = low + (high - low) / 2;
        // A segment may be without a commit; the next one that has one speaks for it.
        let mut probe = middle;
        let mut latest = None;
        while probe < high && latest.is_none() {
            let (segment, is_partial) = files[probe];
            latest = times.of(segment, is_partial)?.latest;
            probe += 1;
        }
        match latest {
            Some(latest) if latest < since => low = probe,
            _ => high = middle,
        }
    }
    Ok(files.get(low).map(|(segment, _)| *segment))
}

/// Leaves out what lies before the first segment of interest. One segment more tells which
/// transactions were running; a base backup near by tells which files tables had.
fn cut(runs: Vec<Run>, first: Option<SegmentName>, base: &BasePoint) -> Vec<Run> {
    let Some(first) = first else {
        return Vec::new();
    };
    let size = first.size();
    let with_one_more = first.number().saturating_sub(1);
    let of_base = size.number_of(base.start);
    let is_near = of_base <= with_one_more
        && (with_one_more - of_base).saturating_mul(size.bytes()) <= FROM_BASE_BYTES;
    let from = if is_near { of_base } else { with_one_more };
    let mut kept: Vec<Run> = runs;
    for run in &mut kept {
        run.whole.retain(|segment| segment.number() >= from);
        run.partial = run.partial.filter(|segment| segment.number() >= from);
    }
    kept.retain(|run| run.files().next().is_some());
    kept
}
