//! Where to go on, and whether the server is one whose WAL may follow what is there.

use super::held::{Held, HeldTimeline};
use super::spool::Place;
use crate::layout::{Lsn, SegmentSize, Timeline, TimelineHistory};

/// Where streaming goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// On which timeline.
    pub timeline: Timeline,
    /// From where on.
    pub lsn: Lsn,
}

/// How a server stands to the WAL that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its WAL continues what is there, or branches off it by its own history.
    Continues,
    /// It is on the same timeline, and has not even written what is there.
    Behind {
        /// The timeline of both.
        timeline: Timeline,
        /// Where what is there ends.
        held: Lsn,
    },
    /// What is there goes on with a timeline that this server knows nothing of.
    Abandoned {
        /// The newest timeline that is there.
        newest: Timeline,
    },
}

/// Holds a server's place against what is there. `flushed` is where its WAL ends; `history` that of its timeline.
pub fn standing(
    held: &Held,
    history: &TimelineHistory,
    flushed: Lsn,
    size: SegmentSize,
) -> Standing {
    let timeline = history.timeline();
    if let Some(newest) = held.timelines().next_back()
        && newest > timeline
    {
        return Standing::Abandoned { newest };
    }
    match held.end_of(timeline, size) {
        Some(end) if end > flushed => Standing::Behind {
            timeline,
            held: end,
        },
        _ => Standing::Continues,
    }
}

/// Where to go on after `place`, up to which everything is there: at that very byte, or, if the server's history left that
/// timeline before it, where the next one begins. `None` if the timeline is no part of the server's history.
pub fn go_on(place: Place, history: &TimelineHistory, size: SegmentSize) -> Option<Resume> {
    history.begin_of(place.timeline)?;
    Some(match history.end_of(place.timeline) {
        Some(end) if place.lsn >= end => Resume {
            timeline: history.timeline_at(end),
            lsn: size.floor(end),
        },
        _ => Resume {
            timeline: place.timeline,
            lsn: place.lsn,
        },
    })
}

/// Where to go on: at the first segment that is not complete, on the newest timeline of the server's ancestry of which
/// there is something. `None` if there is nothing on that ancestry.
///
/// `kept_from` is where the server still has its WAL for us for certain (the slot's `restart_lsn`): a hole after it is filled.
pub fn resume(
    held: &Held,
    history: &TimelineHistory,
    kept_from: Option<Lsn>,
    size: SegmentSize,
) -> Option<Resume> {
    let ancestors = history.entries().iter().map(|entry| entry.timeline);
    let lineage: Vec<Timeline> = ancestors.chain([history.timeline()]).collect();
    for (at, timeline) in lineage.iter().enumerate().rev() {
        let span = Span {
            begin: history.begin_of(*timeline).unwrap_or_default(),
            end: history.end_of(*timeline),
            size,
        };
        let Some(first_missing) = held
            .of(*timeline)
            .and_then(|there| span.first_missing(there, kept_from))
        else {
            continue;
        };
        return Some(match first_missing {
            Some(lsn) => Resume {
                timeline: *timeline,
                lsn,
            },
            // All of it is there: the next one begins where it was left.
            None => Resume {
                timeline: lineage.get(at + 1).copied().unwrap_or(*timeline),
                lsn: size.floor(span.end.unwrap_or_default()),
            },
        });
    }
    None
}

/// The part of a timeline that belongs to the server's history.
struct Span {
    begin: Lsn,
    /// Where it was left; `None` on the newest timeline.
    end: Option<Lsn>,
    size: SegmentSize,
}

impl Span {
    /// The start of the first segment to fetch; `Some(None)` if the whole span is there, `None` if nothing of it is.
    fn first_missing(&self, there: &HeldTimeline, kept_from: Option<Lsn>) -> Option<Option<Lsn>> {
        let begin = self.size.number_of(self.begin);
        let is_inside = |number: u64| {
            number >= begin && self.end.is_none_or(|end| self.size.start_of(number) < end)
        };
        let complete = || there.complete.iter().copied().filter(|n| is_inside(*n));
        let partial = there.partial.iter().rfind(|(n, _)| is_inside(**n));
        let Some(highest) = complete().next_back() else {
            let (number, bytes) = partial?;
            return Some(self.unless_covered(*number, *bytes));
        };
        // Without a slot's promise, only what follows the newest unbroken run is asked for.
        let oldest = complete().next()?;
        let from = match kept_from {
            Some(lsn) => self.size.number_of(lsn).clamp(oldest, highest),
            None => run_start(there, highest),
        };
        let missing = (from..=highest).find(|number| !there.complete.contains(number));
        let number = missing.unwrap_or(highest + 1);
        let bytes = there.partial.get(&number).copied().unwrap_or(0);
        Some(self.unless_covered(number, bytes))
    }

    /// `None` if the timeline was left before what is missing of this segment.
    fn unless_covered(&self, number: u64, bytes: u64) -> Option<Lsn> {
        let start = self.size.start_of(number);
        let is_covered = self.end.is_some_and(|end| start.plus(bytes) >= end);
        (!is_covered).then_some(start)
    }
}

/// The first number of the unbroken run that ends with `highest`.
fn run_start(there: &HeldTimeline, highest: u64) -> u64 {
    let mut start = highest;
    while start > 0 && there.complete.contains(&(start - 1)) {
        start -= 1;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::SegmentName;

    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn held(segments: &[&str]) -> Held {
        let mut held = Held::new();
        for text in segments {
            match text.split_once('+') {
                Some((name, bytes)) => held.add_partial(segment(name), bytes.parse().unwrap()),
                None => held.add(segment(text)),
            }
        }
        held
    }

    /// `1/5` is segment 5 of timeline 1.
    fn segment(text: &str) -> SegmentName {
        let (timeline, number) = text.split_once('/').unwrap();
        let lsn = SIZE.start_of(number.parse().unwrap());
        SegmentName::at(timeline.parse().unwrap(), lsn, SIZE)
    }

    fn place(timeline: u32, number: u64) -> Option<Resume> {
        Some(Resume {
            timeline: Timeline::new(timeline),
            lsn: SIZE.start_of(number),
        })
    }

    fn history(timeline: u32, entries: &[(u32, u64, u64)]) -> TimelineHistory {
        let lines: String = entries
            .iter()
            .map(|(tli, number, offset)| {
                format!("{tli}\t{}\twhy\n", SIZE.start_of(*number).plus(*offset))
            })
            .collect();
        TimelineHistory::parse(Timeline::new(timeline), &lines).unwrap()
    }

    #[test]
    fn it_goes_on_after_the_last_complete_segment() {
        let first = TimelineHistory::first();
        let go = |segments: &[&str], kept: Option<u64>| {
            resume(
                &held(segments),
                &first,
                kept.map(|n| SIZE.start_of(n)),
                SIZE,
            )
        };
        assert_eq!(go(&[], None), None);
        assert_eq!(go(&["1/5", "1/6"], None), place(1, 7));
        assert_eq!(go(&["1/5", "1/6", "1/7+100"], None), place(1, 7));
        assert_eq!(go(&["1/7+100"], None), place(1, 7));
    }

    #[test]
    fn a_hole_that_the_slot_still_covers_is_filled() {
        let first = TimelineHistory::first();
        let go = |kept: Option<u64>| {
            let there = held(&["1/5", "1/6", "1/8", "1/10"]);
            resume(&there, &first, kept.map(|n| SIZE.start_of(n)), SIZE)
        };
        assert_eq!(go(None), place(1, 11));
        assert_eq!(
            go(Some(2)),
            place(1, 7),
            "what is older than the archive is not asked for"
        );
        assert_eq!(go(Some(8)), place(1, 9));
        assert_eq!(
            go(Some(30)),
            place(1, 11),
            "the slot is ahead: there may be a gap"
        );
    }

    #[test]
    fn a_promotion_is_followed_at_its_switch_point() {
        let promoted = history(2, &[(1, 7, 500)]);
        let go = |segments: &[&str]| resume(&held(segments), &promoted, None, SIZE);
        assert_eq!(
            go(&["1/5", "1/6"]),
            place(1, 7),
            "the old timeline is not finished"
        );
        assert_eq!(go(&["1/5", "1/6", "1/7+499"]), place(1, 7));
        assert_eq!(go(&["1/5", "1/6", "1/7+500"]), place(2, 7));
        assert_eq!(
            go(&["1/5", "1/6", "1/7", "1/8+3"]),
            place(2, 7),
            "it diverged"
        );
        assert_eq!(go(&["1/6", "2/7", "2/8+9"]), place(2, 8));
    }

    #[test]
    fn a_receiver_that_was_cut_off_goes_on_at_the_very_byte() {
        let promoted = history(2, &[(1, 7, 500)]);
        let go = |timeline: u32, offset: u64| {
            let place = Place {
                timeline: Timeline::new(timeline),
                lsn: SIZE.start_of(7).plus(offset),
            };
            let at = go_on(place, &promoted, SIZE)?;
            Some((
                at.timeline.number(),
                at.lsn.offset() - SIZE.start_of(7).offset(),
            ))
        };
        assert_eq!(go(1, 499), Some((1, 499)));
        assert_eq!(
            go(1, 500),
            Some((2, 0)),
            "the new timeline's segment begins with the old one's bytes"
        );
        assert_eq!(
            go(1, 900),
            Some((2, 0)),
            "what was received after the switch diverged"
        );
        assert_eq!(go(2, 900), Some((2, 900)));
        assert_eq!(go(5, 900), None);
    }

    #[test]
    fn a_timeline_of_another_branch_counts_for_nothing() {
        let third = history(3, &[(1, 7, 500)]);
        let there = held(&["1/6", "1/7+500", "2/7", "2/8", "2/9+1"]);
        assert_eq!(resume(&there, &third, None, SIZE), place(3, 7));
    }

    #[test]
    fn a_timeline_that_was_left_on_a_boundary_needs_no_partial() {
        let promoted = history(2, &[(1, 7, 0)]);
        assert_eq!(
            resume(&held(&["1/5", "1/6"]), &promoted, None, SIZE),
            place(2, 7)
        );
    }

    #[test]
    fn a_server_that_lacks_what_is_there_is_told_apart() {
        let first = TimelineHistory::first();
        let there = held(&["1/5", "1/6+10"]);
        let at = |flushed: u64| standing(&there, &first, SIZE.start_of(6).plus(flushed), SIZE);
        assert_eq!(at(10), Standing::Continues);
        assert!(matches!(at(9), Standing::Behind { .. }));
        let two = held(&["1/5", "2/6"]);
        let old = standing(&two, &first, SIZE.start_of(9), SIZE);
        assert_eq!(
            old,
            Standing::Abandoned {
                newest: Timeline::new(2)
            }
        );
        let promoted = history(3, &[(1, 6, 5)]);
        assert_eq!(
            standing(&two, &promoted, SIZE.start_of(6).plus(9), SIZE),
            Standing::Continues
        );
    }
}
