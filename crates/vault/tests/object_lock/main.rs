//! Locks of objects: extended while needed, honoured by a prune, and good against a thief with all our rights.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

#[path = "../common/mod.rs"]
mod common;
mod versioned;
#[path = "../common/world.rs"]
mod world;

use std::sync::{Arc, atomic::Ordering};

use jiff::{SignedDuration, Timestamp};
use rekindle_testing::{data::Random, temp_dir};
use rekindle_vault::{
    Grace, HiddenKind, ObjectLockStatus, PackStep, Password, Progress, PruneOptions, Snapshot,
    Thoroughness, UndeletePlan, Vault, VaultError, WhenToExtend,
    store::{FileKind, LockPeriod, ObjectKey, Store, is_lockable},
};
use versioned::{DAYS, Versioned};
use world::{Files, back_up, contents, eager, hour};

fn files(numbers: std::ops::Range<u64>) -> Files {
    let file = |n| (format!("file {n}"), Random::new(n).bytes(3000));
    numbers.map(file).collect()
}

fn password() -> Password {
    Password::new("a password of tests")
}

struct Place {
    store: Arc<Versioned>,
    vault: Vault,
    state: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let store = Arc::new(Versioned::at(day(0)));
        let vault = Vault::create(Arc::clone(&store) as Arc<dyn Store>, &password()).unwrap();
        Self {
            store,
            vault,
            state: temp_dir().unwrap(),
        }
    }

    fn extend(&self, when: WhenToExtend, now: Timestamp) -> rekindle_vault::ExtendReport {
        self.store.set_clock(now);
        let state = self.state.path();
        self.vault.extend_object_locks(state, when, now).unwrap()
    }

    fn requests(&self) -> (u64, u64) {
        let take = |count: &std::sync::atomic::AtomicU64| count.swap(0, Ordering::Relaxed);
        (take(&self.store.asked), take(&self.store.extended))
    }

    fn status(&self) -> ObjectLockStatus {
        ObjectLockStatus::of(&*self.store, self.store.clock()).unwrap()
    }

    fn assert_whole(&self, points: &[(Snapshot, Files)]) {
        let vault = Vault::open(Arc::clone(&self.store) as Arc<dyn Store>, &password()).unwrap();
        let report = common::check(&vault, Thoroughness::AllData);
        assert!(report.is_whole(), "{:?} {:?}", report.problems, report.hits);
        for (snapshot, files) in points {
            assert!(contents(&vault, snapshot).unwrap() == *files, "as it was");
        }
    }
}

fn day(days: i64) -> Timestamp {
    hour(24 * days)
}

fn period() -> LockPeriod {
    LockPeriod::of_days(DAYS).unwrap()
}

#[test]
fn what_is_needed_is_never_locked_for_less_than_promised_and_costs_few_requests() {
    let place = Place::new();
    let old = back_up(&place.vault, &files(0..9)).unwrap();
    let first = place.extend(WhenToExtend::IfDue, day(0));
    let (asked, extended) = place.requests();
    assert_eq!((asked, extended), (first.needed, 0), "{first:?}");
    assert!(first.is_whole() && first.needed > 10, "{first:?}");

    let mut all_extended = 0;
    for today in 1..60 {
        let now = day(today);
        place.store.set_clock(now);
        let before = place.store.keys().len();
        if today == 20 {
            back_up(&place.vault, &files(100..102)).unwrap();
        }
        let new = (place.store.keys().len() - before) as u64;
        assert!(!place.extend(WhenToExtend::IfDue, day(today - 1)).looked);
        let report = place.extend(WhenToExtend::IfDue, now);
        let (asked, extended) = place.requests();
        assert!(report.looked && asked == new, "{today}: {report:?}");
        all_extended += extended;
        let needed = place.store.keys().into_iter().filter(is_lockable);
        for key in needed {
            let end = place.store.lock_of(&key).unwrap();
            let (most, least) = (period().end(now), day(today + i64::from(DAYS)));
            assert!((least..=most).contains(&end), "{today}: {key} until {end}");
        }
    }
    assert!(all_extended <= 4 * (first.needed + 20), "{all_extended}");
    assert!(contents(&place.vault, &old).is_ok());
}

#[test]
fn what_others_wrote_without_a_lock_gets_one_and_a_lost_record_costs_one_request_each() {
    let place = Place::new();
    back_up(&place.vault, &files(0..5)).unwrap();
    let written: Vec<ObjectKey> = place.store.keys().into_iter().filter(is_lockable).collect();
    for key in &written {
        place
            .store
            .write_unlocked(key, &place.store.read(key).unwrap());
    }
    let report = place.extend(WhenToExtend::IfDue, day(0));
    assert_eq!(report.had_none, report.needed);
    assert_eq!(place.requests(), (report.needed, report.needed));
    for key in &written {
        assert!(place.store.lock_of(key).is_some(), "{key}");
    }
    for file in std::fs::read_dir(place.state.path()).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    place.extend(WhenToExtend::IfDue, day(0));
    assert_eq!(place.requests(), (report.needed, 0));
    place.extend(WhenToExtend::Now, day(0));
    assert_eq!(place.requests(), (0, 0));
    place.extend(WhenToExtend::NowAskingAll, day(0));
    assert_eq!(place.requests(), (report.needed, 0));
}

#[test]
fn a_needed_object_that_is_gone_is_told() {
    let place = Place::new();
    back_up(&place.vault, &files(0..5)).unwrap();
    let pack = place.store.list("data").unwrap().remove(0).key;
    place.store.delete(&pack).unwrap();
    let report = place.extend(WhenToExtend::Now, day(0));
    assert_eq!(report.missing, 1, "{report:?}");
    assert!(!report.is_whole());
    let status = place.vault.object_lock_status(None, day(0)).unwrap();
    assert_eq!((status.missing, status.unlocked, status.short), (1, 0, 0));
    let later = place.vault.object_lock_status(None, day(40)).unwrap();
    assert_eq!(later.short, later.needed - 1);
}

#[test]
fn a_vault_without_object_lock_says_so() {
    let plain = world::World::new();
    let state = temp_dir().unwrap();
    let refused = plain
        .vault
        .extend_object_locks(state.path(), WhenToExtend::Now, day(0));
    assert!(matches!(refused, Err(VaultError::NoObjectLocks { .. })));
    let refused = UndeletePlan::make(&*plain.store, day(0));
    assert!(matches!(refused, Err(VaultError::NoObjectLocks { .. })));
}

/// One of two points forgotten, so that packs are waste.
fn with_waste(place: &Place) -> (Snapshot, Files) {
    let waste = back_up(&place.vault, &files(0..9)).unwrap();
    let kept = files(20..25);
    let point = back_up(&place.vault, &kept).unwrap();
    place.vault.forget(&[waste.id]).unwrap();
    (point, kept)
}

#[test]
fn a_prune_lets_locked_packs_wait_until_their_locks_are_over() {
    let place = Place::new();
    let (point, kept) = with_waste(&place);
    let prune = |now| {
        place.store.set_clock(now);
        world::prune(&place.vault, now).unwrap()
    };
    let marked = prune(day(0)).marked_packs;
    assert!(marked > 3);
    let waiting = prune(day(2));
    assert_eq!(waiting.removed_packs, 0);
    assert_eq!((waiting.locked_packs, waiting.removed_bytes), (marked, 0));
    assert_eq!(waiting.locked_until, Some(period().end(day(0))));
    let is_locked = |step: &PackStep| matches!(step, PackStep::Locked { .. });
    let steps = &waiting.plan.steps;
    assert_eq!(
        steps.iter().filter(|pack| is_locked(&pack.step)).count() as u64,
        marked
    );
    assert_eq!(waiting.plan.removed_bytes, 0);
    assert!(
        place
            .status()
            .hidden
            .iter()
            .all(|hidden| hidden.folder != "data")
    );

    // What is on its way out is not extended.
    place.extend(WhenToExtend::Now, day(20));
    let gone = prune(day(47));
    assert_eq!(
        (gone.removed_packs, gone.locked_packs),
        (marked, 0),
        "{gone:?}"
    );
    assert!(!place.status().is_tampered(), "{:?}", place.status().hidden);
    place.store.expire();
    place.assert_whole(&[(point, kept)]);
}

#[test]
fn a_prune_without_grace_marks_what_is_locked() {
    let place = Place::new();
    let (point, kept) = with_waste(&place);
    // An interrupted backup left a pack that no index names.
    let unlisted = ObjectKey::of(FileKind::Pack, &rekindle_vault::Id::of(b"left behind"));
    place.store.create(&unlisted, b"left behind").unwrap();
    let options = |now| PruneOptions {
        grace: Grace::None,
        ..eager(now)
    };
    let prune = |now| {
        place.store.set_clock(now);
        let progress = Arc::new(Progress::default());
        place.vault.prune(&options(now), &progress).unwrap()
    };
    let first = prune(day(0));
    assert_eq!(first.removed_packs, 0, "{first:?}");
    assert_eq!(first.locked_packs, first.marked_packs);
    assert!(place.store.read(&unlisted).is_ok());
    let again = prune(day(1));
    assert_eq!(
        (again.removed_packs, again.locked_packs),
        (0, first.locked_packs)
    );
    let last = prune(day(50));
    assert_eq!(last.removed_packs, first.locked_packs);
    assert!(place.store.read(&unlisted).is_err());
    place.assert_whole(&[(point, kept)]);
}

/// Deletes everything, and writes rubbish over every third object, with every right but to end a lock.
fn rob(store: &Versioned) {
    for (number, key) in store.keys().into_iter().enumerate() {
        match number % 3 {
            0 => store.write_unlocked(&key, b"pay"),
            1 => {
                store.write_unlocked(&key, b"rubbish");
                store.delete(&key).unwrap();
            }
            _ => store.delete(&key).unwrap(),
        }
    }
    store.expire();
}

#[test]
fn what_a_thief_deleted_and_overwrote_comes_back_whole() {
    let place = Place::new();
    let mut points = Vec::new();
    for part in 0..3 {
        let files = files(part * 10..part * 10 + 8);
        points.push((back_up(&place.vault, &files).unwrap(), files));
    }
    place.extend(WhenToExtend::Now, day(0));
    assert!(!place.status().is_tampered(), "{:?}", place.status().hidden);
    place.store.set_clock(day(16));
    place.extend(WhenToExtend::IfDue, day(16));

    place.store.set_clock(day(17));
    let before = place.store.clock();
    let seen = place.store.keys();
    rob(&place.store);
    assert!(Vault::open(Arc::clone(&place.store) as Arc<dyn Store>, &password()).is_err());
    // Noticed on the last day that was promised.
    place
        .store
        .set_clock(day(16 + i64::from(DAYS)) - SignedDuration::from_secs(1));
    place.store.expire();
    let status = place.status();
    assert!(status.is_tampered());
    let kinds: Vec<HiddenKind> = status.tampering().map(|hidden| hidden.kind).collect();
    assert!(kinds.contains(&HiddenKind::Deleted) && kinds.contains(&HiddenKind::Rewritten));

    let plan = UndeletePlan::make(&*place.store, before).unwrap();
    let lockable = seen.iter().filter(|key| is_lockable(key)).count();
    assert_eq!(plan.hidden.len(), lockable);
    let report = plan.run(&*place.store).unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert!(report.unmarked > 0 && report.written_again > 0);
    place.assert_whole(&points);
    assert!(
        UndeletePlan::make(&*place.store, before)
            .unwrap()
            .hidden
            .is_empty()
    );
    assert!(!place.status().is_tampered(), "{:?}", place.status().hidden);
}

#[test]
fn a_time_after_the_attack_still_brings_back_the_content_that_the_name_says() {
    let place = Place::new();
    let files = files(0..8);
    let point = back_up(&place.vault, &files).unwrap();
    for key in place.store.keys() {
        if key.as_str().starts_with("data/") {
            place.store.write_unlocked(&key, b"rubbish");
        }
    }
    let too_late = place.store.clock();
    for key in place.store.keys() {
        if key.as_str().starts_with("data/") {
            place.store.delete(&key).unwrap();
        }
    }
    let plan = UndeletePlan::make(&*place.store, too_late).unwrap();
    let report = plan.run(&*place.store).unwrap();
    assert!(
        report.failed.is_empty() && report.unmarked == 0,
        "{report:?}"
    );
    place.assert_whole(&[(point, files)]);
}

#[test]
fn without_the_right_to_remove_markers_everything_is_written_once_more() {
    let place = Place::new();
    let files = files(0..8);
    let point = back_up(&place.vault, &files).unwrap();
    let before = place.store.clock();
    rob(&place.store);
    place.store.keeps_markers.store(true, Ordering::Relaxed);
    let plan = UndeletePlan::make(&*place.store, before).unwrap();
    let report = plan.run(&*place.store).unwrap();
    assert!(
        report.failed.is_empty() && report.unmarked == 0,
        "{report:?}"
    );
    assert_eq!(report.written_again, plan.hidden.len() as u64);
    place.assert_whole(&[(point, files)]);
}

#[test]
fn points_that_were_all_deleted_are_no_ordinary_forgetting() {
    let place = Place::new();
    let first = back_up(&place.vault, &files(0..3)).unwrap();
    let second = back_up(&place.vault, &files(3..5)).unwrap();
    place.vault.forget(&[first.id]).unwrap();
    assert!(!place.status().is_tampered());
    place.vault.forget(&[second.id]).unwrap();
    assert!(place.status().is_tampered());
}
