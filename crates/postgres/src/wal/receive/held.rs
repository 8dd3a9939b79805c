//! Which WAL somebody has.

use std::collections::{BTreeMap, BTreeSet};

use crate::layout::{Lsn, SegmentName, SegmentSize, Timeline};

/// The WAL that somebody has, by timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    timelines: BTreeMap<Timeline, HeldTimeline>,
}

/// The WAL of one timeline that somebody has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldTimeline {
    /// Numbers of complete segments.
    pub complete: BTreeSet<u64>,
    /// Unfinished segments: number and bytes from its start.
    pub partial: BTreeMap<u64, u64>,
}

impl Held {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.timelines.is_empty()
    }

    /// Adds a complete segment.
    pub fn add(&mut self, segment: SegmentName) {
        let timeline = self.timelines.entry(segment.timeline()).or_default();
        timeline.complete.insert(segment.number());
        timeline.partial.remove(&segment.number());
    }

    /// Adds the first `bytes` of a segment. The longest counts.
    pub fn add_partial(&mut self, segment: SegmentName, bytes: u64) {
        let timeline = self.timelines.entry(segment.timeline()).or_default();
        if !timeline.complete.contains(&segment.number()) {
            let longest = timeline.partial.entry(segment.number()).or_default();
            *longest = bytes.max(*longest);
        }
    }

    /// Adds all that `other` has.
    pub fn merge(&mut self, other: &Self) {
        for (timeline, theirs) in &other.timelines {
            let ours = self.timelines.entry(*timeline).or_default();
            ours.complete.extend(&theirs.complete);
            for (number, bytes) in &theirs.partial {
                let longest = ours.partial.entry(*number).or_default();
                *longest = (*longest).max(*bytes);
            }
        }
    }

    /// What there is of `timeline`.
    pub fn of(&self, timeline: Timeline) -> Option<&HeldTimeline> {
        self.timelines.get(&timeline)
    }

    /// The timelines of which there is something, ascending.
    pub fn timelines(&self) -> impl DoubleEndedIterator<Item = Timeline> {
        self.timelines.keys().copied()
    }

    /// The first place of `timeline` after everything there is of it; `None` if there is nothing.
    pub fn end_of(&self, timeline: Timeline, size: SegmentSize) -> Option<Lsn> {
        self.timelines.get(&timeline)?.end(size)
    }
}

impl HeldTimeline {
    /// The first place after everything there is.
    pub fn end(&self, size: SegmentSize) -> Option<Lsn> {
        let complete = self.complete.last().map(|last| size.start_of(last + 1));
        let partial = self.partial.last_key_value();
        let partial = partial.map(|(number, bytes)| size.start_of(*number).plus(*bytes));
        complete.max(partial)
    }
}
