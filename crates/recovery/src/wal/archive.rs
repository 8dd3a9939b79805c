//! What the archive holds of one cluster, and how far it goes without a hole.

use std::collections::{BTreeMap, BTreeSet};

use rekindle_postgres::{
    Lsn, SegmentName, SegmentSize, Timeline,
    layout::{TimelineHistory, WalFileKind},
};
use serde::Serialize;

/// The segments, unfinished segments and histories that the archive holds of one cluster.
#[derive(Clone, Debug)]
pub struct ArchiveView {
    size: SegmentSize,
    segments: BTreeMap<Timeline, BTreeSet<u64>>,
    partials: BTreeSet<(Timeline, u64)>,
    histories: BTreeMap<Timeline, TimelineHistory>,
    /// Timelines whose history file is listed and cannot be read, and why.
    unreadable: BTreeMap<Timeline, String>,
}

/// Missing WAL between two stretches that are there. It looks like the end to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hole {
    /// The first segment that is missing.
    pub first_missing: String,
    /// The last one.
    pub last_missing: String,
    /// How many.
    pub segments: u64,
    /// Where WAL goes on.
    pub resumes: Lsn,
}

/// How far WAL goes on without a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Where the first missing segment begins.
    pub end: Lsn,
    /// The beginning of that segment, if it is there unfinished.
    pub partial: Option<SegmentName>,
    /// What is missing, if there is more beyond.
    pub hole: Option<Hole>,
}

impl ArchiveView {
    /// A view of an archive that holds nothing.
    #[must_use]
    pub const fn empty(size: SegmentSize) -> Self {
        Self {
            size,
            segments: BTreeMap::new(),
            partials: BTreeSet::new(),
            histories: BTreeMap::new(),
            unreadable: BTreeMap::new(),
        }
    }

    /// Counts a file of the archive by its name. Names that say nothing about segments are passed
    /// over.
    pub fn add(&mut self, name: &str) {
        let segment = |name: &str| SegmentName::parse(name, self.size).ok();
        match name.parse() {
            Ok(WalFileKind::Segment) => {
                if let Some(segment) = segment(name) {
                    let of = self.segments.entry(segment.timeline()).or_default();
                    of.insert(segment.number());
                }
            }
            Ok(WalFileKind::Partial) => {
                if let Some(segment) = segment(name.trim_end_matches(".partial")) {
                    self.partials.insert((segment.timeline(), segment.number()));
                }
            }
            Ok(WalFileKind::History | WalFileKind::BackupHistory) | Err(_) => {}
        }
    }

    /// Adds the history of a timeline.
    pub fn add_history(&mut self, history: TimelineHistory) {
        self.histories.insert(history.timeline(), history);
    }

    /// Notes that a history file is there and says nothing.
    pub fn add_unreadable_history(&mut self, timeline: Timeline, why: String) {
        self.unreadable.insert(timeline, why);
    }

    /// Bytes of a segment.
    #[must_use]
    pub const fn size(&self) -> SegmentSize {
        self.size
    }

    /// Whether it holds no WAL at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.partials.is_empty()
    }

    /// Timelines that there is anything of, in ascending order.
    #[must_use]
    pub fn timelines(&self) -> Vec<Timeline> {
        let mut all: BTreeSet<_> = self.segments.keys().copied().collect();
        all.extend(self.partials.iter().map(|(timeline, _)| *timeline));
        all.extend(self.histories.keys());
        all.extend(self.unreadable.keys());
        all.into_iter().collect()
    }

    /// The ancestry of a timeline; `None` if its history file is missing or unreadable. Without it
    /// nobody can say which WAL leads there.
    #[must_use]
    pub fn lineage(&self, timeline: Timeline) -> Option<TimelineHistory> {
        match self.histories.get(&timeline) {
            None if timeline == Timeline::FIRST => Some(TimelineHistory::first()),
            other => other.cloned(),
        }
    }

    /// Why the history of a timeline cannot be used, if it is there.
    #[must_use]
    pub fn unreadable_history(&self, timeline: Timeline) -> Option<&str> {
        self.unreadable.get(&timeline).map(String::as_str)
    }

    /// All histories there are.
    pub fn histories(&self) -> impl Iterator<Item = &TimelineHistory> {
        self.histories.values()
    }

    /// Complete segments of a timeline, in ascending order.
    pub fn segments_of(&self, timeline: Timeline) -> impl DoubleEndedIterator<Item = SegmentName> {
        let numbers = self.segments.get(&timeline);
        numbers
            .into_iter()
            .flatten()
            .map(move |number| SegmentName::numbered(timeline, *number, self.size))
    }

    /// Unfinished segments, in ascending order.
    pub fn partials(&self) -> impl Iterator<Item = SegmentName> {
        self.partials
            .iter()
            .map(|(timeline, number)| SegmentName::numbered(*timeline, *number, self.size))
    }

    /// Whether the segment is there, whole.
    #[must_use]
    pub fn has(&self, segment: SegmentName) -> bool {
        self.segments
            .get(&segment.timeline())
            .is_some_and(|numbers| numbers.contains(&segment.number()))
    }

    /// Whether the beginning of the segment is there.
    #[must_use]
    pub fn has_partial(&self, segment: SegmentName) -> bool {
        self.partials
            .contains(&(segment.timeline(), segment.number()))
    }

    /// The file in which a server on this lineage looks for segment `number`: that of the newest
    /// timeline that had begun when the segment ended. A segment in which timelines change is there
    /// twice, and the older one goes on with what the lineage has left behind.
    /// Source: `XLogFileReadAnyTLI` of PostgreSQL.
    #[must_use]
    pub fn segment_on(&self, lineage: &TimelineHistory, number: u64) -> SegmentName {
        let ancestors = lineage.entries().iter().map(|entry| entry.timeline);
        let timeline = ancestors
            .chain([lineage.timeline()])
            .rfind(|timeline| {
                let begin = lineage.begin_of(*timeline).unwrap_or(Lsn::INVALID);
                self.size.number_of(begin) <= number
            })
            .unwrap_or(lineage.timeline());
        SegmentName::numbered(timeline, number, self.size)
    }

    /// How far WAL goes on along the lineage from the segment that holds `from`.
    #[must_use]
    pub fn reach(&self, lineage: &TimelineHistory, from: Lsn) -> Reach {
        let mut number = self.size.number_of(from);
        while self.has(self.segment_on(lineage, number)) {
            number += 1;
        }
        let missing = self.segment_on(lineage, number);
        Reach {
            end: self.size.start_of(number),
            partial: Some(missing).filter(|segment| self.has_partial(*segment)),
            hole: self.hole(lineage, number),
        }
    }

    /// The hole that begins with segment `number`, if the lineage has WAL beyond it.
    fn hole(&self, lineage: &TimelineHistory, number: u64) -> Option<Hole> {
        let on_lineage = |timeline: &Timeline, later: u64| {
            self.segment_on(lineage, later).timeline() == *timeline
        };
        let whole = self.segments.iter().flat_map(|(timeline, numbers)| {
            numbers
                .range(number + 1..)
                .find(|later| on_lineage(timeline, **later))
                .copied()
        });
        let unfinished = self
            .partials
            .iter()
            .filter(|(timeline, later)| *later > number && on_lineage(timeline, *later))
            .map(|(_, later)| *later);
        let resumes = whole.chain(unfinished).min()?;
        Some(Hole {
            first_missing: self.segment_on(lineage, number).to_string(),
            last_missing: self.segment_on(lineage, resumes - 1).to_string(),
            segments: resumes - number,
            resumes: self.size.start_of(resumes),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::wal) fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }

    /// A view of segments given as `timeline:numbers`, of 16 MiB.
    pub(in crate::wal) fn view(files: &[&str], histories: &[(u32, &str)]) -> ArchiveView {
        let mut view = ArchiveView::empty(SegmentSize::DEFAULT);
        for file in files {
            view.add(file);
        }
        for (timeline, text) in histories {
            let history = TimelineHistory::parse(Timeline::new(*timeline), text);
            view.add_history(history.unwrap());
        }
        view
    }

    pub(in crate::wal) fn segments(timeline: u32, numbers: std::ops::Range<u64>) -> Vec<String> {
        numbers
            .map(|number| {
                SegmentName::numbered(Timeline::new(timeline), number, SegmentSize::DEFAULT)
                    .to_string()
            })
            .collect()
    }

    fn view_of(files: &[Vec<String>], histories: &[(u32, &str)]) -> ArchiveView {
        let files: Vec<&str> = files.iter().flatten().map(String::as_str).collect();
        view(&files, histories)
    }

    #[test]
    fn wal_goes_on_until_a_segment_is_missing() {
        let view = view_of(&[segments(1, 2..6)], &[]);
        let lineage = view.lineage(Timeline::FIRST).unwrap();
        let reach = view.reach(&lineage, lsn("0/2000028"));
        assert_eq!((reach.end, reach.hole), (lsn("0/6000000"), None));
        assert_eq!(
            view.reach(&lineage, lsn("0/1000000")).end,
            lsn("0/1000000"),
            "not one segment"
        );
    }

    #[test]
    fn a_hole_is_named_with_what_lies_beyond_it() {
        let view = view_of(&[segments(1, 2..4), segments(1, 7..9)], &[]);
        let lineage = view.lineage(Timeline::FIRST).unwrap();
        let hole = view.reach(&lineage, lsn("0/2000028")).hole.unwrap();
        assert_eq!(hole.first_missing, "000000010000000000000004");
        assert_eq!(hole.last_missing, "000000010000000000000006");
        assert_eq!((hole.segments, hole.resumes), (3, lsn("0/7000000")));
    }

    #[test]
    fn where_timelines_change_the_newer_segment_counts() {
        // The old timeline went on after the promotion, and its segment 5 is not on the lineage.
        let view = view_of(
            &[segments(1, 2..8), segments(2, 5..7)],
            &[(2, "1\t0/5000123\tpromoted\n")],
        );
        let old = view.lineage(Timeline::FIRST).unwrap();
        let new = view.lineage(Timeline::new(2)).unwrap();
        assert_eq!(
            view.segment_on(&new, 4).to_string(),
            "000000010000000000000004"
        );
        assert_eq!(
            view.segment_on(&new, 5).to_string(),
            "000000020000000000000005"
        );
        assert_eq!(view.reach(&old, lsn("0/2000028")).end, lsn("0/8000000"));
        assert_eq!(view.reach(&new, lsn("0/2000028")).end, lsn("0/7000000"));
    }

    #[test]
    fn the_old_segment_does_not_stand_in_for_a_missing_new_one() {
        let view = view_of(
            &[segments(1, 2..8), segments(2, 6..9)],
            &[(2, "1\t0/5000123\tpromoted\n")],
        );
        let new = view.lineage(Timeline::new(2)).unwrap();
        let reach = view.reach(&new, lsn("0/2000028"));
        assert_eq!(reach.end, lsn("0/5000000"));
        assert_eq!(
            reach.hole.unwrap().first_missing,
            "000000020000000000000005"
        );
    }

    #[test]
    fn an_unfinished_segment_counts_only_at_the_end() {
        let mut files = segments(1, 2..4);
        files.push("000000010000000000000004.partial".into());
        let view = view_of(&[files], &[]);
        let lineage = view.lineage(Timeline::FIRST).unwrap();
        let reach = view.reach(&lineage, lsn("0/2000028"));
        assert_eq!(reach.end, lsn("0/4000000"));
        assert_eq!(
            reach.partial.unwrap().to_string(),
            "000000010000000000000004"
        );
        assert_eq!(reach.hole, None);
    }

    #[test]
    fn a_timeline_without_its_history_leads_nowhere() {
        let view = view_of(&[segments(2, 2..4)], &[]);
        assert!(view.lineage(Timeline::new(2)).is_none());
        assert_eq!(view.timelines(), [Timeline::new(2)]);
    }
}
