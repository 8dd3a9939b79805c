//! Over made-up histories: what trips, and what must not.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rekindle_vault::{
    Hold, HoldScope, Id, NewExtension, Password, TreeChange, Vault, store::MemoryStore,
};

use super::{
    Figures, Limits, Suspicion, TripwireRecord, Verdict, judge,
    tripped::{TRIPWIRE, hold_name, hold_what_was_there},
};

const MIB: u64 = 1 << 20;
/// The dataset's size in the histories.
const SIZE: u64 = 1000 * MIB;

const DATABASE: Limits = Limits {
    encrypted: 5,
    changed: None,
    gone: 50,
};
const FILES: Limits = Limits {
    encrypted: 5,
    changed: Some(50),
    gone: 50,
};

fn at(day: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day)
}

/// The first point, of data that compress to `percent` of their size.
fn first(percent: u64) -> Figures {
    Figures {
        time: at(0),
        files: 20_003,
        bytes: SIZE,
        added_bytes: SIZE,
        added_stored_bytes: SIZE * percent / 100,
        change: None,
        verdict: Verdict::Usual,
    }
}

/// A later point: of 1,000 MiB so many were replaced, and so many added, which compress so far.
fn point(replaced_mib: u64, added_mib: u64, percent: u64) -> Figures {
    Figures {
        added_bytes: added_mib * MIB,
        added_stored_bytes: added_mib * MIB * percent / 100,
        change: Some(TreeChange {
            files_before: 20_003,
            bytes_before: SIZE,
            files_changed: 20_003 * replaced_mib / 1000,
            replaced_bytes: replaced_mib * MIB,
            ..TreeChange::default()
        }),
        ..first(percent)
    }
}

/// A first point and `days` ordinary ones.
fn ordinary(days: usize) -> Vec<Figures> {
    let mut history = vec![first(40)];
    history.extend((0..days).map(|_| point(10, 12, 40)));
    history
}

fn names(found: &[Suspicion]) -> Vec<String> {
    let word = |text: String| text.split([':', ' ']).next().unwrap_or_default().to_owned();
    found.iter().map(|s| word(s.to_string())).collect()
}

#[test]
fn a_first_point_never_trips() {
    assert_eq!(judge(&[], &first(100), &FILES), []);
    // Nor one whose predecessor could not be read.
    assert_eq!(judge(&ordinary(5), &first(100), &FILES), []);
}

#[test]
fn ordinary_growth_does_not_trip() {
    let history = ordinary(9);
    assert_eq!(judge(&history, &point(10, 30, 45), &FILES), []);
    // Many pictures are added and nothing is replaced.
    assert_eq!(judge(&history, &point(2, 900, 99), &FILES), []);
    // Pictures come every day from now on, beside what changes anyway.
    let mut history = history;
    for _ in 0..15 {
        assert_eq!(judge(&history, &point(10, 100, 93), &DATABASE), []);
        history.push(point(10, 100, 93));
    }
}

#[test]
fn a_database_that_is_rewritten_does_not_trip() {
    let history = ordinary(9);
    // Every index is made anew.
    assert_eq!(judge(&history, &point(450, 450, 38), &DATABASE), []);
    // VACUUM FULL: everything has another file, and a third of it was bloat.
    let mut vacuumed = point(1000, 660, 42);
    vacuumed.bytes = 660 * MIB;
    assert_eq!(judge(&history, &vacuumed, &DATABASE), []);
}

#[test]
fn a_first_encrypting_attack_trips_on_the_second_point_as_on_the_tenth() {
    for history in [ordinary(0), ordinary(1), ordinary(9)] {
        for limits in [DATABASE, FILES] {
            let found = judge(&history, &point(600, 600, 99), &limits);
            assert_eq!(names(&found)[0], "as", "{found:?}");
        }
    }
    let found = judge(&ordinary(9), &point(600, 600, 99), &FILES);
    assert_eq!(
        found[0].to_string(),
        "as if encrypted: 60 % of the data was replaced, and what was added compresses to 99 % of \
         its size, usually to 40 %"
    );
    assert_eq!(
        found[1].to_string(),
        "changed: 60 % of the data was replaced, in 12001 of 20003 files; usually 1 %"
    );
    // Written in Base64 it shrinks to three quarters.
    assert_eq!(
        judge(&ordinary(9), &point(600, 800, 76), &DATABASE).len(),
        1
    );
}

#[test]
fn a_day_on_which_everything_was_rewritten_does_not_hide_the_attack_after_it() {
    let mut history = ordinary(1);
    history.push(point(600, 600, 38));
    let found = judge(&history, &point(600, 600, 85), &DATABASE);
    assert_eq!(names(&found), ["as"]);
}

#[test]
fn a_slow_attack_is_added_up() {
    // Two in a hundred a day, beside what changes anyway.
    let mut history = ordinary(12);
    let attack = point(25, 25, 90);
    let mut days = 0;
    let found = loop {
        days += 1;
        let found = judge(&history, &attack, &DATABASE);
        if !found.is_empty() {
            break found;
        }
        assert!(days < 10, "it was never noticed");
        history.push(attack.clone());
    };
    // One in a hundred is replaced every day anyway.
    assert_eq!(days, 4);
    let Suspicion::Encrypted {
        replaced, points, ..
    } = found[0]
    else {
        panic!("{found:?}");
    };
    assert_eq!((replaced, points), (10, 4));
    // The day after, when only the usual happens, is no new attack.
    assert_eq!(judge(&history, &point(10, 12, 40), &DATABASE), []);
}

#[test]
fn mass_deletion_trips_and_a_little_does_not() {
    let left = |files, mib| Figures {
        files,
        bytes: mib * MIB,
        ..point(500, 1, 40)
    };
    assert_eq!(
        names(&judge(&ordinary(3), &left(20_000, 400), &DATABASE)),
        ["gone"]
    );
    assert_eq!(
        names(&judge(&ordinary(3), &left(300, 900), &DATABASE)),
        ["gone"]
    );
    assert_eq!(judge(&ordinary(3), &left(15_000, 700), &DATABASE), []);
    // Some data shrink by half every other day.
    let mut history = ordinary(1);
    history.extend([left(20_000, 400), left(20_000, 420), left(20_000, 410)]);
    assert_eq!(judge(&history, &left(20_000, 400), &DATABASE), []);
}

#[test]
fn data_that_never_compress_or_always_change_do_not_trip() {
    let mut history = vec![first(100)];
    history.extend((0..5).map(|_| point(30, 30, 100)));
    assert_eq!(judge(&history, &point(400, 400, 100), &FILES), []);
    let mut history = vec![first(40)];
    history.extend((0..5).map(|_| point(700, 700, 40)));
    assert_eq!(judge(&history, &point(800, 800, 41), &FILES), []);
}

#[test]
fn files_under_one_new_ending_in_the_place_of_others_trip() {
    let renamed = |gone, new| {
        let mut figures = point(0, 0, 0);
        let change = figures.change.as_mut().unwrap();
        change.files_gone = gone;
        change.new_extension = Some(NewExtension {
            extension: "locked".to_owned(),
            files: new,
        });
        figures
    };
    let found = judge(&ordinary(3), &renamed(9000, 9000), &FILES);
    assert_eq!(
        found[0].to_string(),
        "renamed: 9000 files end in `.locked`, and none did before"
    );
    // A new kind of files beside the others, and a few.
    assert_eq!(judge(&ordinary(3), &renamed(0, 9000), &FILES), []);
    assert_eq!(judge(&ordinary(3), &renamed(15, 15), &FILES), []);
}

#[test]
fn what_was_suspicious_is_usual_only_once_somebody_accepts_it() {
    let mut attack = point(600, 600, 99);
    attack.verdict = Verdict::Suspicious;
    let mut record = TripwireRecord {
        now: Some(attack),
        history: ordinary(9),
        suspicions: Vec::new(),
    };
    let again = point(600, 600, 99);
    for _ in 0..3 {
        // While the hold stands it trips every time, however often it happens.
        record.history = record.history_of_next(true);
        assert!(!judge(&record.history, &again, &DATABASE).is_empty());
        record.now = Some(Figures {
            verdict: Verdict::Suspicious,
            ..again.clone()
        });
    }
    let accepted = record.history_of_next(false);
    assert_eq!(judge(&accepted, &again, &DATABASE), []);
    assert_eq!(judge(&accepted, &point(10, 12, 99), &DATABASE), []);
}

#[test]
fn a_history_is_bounded_and_in_order() {
    let mut record = TripwireRecord::default();
    for day in 0..30 {
        record.history = record.history_of_next(true);
        record.now = Some(Figures {
            time: at(day),
            ..first(40)
        });
    }
    let next = record.history_of_next(true);
    assert_eq!(next.len(), 20);
    assert_eq!((next[0].time, next[19].time), (at(10), at(29)));
}

#[test]
fn the_name_of_a_hold_is_one_for_every_service() {
    assert_eq!(hold_name("db"), "tripwire-db");
    let long = |last| format!("{}{last}", "s".repeat(62));
    let (a, b) = (hold_name(&long('a')), hold_name(&long('b')));
    assert!(
        a != b && a.len() == 64 && a.starts_with(TRIPWIRE),
        "{a} {b}"
    );
}

#[test]
fn a_hold_that_keeps_nothing_of_the_service_is_not_taken_for_the_tripwires() {
    let vault = Vault::create(Arc::new(MemoryStore::new()), &Password::new("x")).unwrap();
    let not_held = || hold_what_was_there(&vault, "db", Vec::new()).not_held;
    let on_another = HoldScope::Point(Id::of(b"a point"));
    let on_it = HoldScope::Below("/db".to_owned());
    for (scope, until) in [(on_another, None), (on_it, Some(at(1)))] {
        let hold = Hold {
            name: hold_name("db"),
            scope,
            reason: None,
            since: at(0),
            until,
            by: "somebody".to_owned(),
        };
        vault.add_hold(&hold).unwrap();
        assert!(not_held().is_some_and(|why| why.contains("hold remove")));
        vault.remove_hold(&hold.name).unwrap();
    }
    // Made, and found standing the next time.
    assert_eq!((not_held(), not_held()), (None, None));
}
