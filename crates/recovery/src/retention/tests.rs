//! Over made-up points: what stays, for which reasons, and what always holds.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::prelude::*;
use rekindle_stack::{Retention, Stack};
use rekindle_vault::Id;

use super::{
    Block, Circumstances, ForgetGuard, PointPlan, RetentionPoint, RetentionPolicy, decide,
};
use crate::Level;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn id(number: usize) -> Id {
    Id::of(&number.to_le_bytes())
}

fn point(number: usize, time: Timestamp) -> RetentionPoint {
    RetentionPoint {
        id: id(number),
        time,
        datasets: vec!["db/postgres".to_owned()],
        tags: Vec::new(),
        level: Level::Stored,
        is_imported: false,
        holds: Vec::new(),
        wal: Vec::new(),
    }
}

/// One point every so many hours before `now`, the newest last.
fn series(now: Timestamp, every_hours: i64, count: usize) -> Vec<RetentionPoint> {
    let time = |back: usize| now - SignedDuration::from_hours(every_hours * back as i64);
    let all = (0..count).map(|number| point(number, time(count - 1 - number)));
    all.collect()
}

fn rules(text: &str) -> Retention {
    let text = format!(
        "stack: test\nvault: {{ at: /v, password: x }}\nservices: {{ a: {{ stateless: true }} }}\nretention: {{ {text} }}\n"
    );
    let stack = Stack::parse(&text, std::path::Path::new("rekindle.yaml"));
    stack.unwrap().stack.retention
}

fn policy(text: &str) -> RetentionPolicy {
    RetentionPolicy::for_all(rules(text))
}

fn in_zone(now: Timestamp, zone: &str) -> Circumstances {
    Circumstances {
        now,
        zone: TimeZone::get(zone).unwrap(),
        services: BTreeSet::from(["db".to_owned()]),
        blocks: Vec::new(),
    }
}

fn utc(now: Timestamp) -> Circumstances {
    in_zone(now, "UTC")
}

fn kept(plan: &PointPlan) -> Vec<Timestamp> {
    let kept = plan.points.iter().filter(|planned| planned.is_kept());
    kept.map(|planned| planned.point.time).collect()
}

fn why(plan: &PointPlan, number: usize) -> Vec<String> {
    let found = plan.points.iter().find(|p| p.point.id == id(number));
    found
        .unwrap()
        .reasons
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn of_each_period_that_has_points_the_newest_stays() {
    let now = at("2026-11-21T12:00:00Z");
    let points: Vec<_> = [
        "2025-12-31T23:00:00Z",
        "2026-11-18T01:00:00Z",
        "2026-11-18T02:00:00Z",
        // No point on the 19th: it takes no place.
        "2026-11-20T01:00:00Z",
        "2026-11-20T23:59:59Z",
        "2026-11-21T00:00:00Z",
        "2026-11-21T11:00:00Z",
    ]
    .into_iter()
    .enumerate()
    .map(|(number, time)| point(number, at(time)))
    .collect();
    let plan = decide(&points, &policy("daily: 3"), &utc(now));
    let expected = [
        "2026-11-18T02:00:00Z",
        "2026-11-20T23:59:59Z",
        "2026-11-21T11:00:00Z",
    ];
    assert_eq!(kept(&plan), expected.map(at));
    assert_eq!(why(&plan, 4), ["daily 2026-11-20 (db/postgres)"]);
    let plan = decide(&points, &policy("yearly: 2, last: 2"), &utc(now));
    assert_eq!(why(&plan, 0), ["yearly 2025 (db/postgres)"]);
    assert_eq!(why(&plan, 5), ["last 2 of 2 (db/postgres)"]);
    assert_eq!(
        why(&plan, 6),
        [
            "newest of db",
            "newest with all services",
            "last stored of db",
            "last 1 of 2 (db/postgres)",
            "yearly 2026 (db/postgres)"
        ]
    );
    assert_eq!(plan.to_forget().len(), 4);
}

#[test]
fn weeks_begin_on_monday_also_across_the_year() {
    let now = at("2027-01-05T00:00:00Z");
    let times = [
        "2026-12-27T12:00:00Z",
        "2026-12-28T12:00:00Z",
        "2027-01-03T12:00:00Z",
        "2027-01-04T12:00:00Z",
    ];
    let points: Vec<_> = times
        .iter()
        .enumerate()
        .map(|(n, t)| point(n, at(t)))
        .collect();
    let plan = decide(&points, &policy("weekly: 3"), &utc(now));
    assert_eq!(kept(&plan), [times[0], times[2], times[3]].map(at));
    assert_eq!(why(&plan, 2), ["weekly 2026-W53 (db/postgres)"]);
}

#[test]
fn a_day_is_that_of_the_place_also_when_clocks_change() {
    // In Berlin clocks go back from 03:00 to 02:00 at 01:00 UTC on 2026-10-25: a day of 25 hours.
    let now = at("2026-10-26T12:00:00Z");
    let points = series(at("2026-10-25T23:00:00Z"), 1, 30);
    let berlin = in_zone(now, "Europe/Berlin");
    let plan = decide(&points, &policy("daily: 2"), &berlin);
    // 23:00 UTC is the first minute of the 26th there.
    assert_eq!(
        kept(&plan),
        [at("2026-10-25T22:00:00Z"), at("2026-10-25T23:00:00Z")]
    );
    let plan = decide(&points, &policy("daily: 2"), &utc(now));
    assert_eq!(
        kept(&plan),
        [at("2026-10-24T23:00:00Z"), at("2026-10-25T23:00:00Z")]
    );
    // The hour that comes twice is two hours.
    let plan = decide(&points, &policy("hourly: 30"), &berlin);
    assert_eq!(kept(&plan).len(), 30);
    let twice: Vec<String> = plan
        .points
        .iter()
        .flat_map(|planned| planned.reasons.iter().map(ToString::to_string))
        .filter(|text| text.contains("2026-10-25 02:00"))
        .collect();
    assert_eq!(twice.len(), 2);
    assert_ne!(twice[0], twice[1]);
}

#[test]
fn points_of_the_future_stay_and_displace_nobody() {
    let now = at("2026-11-21T12:00:00Z");
    let mut points = series(now, 24, 5);
    points.push(point(90, now + SignedDuration::from_secs(1)));
    points.push(point(91, at("2040-01-01T00:00:00Z")));
    let plan = decide(&points, &policy("daily: 2, last: 1"), &utc(now));
    let of_now = decide(&points[..5], &policy("daily: 2, last: 1"), &utc(now));
    assert_eq!(kept(&plan)[..2], kept(&of_now)[..]);
    assert_eq!(why(&plan, 91), ["from the future: a clock was wrong"]);
    // A clock that fell back makes the future of everything.
    let plan = decide(
        &points,
        &policy("last: 1"),
        &utc(at("1970-01-02T00:00:00Z")),
    );
    assert!(plan.to_forget().is_empty());
}

#[test]
fn what_has_a_reason_of_its_own_stays() {
    let now = at("2026-11-21T12:00:00Z");
    let mut points = series(now, 24, 9);
    points[0].holds.push("incident-7".to_owned());
    points[1]
        .wal
        .push("WAL window since then begins here".to_owned());
    points[2].tags.push("release".to_owned());
    points[3].is_imported = true;
    points[4].datasets = vec!["gone/postgres".to_owned()];
    points[5].tags.push("pre-change".to_owned());
    points[6].tags.push("pre-change".to_owned());
    let plan = decide(
        &points,
        &policy("last: 1, keep_tags: [release], pre_change: 60h"),
        &utc(now),
    );
    for (number, reason) in [
        (0, "hold `incident-7`"),
        (1, "WAL window since then begins here"),
        (2, "tag `release`"),
        (3, "imported: no backup makes it anew"),
        (4, "nothing of this stack is in it"),
        (6, "pre-change until 2026-11-22 00:00:00 UTC"),
    ] {
        assert!(
            why(&plan, number).contains(&reason.to_owned()),
            "{reason}: {:?}",
            why(&plan, number)
        );
    }
    assert_eq!(plan.to_forget(), [id(5), id(7)]);
}

#[test]
fn a_point_of_several_services_stays_if_any_of_them_needs_it() {
    let now = at("2026-11-21T12:00:00Z");
    let mut points = series(now, 24, 6);
    points[1].datasets = vec!["api/files".to_owned(), "db/postgres".to_owned()];
    points[2].datasets = vec!["api/files".to_owned(), "db/postgres".to_owned()];
    let policy = policy("last: 2").with_service("api", rules("last: 1"));
    let mut circumstances = utc(now);
    circumstances.services.insert("api".to_owned());
    let plan = decide(&points, &policy, &circumstances);
    assert_eq!(plan.to_forget(), [id(0), id(1), id(3)]);
    let reasons = why(&plan, 2);
    assert!(reasons.contains(&"newest of api".to_owned()), "{reasons:?}");
    assert!(reasons.contains(&"newest with all services".to_owned()));
    // A service without a rule of its own that keeps nothing: all of its points stay.
    let policy = super::RetentionPolicy::for_all(rules("last: 1")).with_service("api", rules(""));
    let plan = decide(&points, &policy, &circumstances);
    assert!(why(&plan, 1).contains(&"no rule forgets api/files".to_owned()));
}

#[test]
fn the_last_proven_point_stays_however_old() {
    let now = at("2026-11-21T12:00:00Z");
    let mut points = series(now, 24, 6);
    points[1].level = Level::Restored;
    points[2].level = Level::Restored;
    points[4].level = Level::Checked;
    let plan = decide(&points, &policy("last: 1"), &utc(now));
    assert_eq!(kept(&plan), [points[2].time, points[5].time]);
    assert_eq!(why(&plan, 2), ["last restored of db"]);
}

#[test]
fn nothing_goes_while_something_stands_in_the_way() {
    let now = at("2026-11-21T12:00:00Z");
    let mut circumstances = utc(now);
    circumstances.blocks.push(Block {
        guard: Some(ForgetGuard::Hold),
        text: "hold `x` on the whole vault".to_owned(),
    });
    let plan = decide(&series(now, 24, 6), &policy("last: 1"), &circumstances);
    assert!(plan.to_forget().is_empty());
    assert_eq!(why(&plan, 0), ["nothing is forgotten now"]);
}

#[test]
fn an_empty_policy_keeps_all_and_one_that_keeps_nothing_is_refused() {
    let now = at("2026-11-21T12:00:00Z");
    let points = series(now, 24, 6);
    for text in ["", "pre_change: 1h", "wal: 1h"] {
        let plan = decide(&points, &policy(text), &utc(now));
        assert!(
            plan.to_forget().is_empty() && plan.blocks.is_empty(),
            "{text}"
        );
    }
    let mut nothing = rules("");
    nothing.daily = Some(0);
    let plan = decide(&points, &RetentionPolicy::for_all(nothing), &utc(now));
    assert!(plan.to_forget().is_empty());
    assert_eq!(plan.blocks[0].guard, None);
}

/// Counts of all rules.
type Counts = [Option<u32>; 6];

fn of_counts(counts: Counts) -> RetentionPolicy {
    let mut all = rules("");
    [
        all.last,
        all.hourly,
        all.daily,
        all.weekly,
        all.monthly,
        all.yearly,
    ] = counts;
    RetentionPolicy::for_all(all)
}

fn counts() -> impl Strategy<Value = Counts> {
    prop::array::uniform6(prop::option::of(1..9u32))
}

const ZONES: [&str; 4] = [
    "UTC",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Pacific/Apia",
];

/// Points of two services within some years, some of them in the future of `now`.
fn world() -> impl Strategy<Value = (Vec<RetentionPoint>, Circumstances)> {
    let one = (0..3 * 366 * 24 * 60i64, 0..3u8, 0..12u8);
    (prop::collection::vec(one, 1..60), 0..ZONES.len()).prop_map(|(all, zone)| {
        let start = at("2024-01-01T00:00:00Z");
        let points = all
            .into_iter()
            .enumerate()
            .map(|(number, (minutes, whose, kind))| {
                let mut point = point(number, start + SignedDuration::from_mins(minutes));
                point.datasets = match whose {
                    0 => vec!["db/postgres".to_owned()],
                    1 => vec!["api/files".to_owned()],
                    _ => vec!["api/files".to_owned(), "db/postgres".to_owned()],
                };
                point.is_imported = kind == 0;
                point.level = if kind == 1 {
                    Level::Restored
                } else {
                    Level::Stored
                };
                point
            });
        let mut circumstances = in_zone(at("2026-06-01T00:00:00Z"), ZONES[zone]);
        circumstances.services.insert("api".to_owned());
        (points.collect(), circumstances)
    })
}

fn ids(plan: &PointPlan) -> BTreeSet<Id> {
    let kept = plan.points.iter().filter(|planned| planned.is_kept());
    kept.map(|planned| planned.point.id).collect()
}

proptest! {
    #[test]
    fn more_policy_keeps_more((points, circumstances) in world(), counts in counts(), rule in 0..6usize, more in 1..5u32) {
        prop_assume!(counts.iter().any(Option::is_some));
        let less = decide(&points, &of_counts(counts), &circumstances);
        let mut raised = counts;
        raised[rule] = Some(raised[rule].unwrap_or(0) + more);
        let plan = decide(&points, &of_counts(raised), &circumstances);
        prop_assert!(ids(&less).is_subset(&ids(&plan)));
    }

    #[test]
    fn what_stays_stays_when_the_rest_is_gone((points, circumstances) in world(), counts in counts()) {
        let plan = decide(&points, &of_counts(counts), &circumstances);
        let gone = plan.to_forget();
        let left: Vec<_> = points.into_iter().filter(|point| !gone.contains(&point.id)).collect();
        let again = decide(&left, &of_counts(counts), &circumstances);
        prop_assert!(again.to_forget().is_empty());
    }

    #[test]
    fn the_order_of_points_means_nothing((points, circumstances) in world(), counts in counts(), seed in any::<u64>()) {
        let mut mixed = points.clone();
        mixed.sort_by_key(|point| Id::of(&[point.id.to_string().as_bytes(), &seed.to_le_bytes()].concat()));
        let policy = of_counts(counts);
        prop_assert_eq!(decide(&points, &policy, &circumstances), decide(&mixed, &policy, &circumstances));
    }

    #[test]
    fn the_newest_and_the_last_proven_of_each_service_stay((points, circumstances) in world(), counts in counts()) {
        let kept = ids(&decide(&points, &of_counts(counts), &circumstances));
        for service in ["db/postgres", "api/files"] {
            let of_it = points.iter().filter(|point| {
                point.datasets.contains(&service.to_owned()) && !point.is_imported && point.time <= circumstances.now
            });
            let newest = of_it.clone().max_by_key(|point| (point.time, point.id));
            let proven = of_it.max_by_key(|point| (point.level, point.time, point.id));
            for point in newest.into_iter().chain(proven) {
                prop_assert!(kept.contains(&point.id));
            }
        }
        let untouchable = points.iter().filter(|point| point.is_imported || point.time > circumstances.now);
        for point in untouchable {
            prop_assert!(kept.contains(&point.id));
        }
    }
}
