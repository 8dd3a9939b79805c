//! Choices over made-up archives: real ones are restored in `tests/`.

use rekindle_postgres::SegmentSize;

use super::*;
use crate::wal::{
    archive::tests::{segments, view},
    windows::compute,
};

/// One commit in the middle of each segment, at `number` minutes past ten; a record point called
/// `<number>` and a transaction `1000 + number` beside it.
struct EveryMinute {
    /// Segments without a commit.
    silent: Vec<u64>,
}

fn minute(number: u64) -> Timestamp {
    let text = format!("2026-11-21T10:{number:02}:00Z");
    text.parse().unwrap()
}

impl Times for EveryMinute {
    fn of(&self, segment: SegmentName, is_partial: bool) -> Result<SegmentTimes, RecoveryError> {
        let commit = (!self.silent.contains(&segment.number())).then(|| minute(segment.number()));
        let end = if is_partial {
            segment.start().plus(0x800)
        } else {
            segment.end()
        };
        Ok(SegmentTimes {
            latest: commit,
            last_commit: commit,
            end,
        })
    }

    fn find(
        &self,
        wanted: &RecoveryTarget,
        segments: &[SegmentName],
        partial: Option<SegmentName>,
    ) -> Result<Option<Moment>, RecoveryError> {
        let number = match wanted {
            RecoveryTarget::Transaction(xid) => u64::from(*xid) - 1000,
            RecoveryTarget::RestorePoint(name) => name.parse().unwrap(),
            _ => unreachable!(),
        };
        let found = segments
            .iter()
            .chain(&partial)
            .find(|s| s.number() == number);
        Ok(found.map(|segment| Moment {
            lsn: segment.start().plus(0x400),
            time: Some(minute(number)),
        }))
    }
}

const ALWAYS: EveryMinute = EveryMinute { silent: Vec::new() };

fn base(number: u64, timeline: u32) -> BasePoint {
    let start = SegmentSize::DEFAULT.start_of(number);
    BasePoint {
        id: Id::of(&number.to_be_bytes()),
        path: "db/postgres".into(),
        system: 7,
        major: 15,
        segment_size: SegmentSize::DEFAULT,
        timeline: Timeline::new(timeline),
        start: start.plus(0x28),
        stop: start.plus(0x100),
        stop_time: minute(number) - jiff::SignedDuration::from_secs(30),
        bytes: 1,
    }
}

fn try_to(
    view: &ArchiveView,
    bases: &[BasePoint],
    target: &str,
    timeline: TimelineChoice,
) -> Result<Chosen, TargetError> {
    let wanted = Wanted {
        service: "db",
        target: &target.parse().unwrap(),
        timeline,
        inclusive: true,
        point: None,
    };
    choose(view, bases, &wanted, &ALWAYS)
}

fn to(view: &ArchiveView, bases: &[BasePoint], target: &str) -> Result<Chosen, TargetError> {
    try_to(view, bases, target, TimelineChoice::Latest)
}

fn of(files: &[Vec<String>], histories: &[(u32, &str)]) -> ArchiveView {
    let files: Vec<&str> = files.iter().flatten().map(String::as_str).collect();
    view(&files, histories)
}

fn numbers(chosen: &Chosen) -> Vec<u64> {
    chosen
        .segments
        .iter()
        .map(|segment| segment.number())
        .collect()
}

#[test]
fn the_newest_base_before_the_target_and_no_more_wal_than_needed() {
    let view = of(&[segments(1, 2..20)], &[]);
    let bases = [base(2, 1), base(9, 1), base(15, 1)];
    let chosen = to(&view, &bases, "2026-11-21 10:11:30Z").unwrap();
    assert_eq!(chosen.base, bases[1]);
    // The commit of minute 12 tells the server that it has arrived; one more for a record's end.
    assert_eq!(numbers(&chosen), (9..14).collect::<Vec<_>>());
    let chosen = to(&view, &bases, "0/C000400").unwrap();
    assert_eq!(
        (&chosen.base, numbers(&chosen)),
        (&bases[1], (9..14).collect())
    );
    let chosen = to(&view, &bases, "latest").unwrap();
    assert_eq!(
        (&chosen.base, numbers(&chosen)),
        (&bases[2], (15..20).collect())
    );
    assert_eq!(chosen.end.time, Some(minute(19)));
    let chosen = to(&view, &bases, "consistent").unwrap();
    assert_eq!((&chosen.base, numbers(&chosen)), (&bases[2], vec![]));
}

#[test]
fn transactions_and_names_are_looked_for_behind_every_base() {
    let view = of(&[segments(1, 2..20)], &[]);
    let bases = [base(2, 1), base(9, 1), base(15, 1)];
    for (target, expected, last) in [("xid:1017", 2, 18), ("xid:1010", 1, 11), ("name:3", 0, 4)] {
        let chosen = to(&view, &bases, target).unwrap();
        assert_eq!(chosen.base, bases[expected], "{target}");
        assert_eq!(numbers(&chosen).last(), Some(&last), "{target}");
    }
    let error = to(&view, &bases, "xid:1090").unwrap_err();
    assert!(matches!(error, TargetError::NotFound { .. }), "{error}");
}

#[test]
fn a_transaction_before_the_end_of_a_backup_needs_an_older_one() {
    let view = of(&[segments(1, 2..20)], &[]);
    let mut late = base(10, 1);
    // In the segment of the transaction, and behind it.
    late.stop = late.start.plus(0x800);
    let bases = [base(2, 1), late.clone()];
    for target in ["xid:1010", "name:10"] {
        let chosen = to(&view, &bases, target).unwrap();
        assert_eq!(chosen.base, bases[0], "{target}");
        let error = to(&view, &bases[1..], target).unwrap_err();
        assert!(matches!(error, TargetError::TooEarly { .. }), "{error}");
    }
    assert_eq!(to(&view, &bases, "xid:1011").unwrap().base, late);
}

#[test]
fn targets_outside_are_refused_with_the_nearest_moment() {
    let view = of(&[segments(1, 2..8)], &[]);
    let bases = [base(3, 1)];
    let error = to(&view, &bases, "2026-11-21 09:00:00Z").unwrap_err();
    assert!(error.to_string().contains("10:02:30 UTC"), "{error}");
    let error = to(&view, &bases, "2026-11-21 10:07:01Z").unwrap_err();
    assert!(matches!(error, TargetError::TooLate { .. }), "{error}");
    assert!(error.to_string().contains("10:07:00 UTC"), "{error}");
    let chosen = to(&view, &bases, "2026-11-21 10:07:00Z").unwrap();
    assert_eq!(
        chosen.target,
        RecoveryTarget::Latest,
        "the moment that was named can be restored"
    );
    let error = to(&view, &bases, "0/8000000").unwrap_err();
    assert!(matches!(error, TargetError::TooLate { .. }), "{error}");
    assert!(to(&view, &bases, "0/7FFFFFF").is_ok());
    let error = to(&view, &[], "latest").unwrap_err();
    assert!(matches!(error, TargetError::NoBase { .. }), "{error}");
}

#[test]
fn a_target_in_a_hole_names_the_hole_and_both_sides() {
    let view = of(&[segments(1, 2..6), segments(1, 8..12)], &[]);
    let bases = [base(2, 1), base(10, 1)];
    let error = to(&view, &bases, "2026-11-21 10:09:00Z").unwrap_err();
    let said = error.to_string();
    for part in [
        "000000010000000000000006",
        "000000010000000000000007",
        "10:05:00",
        "10:09:30",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(to(&view, &bases, "2026-11-21 10:04:30Z").is_ok());
    let chosen = to(&view, &bases[..1], "latest").unwrap();
    assert!(chosen.notes[0].contains("a hole"), "{:?}", chosen.notes);
    assert_eq!(chosen.end.time, Some(minute(5)));
}

#[test]
fn an_unfinished_segment_belongs_to_the_end() {
    let mut files = segments(1, 2..5);
    files.push("000000010000000000000005.partial".into());
    let view = of(&[files], &[]);
    let chosen = to(&view, &[base(2, 1)], "latest").unwrap();
    assert_eq!(chosen.partial.unwrap().number(), 5);
    assert_eq!(chosen.end.time, Some(minute(5)));
    let chosen = to(&view, &[base(2, 1)], "2026-11-21 10:04:30Z").unwrap();
    assert_eq!(
        chosen.partial.unwrap().number(),
        5,
        "the commit after the target is in it"
    );
    assert!(to(&view, &[base(2, 1)], "2026-11-21 10:05:01Z").is_err());
    let chosen = to(&view, &[base(2, 1)], "2026-11-21 10:02:00Z").unwrap();
    assert_eq!(chosen.partial, None);
}

#[test]
fn three_timelines_lead_to_three_ends() {
    // 1 went on after 2 branched off at 5; 3 branched off 2 at 8.
    let view = of(
        &[segments(1, 2..9), segments(2, 5..12), segments(3, 8..10)],
        &[
            (2, "1\t0/5000200\tpromoted\n"),
            (3, "1\t0/5000200\tpromoted\n2\t0/8000300\tbefore a time\n"),
        ],
    );
    let bases = [base(3, 1)];
    let end = |number: u32| {
        let chosen = try_to(
            &view,
            &bases,
            "latest",
            TimelineChoice::Number(Timeline::new(number)),
        );
        let chosen = chosen.unwrap();
        let timelines: Vec<u32> = chosen
            .segments
            .iter()
            .map(|s| s.timeline().number())
            .collect();
        (chosen.end.time.unwrap(), timelines)
    };
    assert_eq!(end(1), (minute(8), vec![1; 6]));
    assert_eq!(end(2), (minute(11), vec![1, 1, 2, 2, 2, 2, 2, 2, 2]));
    assert_eq!(end(3), (minute(9), vec![1, 1, 2, 2, 2, 3, 3]));
    assert_eq!(
        to(&view, &bases, "latest").unwrap().lineage.timeline(),
        Timeline::new(3)
    );
    let error = to(&view, &bases, "2026-11-21 10:10:30Z").unwrap_err();
    let other = Timeline::new(2);
    assert!(
        matches!(error, TargetError::OnOtherTimeline { other: found, .. } if found == other),
        "{error}"
    );
    let windows = compute(&view, &bases, &ALWAYS).unwrap();
    let ends: Vec<_> = windows
        .iter()
        .map(|window| (window.timeline.number(), window.to.time.unwrap()))
        .collect();
    assert_eq!(ends, [(3, minute(9)), (2, minute(11)), (1, minute(8))]);
}

#[test]
fn a_missing_history_is_no_reason_to_follow_an_older_one_in_silence() {
    let view = of(&[segments(1, 2..6), segments(2, 5..9)], &[]);
    let error = to(&view, &[base(3, 1)], "latest").unwrap_err();
    assert!(error.to_string().contains("00000002.history"), "{error}");
    assert!(error.hint().unwrap().contains("--timeline 1"));
    let one = TimelineChoice::Number(Timeline::FIRST);
    assert!(try_to(&view, &[base(3, 1)], "latest", one).is_ok());
}

#[test]
fn windows_are_joined_where_wal_is_unbroken_and_parted_by_holes() {
    let view = of(&[segments(1, 2..6), segments(1, 8..12)], &[]);
    let bases = [base(2, 1), base(4, 1), base(9, 1), base(14, 1)];
    let windows = compute(&view, &bases, &ALWAYS).unwrap();
    let shown: Vec<_> = windows
        .iter()
        .map(|w| {
            (
                w.points.len(),
                w.from.time.unwrap(),
                w.to.time.unwrap(),
                w.hole.is_some(),
            )
        })
        .collect();
    let half = |number: u64| minute(number) - jiff::SignedDuration::from_secs(30);
    assert_eq!(
        shown,
        [
            (1, half(14), half(14), false),
            (1, half(9), minute(11), false),
            (2, half(2), minute(5), true),
        ]
    );
}

#[test]
fn a_promotion_without_divergence_leaves_one_window() {
    let mut old = segments(1, 2..5);
    old.push("000000010000000000000005.partial".into());
    let view = of(
        &[old, segments(2, 5..8)],
        &[(2, "1\t0/5000800\tpromoted\n")],
    );
    let windows = compute(&view, &[base(2, 1)], &ALWAYS).unwrap();
    assert_eq!(windows.len(), 1, "{windows:?}");
    assert_eq!(
        (windows[0].timeline, windows[0].to.time),
        (Timeline::new(2), Some(minute(7)))
    );
}

/// Halving over segments of which many have no commit at all.
#[test]
fn silent_segments_do_not_mislead_the_search() {
    let view = of(&[segments(1, 2..40)], &[]);
    let mut random = 7_u64;
    for _ in 0..200 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let silent: Vec<u64> = (3..39).filter(|n| (random >> (n % 61)) & 1 == 1).collect();
        let times = EveryMinute {
            silent: silent.clone(),
        };
        let target =
            RecoveryTarget::Time(minute(2 + random % 36) + jiff::SignedDuration::from_secs(1));
        let RecoveryTarget::Time(time) = target else {
            unreachable!()
        };
        let wanted = Wanted {
            service: "db",
            target: &target,
            timeline: TimelineChoice::Latest,
            inclusive: true,
            point: None,
        };
        let chosen = choose(&view, &[base(2, 1)], &wanted, &times).unwrap();
        let first = (3..40)
            .find(|n| !silent.contains(n) && minute(*n) > time)
            .unwrap();
        assert_eq!(*numbers(&chosen).last().unwrap(), (first + 1).min(39));
    }
}

mod retention {
    use super::*;
    use crate::wal::retention::{NeededBases, decide, needed_of};

    fn removed(view: &ArchiveView, bases: &[BasePoint], since: Timestamp) -> Vec<(u32, u64)> {
        let (removals, kept, _) = decide(view, bases, since, &ALWAYS).unwrap();
        let removed: u64 = removals.iter().map(|removal| removal.segments).sum();
        let all: usize = view
            .timelines()
            .iter()
            .map(|t| view.segments_of(*t).count())
            .sum();
        assert_eq!(removed + kept, all as u64 + view.partials().count() as u64);
        removals
            .iter()
            .map(|removal| (removal.timeline.number(), removal.segments))
            .collect()
    }

    #[test]
    fn wal_before_the_base_of_the_oldest_kept_moment_goes() {
        let view = of(&[segments(1, 2..20)], &[]);
        let bases = [base(2, 1), base(9, 1), base(15, 1)];
        assert_eq!(removed(&view, &bases, minute(12)), [(1, 7)]);
        assert_eq!(removed(&view, &bases, minute(9)), [(1, 7)]);
        assert_eq!(removed(&view, &bases, minute(8)), []);
        assert_eq!(
            removed(&view, &bases, minute(1)),
            [],
            "the oldest base is all there is"
        );
        assert_eq!(
            removed(&view, &bases, minute(59)),
            [(1, 13)],
            "the newest base stays a window"
        );
    }

    #[test]
    fn every_moment_since_then_can_still_be_restored() {
        let histories = [
            (2, "1\t0/5000200\tpromoted\n"),
            (3, "1\t0/5000200\tpromoted\n2\t0/8000300\tbefore a time\n"),
        ];
        let view = of(
            &[segments(1, 2..9), segments(2, 5..12), segments(3, 8..14)],
            &histories,
        );
        let bases = [base(2, 1), base(6, 2), base(10, 3)];
        for since in 1..16 {
            let (removals, ..) = decide(&view, &bases, minute(since), &ALWAYS).unwrap();
            let gone: Vec<String> = removals
                .iter()
                .flat_map(|removal| &removal.files)
                .map(|(segment, _)| segment.to_string())
                .collect();
            let mut files = [segments(1, 2..9), segments(2, 5..12), segments(3, 8..14)].concat();
            files.retain(|file| !gone.contains(file));
            let after = of(&[files], &histories);
            for timeline in 1..=3 {
                let choice = TimelineChoice::Number(Timeline::new(timeline));
                for wanted in since..14 {
                    let target = format!("2026-11-21 10:{wanted:02}:01Z");
                    let before = try_to(&view, &bases, &target, choice);
                    if before.is_ok() {
                        let restored = try_to(&after, &bases, &target, choice);
                        assert!(restored.is_ok(), "since {since}, {target}: {restored:?}");
                    }
                }
            }
        }
    }

    /// What is needed, by the segments that the base backups stand at.
    fn needed(view: &ArchiveView, bases: &[BasePoint], since: Timestamp) -> Vec<BasePoint> {
        let NeededBases::These(ids) = needed_of(view, bases, since, &ALWAYS).unwrap() else {
            return bases.to_vec();
        };
        let is_needed = |base: &&BasePoint| ids.contains_key(&base.id);
        bases.iter().filter(is_needed).cloned().collect()
    }

    #[test]
    fn base_backups_that_no_kept_moment_needs_make_no_difference_to_the_wal() {
        let histories = [
            (2, "1\t0/5000200\tpromoted\n"),
            (3, "1\t0/5000200\tpromoted\n2\t0/8000300\tbefore a time\n"),
        ];
        let files = [segments(1, 2..9), segments(2, 5..12), segments(3, 8..14)];
        let view = of(&files, &histories);
        let bases = [
            base(2, 1),
            base(3, 1),
            base(4, 1),
            base(6, 2),
            base(7, 2),
            base(10, 3),
            base(12, 3),
        ];
        for since in 1..16 {
            let since = minute(since);
            let left = needed(&view, &bases, since);
            assert!(!left.is_empty());
            assert_eq!(
                removed(&view, &bases, since),
                removed(&view, &left, since),
                "{since}"
            );
            assert_eq!(needed(&view, &left, since), left);
        }
    }

    #[test]
    fn behind_a_hole_another_base_backup_is_needed() {
        let view = of(&[segments(1, 2..8), segments(1, 10..20)], &[]);
        let bases = [base(2, 1), base(5, 1), base(12, 1), base(15, 1)];
        let at = |since| -> Vec<u64> {
            let left = needed(&view, &bases, minute(since));
            left.iter()
                .map(|base| view.size().number_of(base.start))
                .collect()
        };
        assert_eq!(at(3), [2, 12]);
        assert_eq!(at(6), [5, 12]);
        assert_eq!(at(13), [12]);
        assert_eq!(at(59), [15]);
    }

    #[test]
    fn a_history_that_cannot_be_read_keeps_everything() {
        let view = of(&[segments(1, 2..20), segments(2, 8..12)], &[]);
        assert_eq!(removed(&view, &[base(2, 1), base(9, 1)], minute(18)), []);
    }
}
