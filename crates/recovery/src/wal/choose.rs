//! Which base backup and which WAL lead to a moment. Decides; fetches nothing but times.

use jiff::Timestamp;
use rekindle_postgres::{Lsn, SegmentName, Timeline, layout::TimelineHistory};
use rekindle_vault::Id;

use super::{
    archive::{ArchiveView, Hole, Reach},
    bases::BasePoint,
    target::{RecoveryTarget, TimelineChoice, utc},
    windows::Moment,
};
use crate::RecoveryError;

/// What WAL says about times, asked segment by segment.
pub(super) trait Times {
    /// When commits of a segment were, and where its records end. Of an unfinished segment, those of
    /// the part that is there.
    fn of(&self, segment: SegmentName, is_partial: bool) -> Result<SegmentTimes, RecoveryError>;

    /// Where the first of the segments' records is that is what was asked for. They follow each
    /// other without a hole; the last may be unfinished.
    fn find(
        &self,
        wanted: &RecoveryTarget,
        segments: &[SegmentName],
        partial: Option<SegmentName>,
    ) -> Result<Option<Moment>, RecoveryError>;
}

/// What a segment says about times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentTimes {
    /// Of the last commit.
    pub last_commit: Option<Timestamp>,
    /// The latest of any commit or abort: a server compares its target with both.
    pub latest: Option<Timestamp>,
    /// Behind its last whole record.
    pub end: Lsn,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub service: &'a str,
    pub target: &'a RecoveryTarget,
    pub timeline: TimelineChoice,
    /// Whether the target itself is part of it.
    pub inclusive: bool,
    /// A base backup to begin from.
    pub point: Option<Id>,
}

/// The way to a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Where it begins.
    pub base: BasePoint,
    /// Which history it follows.
    pub lineage: TimelineHistory,
    /// The WAL to fetch, in order.
    pub segments: Vec<SegmentName>,
    /// An unfinished segment that follows them.
    pub partial: Option<SegmentName>,
    /// What the server is told. The very last commit's time becomes [`RecoveryTarget::Latest`]: a
    /// server knows that it has reached a time only by a later one.
    pub target: RecoveryTarget,
    /// Where it ends, as far as that is known beforehand.
    pub end: Moment,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Why a moment cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No point of the service holds a base backup.
    #[error("`{service}` has no recovery point with a base backup")]
    NoBase {
        /// Whose.
        service: String,
    },
    /// The vault holds no WAL at all.
    #[error("the vault has no WAL archive")]
    NoArchive,
    /// The point that was named is no base backup of the service.
    #[error("recovery point {} holds no base backup of `{service}`", point.short())]
    NotABase {
        /// The point.
        point: Id,
        /// Whose.
        service: String,
    },
    /// A timeline that the archive has nothing of.
    #[error("the archive has no timeline {timeline}; it has {known}")]
    NoTimeline {
        /// What was asked for.
        timeline: Timeline,
        /// What there is.
        known: String,
    },
    /// Without its history file nobody knows where a timeline comes from.
    #[error("the archive has WAL of timeline {timeline} and not its history: {reason}")]
    NoHistory {
        /// Which.
        timeline: Timeline,
        /// What is wrong.
        reason: String,
    },
    /// No base backup leads to the timeline.
    #[error("no base backup of `{service}` leads to timeline {timeline}")]
    NoBaseOnTimeline {
        /// Whose.
        service: String,
        /// Which.
        timeline: Timeline,
    },
    /// Earlier than the first base backup.
    #[error(
        "{target} is before the first moment that can be restored on timeline {timeline}, {first}"
    )]
    TooEarly {
        /// What was wanted.
        target: RecoveryTarget,
        /// On which history.
        timeline: Timeline,
        /// The nearest moment.
        first: Moment,
    },
    /// Later than the last WAL.
    #[error(
        "{target} is after the last moment that can be restored on timeline {timeline}, {last}"
    )]
    TooLate {
        /// What was wanted.
        target: RecoveryTarget,
        /// On which history.
        timeline: Timeline,
        /// The nearest moment.
        last: Moment,
    },
    /// Where WAL is missing.
    #[error(
        "{target} lies where the archive has a hole: {} ({}) missing; before it the last moment is {before}{}",
        hole_name(hole), segments(hole.segments), after_words(after.as_ref())
    )]
    InHole {
        /// What was wanted.
        target: RecoveryTarget,
        /// What is missing.
        hole: Hole,
        /// The last moment before it.
        before: Moment,
        /// The first one after it.
        after: Option<Moment>,
    },
    /// Not on the newest history, and on another.
    #[error("{target} is not on timeline {timeline}, and can be restored on timeline {other}")]
    OnOtherTimeline {
        /// What was wanted.
        target: RecoveryTarget,
        /// Where it was looked for.
        timeline: Timeline,
        /// Where it is.
        other: Timeline,
    },
    /// No such transaction or name in the WAL.
    #[error("{target} is nowhere in the WAL of timeline {timeline} from {first} to {last}")]
    NotFound {
        /// What was wanted.
        target: RecoveryTarget,
        /// On which history.
        timeline: Timeline,
        /// The first moment that was looked at.
        first: Moment,
        /// The last one.
        last: Moment,
    },
    /// The WAL could not be asked.
    #[error(transparent)]
    Asking(Box<RecoveryError>),
}

impl From<RecoveryError> for TargetError {
    fn from(error: RecoveryError) -> Self {
        Self::Asking(Box::new(error))
    }
}

impl TargetError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoBase { .. } => {
                "`rekindle backup` makes one; `physical: true` must be set".to_owned()
            }
            Self::NoArchive => {
                "`wal: stream` at the postgres dataset and `rekindle wal stream` fill \
                 one; `wal: push` has the server fill it"
                    .to_owned()
            }
            Self::NotABase { .. } => "`rekindle points` lists what each point holds".to_owned(),
            Self::NoTimeline { .. } | Self::NoBaseOnTimeline { .. } | Self::NotFound { .. } => {
                "`rekindle wal windows` lists every moment that can be restored".to_owned()
            }
            Self::NoHistory { timeline, .. } => format!(
                "`--timeline {}` restores without it; `rekindle vault check` looks for damage",
                timeline.number().saturating_sub(1)
            ),
            Self::TooEarly { first, .. } => nearest(first),
            Self::TooLate { .. } => "`--at latest` restores all there is".to_owned(),
            Self::InHole { before, after, .. } => nearest(after.as_ref().unwrap_or(before)),
            Self::OnOtherTimeline { other, .. } => {
                format!("add `--timeline {other}`; `rekindle wal windows` shows which is which")
            }
            Self::Asking(error) => return error.hint(),
        })
    }

    /// Whether another history may have what this one has not.
    const fn is_about_place(&self) -> bool {
        matches!(
            self,
            Self::TooEarly { .. }
                | Self::TooLate { .. }
                | Self::InHole { .. }
                | Self::NotFound { .. }
                | Self::NoBaseOnTimeline { .. }
        )
    }
}

fn nearest(moment: &Moment) -> String {
    match moment.time {
        Some(time) => format!("the nearest is `--at '{}'`", utc(time)),
        None => format!("the nearest is `--at {}`", moment.lsn),
    }
}

fn hole_name(hole: &Hole) -> String {
    if hole.segments == 1 {
        hole.first_missing.clone()
    } else {
        format!("{} to {}", hole.first_missing, hole.last_missing)
    }
}

pub(super) fn segments(number: u64) -> String {
    format!("{number} segment{}", if number == 1 { "" } else { "s" })
}

fn after_words(after: Option<&Moment>) -> String {
    after.map_or_else(String::new, |after| {
        format!(", after it the first is {after}")
    })
}

/// Finds the way to what is wanted.
pub(super) fn choose(
    view: &ArchiveView,
    bases: &[BasePoint],
    wanted: &Wanted<'_>,
    times: &dyn Times,
) -> Result<Chosen, TargetError> {
    let bases = eligible(bases, wanted)?;
    let newest = newest(&bases, wanted)?;
    if *wanted.target == RecoveryTarget::Consistent {
        return Ok(only_the_base(view, newest));
    }
    let lineage = lineage(view, newest, wanted.timeline)?;
    let way = Way {
        view,
        wanted,
        times,
        bases: on_lineage(&bases, &lineage),
        lineage,
    };
    match way.find() {
        Err(error) if wanted.timeline == TimelineChoice::Latest && error.is_about_place() => {
            Err(way.elsewhere(&bases).unwrap_or(error))
        }
        other => other,
    }
}

fn eligible(bases: &[BasePoint], wanted: &Wanted<'_>) -> Result<Vec<BasePoint>, TargetError> {
    let Some(point) = wanted.point else {
        return Ok(bases.to_vec());
    };
    match bases.iter().find(|base| base.id == point) {
        Some(base) => Ok(vec![base.clone()]),
        None => Err(TargetError::NotABase {
            point,
            service: wanted.service.to_owned(),
        }),
    }
}

fn newest<'a>(bases: &'a [BasePoint], wanted: &Wanted<'_>) -> Result<&'a BasePoint, TargetError> {
    bases.last().ok_or_else(|| TargetError::NoBase {
        service: wanted.service.to_owned(),
    })
}

fn only_the_base(view: &ArchiveView, base: &BasePoint) -> Chosen {
    let lineage = view.lineage(base.timeline);
    Chosen {
        lineage: lineage.unwrap_or_else(TimelineHistory::first),
        segments: Vec::new(),
        partial: None,
        target: RecoveryTarget::Consistent,
        end: Moment::of_base(base),
        notes: Vec::new(),
        base: base.clone(),
    }
}

pub(super) fn on_lineage(bases: &[BasePoint], lineage: &TimelineHistory) -> Vec<BasePoint> {
    let mut found: Vec<_> = bases
        .iter()
        .filter(|base| lineage.contains(base.timeline, base.stop))
        .cloned()
        .collect();
    found.sort_by_key(|base| base.stop);
    found
}

/// The history to follow. A missing history file is an error and no reason to follow an older one
/// in silence.
pub(super) fn lineage(
    view: &ArchiveView,
    newest: &BasePoint,
    choice: TimelineChoice,
) -> Result<TimelineHistory, TargetError> {
    let known = view.timelines();
    let timeline = match choice {
        TimelineChoice::Current => newest.timeline,
        TimelineChoice::Number(number) => number,
        TimelineChoice::Latest => known
            .last()
            .copied()
            .unwrap_or(newest.timeline)
            .max(newest.timeline),
    };
    if let Some(lineage) = view.lineage(timeline) {
        return Ok(lineage);
    }
    if !known.contains(&timeline) && timeline != newest.timeline {
        let known: Vec<_> = known.iter().map(ToString::to_string).collect();
        return Err(TargetError::NoTimeline {
            timeline,
            known: if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            },
        });
    }
    let reason = view.unreadable_history(timeline).map_or_else(
        || format!("{} is missing", timeline.history_file_name()),
        str::to_owned,
    );
    Err(TargetError::NoHistory { timeline, reason })
}

/// One history, and what is wanted of it.
struct Way<'a> {
    view: &'a ArchiveView,
    wanted: &'a Wanted<'a>,
    times: &'a dyn Times,
    /// On this history, in its order.
    bases: Vec<BasePoint>,
    lineage: TimelineHistory,
}

impl Way<'_> {
    fn find(&self) -> Result<Chosen, TargetError> {
        let Some(newest) = self.bases.last() else {
            return Err(TargetError::NoBaseOnTimeline {
                service: self.wanted.service.to_owned(),
                timeline: self.lineage.timeline(),
            });
        };
        match self.wanted.target {
            RecoveryTarget::Latest | RecoveryTarget::Consistent => self.to_the_end(newest),
            RecoveryTarget::Time(time) => self.to_time(*time),
            RecoveryTarget::Lsn(lsn) => self.to_lsn(*lsn),
            RecoveryTarget::Transaction(_) | RecoveryTarget::RestorePoint(_) => self.to_record(),
        }
    }

    fn reach(&self, base: &BasePoint) -> Reach {
        self.view.reach(&self.lineage, base.stop)
    }

    fn to_the_end(&self, base: &BasePoint) -> Result<Chosen, TargetError> {
        let reach = self.reach(base);
        let mut chosen = self.chosen(base, &reach, u64::MAX)?;
        if let Some(hole) = &reach.hole {
            chosen.notes.push(format!(
                "the archive has a hole: {} ({}) missing; what was committed after {} is not restored",
                hole_name(hole),
                segments(hole.segments),
                chosen.end
            ));
        }
        Ok(chosen)
    }

    fn to_time(&self, time: Timestamp) -> Result<Chosen, TargetError> {
        let base = self.last_base(|base| base.stop_time <= time)?;
        let reach = self.reach(base);
        if let Some(number) = self.first_segment_after(base, &reach, time)? {
            return self.chosen(base, &reach, number.saturating_add(1));
        }
        if self.end(base, &reach)?.time != Some(time) {
            return Err(self.beyond(base, &reach)?);
        }
        let mut chosen = self.chosen(base, &reach, u64::MAX)?;
        chosen.target = RecoveryTarget::Latest;
        Ok(chosen)
    }

    fn to_lsn(&self, lsn: Lsn) -> Result<Chosen, TargetError> {
        let base = self.last_base(|base| base.stop <= lsn)?;
        let reach = self.reach(base);
        let end = self.end(base, &reach)?;
        // A record must begin there or later, or the server would never know that it has arrived.
        if lsn >= end.lsn {
            return Err(self.beyond(base, &reach)?);
        }
        self.chosen(
            base,
            &reach,
            self.view.size().number_of(lsn).saturating_add(1),
        )
    }

    /// Looks through the WAL behind each base backup, newest first: what is asked for is more often
    /// of yesterday than of last month.
    fn to_record(&self) -> Result<Chosen, TargetError> {
        let (mut until, mut is_too_early) = (None, false);
        for base in self.bases.iter().rev() {
            let reach = self.reach(base);
            let (segments, partial) = self.files(base, &reach, until.unwrap_or(u64::MAX));
            let found = self.times.find(self.wanted.target, &segments, partial)?;
            // A segment begins before the backup's end. A server that is to stop there is not consistent yet, and refuses.
            is_too_early = found.is_some_and(|found| found.lsn < base.stop);
            if let Some(found) = found.filter(|found| found.lsn >= base.stop) {
                let number = self.view.size().number_of(found.lsn);
                let mut chosen = self.chosen(base, &reach, number.saturating_add(1))?;
                chosen.end = found;
                return Ok(chosen);
            }
            until = Some(self.view.size().number_of(base.stop));
        }
        let (first, newest) = (&self.bases[0], &self.bases[self.bases.len() - 1]);
        if is_too_early {
            return Err(TargetError::TooEarly {
                target: self.wanted.target.clone(),
                timeline: self.lineage.timeline(),
                first: Moment::of_base(first),
            });
        }
        Err(TargetError::NotFound {
            target: self.wanted.target.clone(),
            timeline: self.lineage.timeline(),
            first: Moment::of_base(first),
            last: self.end(newest, &self.reach(newest))?,
        })
    }

    fn last_base(&self, is_before: impl Fn(&BasePoint) -> bool) -> Result<&BasePoint, TargetError> {
        let found = self.bases.iter().rev().find(|base| is_before(base));
        found.ok_or_else(|| TargetError::TooEarly {
            target: self.wanted.target.clone(),
            timeline: self.lineage.timeline(),
            first: Moment::of_base(&self.bases[0]),
        })
    }

    /// The error for a target that lies behind what can be reached.
    fn beyond(&self, base: &BasePoint, reach: &Reach) -> Result<TargetError, TargetError> {
        let (target, timeline) = (self.wanted.target.clone(), self.lineage.timeline());
        let last = self.end(base, reach)?;
        let next = self
            .bases
            .iter()
            .find(|other| other.stop > last.lsn.max(base.stop));
        Ok(match &reach.hole {
            Some(hole) => TargetError::InHole {
                target,
                hole: hole.clone(),
                before: last,
                after: next.map(Moment::of_base),
            },
            None => TargetError::TooLate {
                target,
                timeline,
                last,
            },
        })
    }

    /// The numbers of the segments from the base backup's end to where WAL ends.
    fn numbers(&self, base: &BasePoint, reach: &Reach) -> std::ops::Range<u64> {
        let size = self.view.size();
        size.number_of(base.stop)..size.number_of(reach.end)
    }

    /// A segment by whose end a server knows that `time` was reached. Commits are written nearly in
    /// the order of their times, so that halving finds it; the server looks at every one.
    fn first_segment_after(
        &self,
        base: &BasePoint,
        reach: &Reach,
        time: Timestamp,
    ) -> Result<Option<u64>, TargetError> {
        let numbers = self.numbers(base, reach);
        let (mut low, mut high) = (numbers.start, numbers.end);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.commit_from(middle, high)? {
                // Only the segment that has the commit counts; those before it say nothing.
                Some((number, last)) if self.is_past(last, time) => {
                    (found, high) = (Some(number), middle)
                }
                Some((number, _)) => low = number + 1,
                None => high = middle,
            }
        }
        if found.is_none()
            && let Some(partial) = reach.partial
        {
            let last = self.times.of(partial, true)?.latest;
            let last = last.filter(|last| self.is_past(*last, time));
            found = last.map(|_| partial.number());
        }
        Ok(found)
    }

    /// What a server waits for: a commit after the target, or one at it that is not to be part.
    /// Source: `recoveryStopsBefore` of PostgreSQL.
    fn is_past(&self, commit: Timestamp, target: Timestamp) -> bool {
        if self.wanted.inclusive {
            commit > target
        } else {
            commit >= target
        }
    }

    /// The first of these segments that has a commit, and its latest time.
    fn commit_from(&self, from: u64, end: u64) -> Result<Option<(u64, Timestamp)>, TargetError> {
        for number in from..end {
            let segment = self.view.segment_on(&self.lineage, number);
            if let Some(last) = self.times.of(segment, false)?.latest {
                return Ok(Some((number, last)));
            }
        }
        Ok(None)
    }

    /// Where WAL ends, and when its last commit was.
    fn end(&self, base: &BasePoint, reach: &Reach) -> Result<Moment, TargetError> {
        Ok(end_of(self.view, &self.lineage, base, reach, self.times)?)
    }

    fn files(
        &self,
        base: &BasePoint,
        reach: &Reach,
        last: u64,
    ) -> (Vec<SegmentName>, Option<SegmentName>) {
        let numbers = self.numbers(base, reach);
        let until = numbers.end.min(last.saturating_add(1));
        let segments = (numbers.start..until)
            .map(|number| self.view.segment_on(&self.lineage, number))
            .collect();
        let partial = reach.partial.filter(|partial| partial.number() <= last);
        (segments, partial)
    }

    /// The way from the base backup to segment `last`, or to the end if that is nearer.
    fn chosen(&self, base: &BasePoint, reach: &Reach, last: u64) -> Result<Chosen, TargetError> {
        let (segments, partial) = self.files(base, reach, last);
        let end = match self.wanted.target {
            RecoveryTarget::Latest => self.end(base, reach)?,
            RecoveryTarget::Time(time) => Moment {
                lsn: base.stop,
                time: Some(*time),
            },
            RecoveryTarget::Lsn(lsn) => Moment {
                lsn: *lsn,
                time: None,
            },
            _ => Moment::of_base(base),
        };
        Ok(Chosen {
            base: base.clone(),
            lineage: self.lineage.clone(),
            segments,
            partial,
            target: self.wanted.target.clone(),
            end,
            notes: Vec::new(),
        })
    }

    /// Whether another history has what this one has not.
    fn elsewhere(&self, bases: &[BasePoint]) -> Option<TargetError> {
        let others = self.view.timelines().into_iter().rev();
        for other in others.filter(|other| *other != self.lineage.timeline()) {
            let lineage = self.view.lineage(other)?;
            let way = Way {
                bases: on_lineage(bases, &lineage),
                lineage,
                ..*self
            };
            if way.find().is_ok() {
                return Some(TargetError::OnOtherTimeline {
                    target: self.wanted.target.clone(),
                    timeline: self.lineage.timeline(),
                    other,
                });
            }
        }
        None
    }
}

/// A day without a commit has few segments, so looking back ends soon.
const MOST_SEGMENTS_WITHOUT_COMMIT: u64 = 64;

/// Where WAL ends behind a base backup, and when its last commit was.
pub(super) fn end_of(
    view: &ArchiveView,
    lineage: &TimelineHistory,
    base: &BasePoint,
    reach: &Reach,
    times: &dyn Times,
) -> Result<Moment, RecoveryError> {
    let mut end = Moment::of_base(base);
    let mut last_commit = None;
    if let Some(partial) = reach.partial {
        let partial = times.of(partial, true)?;
        end.lsn = end.lsn.max(partial.end);
        last_commit = partial.last_commit;
    }
    let first = view.size().number_of(base.stop);
    let behind = view.size().number_of(reach.end);
    for number in (first..behind)
        .rev()
        .take(MOST_SEGMENTS_WITHOUT_COMMIT as usize)
    {
        if last_commit.is_some() && end.lsn > reach.end {
            break;
        }
        let segment = times.of(view.segment_on(lineage, number), false)?;
        end.lsn = end.lsn.max(segment.end);
        last_commit = last_commit.or(segment.last_commit);
        if last_commit.is_some() {
            break;
        }
    }
    end.time = last_commit.max(end.time);
    Ok(end)
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
