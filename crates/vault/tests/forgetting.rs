//! Forgetting and holding recovery points.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{fs, io::ErrorKind, sync::Arc};

use common::{Place, assert_whole, back_up, check, password};
use jiff::{SignedDuration, Timestamp};
use rekindle_testing::skip;
use rekindle_vault::{
    HOLD_TAG, Hold, HoldScope, Id, LockMode, Snapshot, Store, Thoroughness, Vault, VaultError,
    store::{Fault, FaultyStore, LocalStore},
};

/// A vault with some points of one small file each.
fn with_points(count: usize) -> (Place, Vault, Vec<Snapshot>) {
    let place = Place::new();
    let vault = place.create();
    fs::create_dir(place.source()).unwrap();
    let points = (0..count).map(|number| {
        fs::write(place.source().join("a"), number.to_string()).unwrap();
        back_up(&vault, &place.source(), None).unwrap()
    });
    let points = points.collect();
    (place, vault, points)
}

fn ids(vault: &Vault) -> Vec<Id> {
    let snapshots = vault.snapshots().unwrap();
    snapshots.iter().map(|snapshot| snapshot.id).collect()
}

fn hold(name: &str, scope: HoldScope) -> Hold {
    Hold {
        name: name.to_owned(),
        scope,
        reason: Some("a test".to_owned()),
        since: Timestamp::now(),
        until: None,
        by: "root@here".to_owned(),
    }
}

#[test]
fn forgotten_points_are_gone_and_nothing_else_is() {
    let (place, vault, points) = with_points(4);
    let before = rekindle_testing::faults::files_below(&place.path("vault/data")).unwrap();
    assert_eq!(vault.forget(&[points[0].id, points[2].id]).unwrap(), 2);
    assert_eq!(ids(&vault), [points[1].id, points[3].id]);
    let after = rekindle_testing::faults::files_below(&place.path("vault/data")).unwrap();
    assert_eq!(before, after);
    // Somebody else may have forgotten one meanwhile.
    assert_eq!(vault.forget(&[points[0].id, points[1].id]).unwrap(), 1);
    assert_eq!(ids(&vault), [points[3].id]);
    assert_whole(&vault);
    assert!(vault.locks().unwrap().is_empty());
    if skip::unless_available(place.restic().version()).is_some() {
        assert_eq!(
            place
                .restic()
                .snapshots()
                .unwrap()
                .as_array()
                .unwrap()
                .len(),
            1
        );
        place.restic().check(true).unwrap();
    }
}

#[test]
fn a_damaged_point_does_not_keep_others_from_being_forgotten() {
    let (place, vault, points) = with_points(3);
    let file = place.path("vault/snapshots").join(points[1].id.to_string());
    fs::remove_file(&file).unwrap();
    fs::write(&file, b"not what it was").unwrap();
    assert_eq!(vault.forget(&[points[0].id]).unwrap(), 1);
    // Also the damaged one itself can be.
    assert_eq!(vault.forget(&[points[1].id]).unwrap(), 1);
    assert_eq!(ids(&vault), [points[2].id]);
}

#[test]
fn nothing_is_forgotten_while_somebody_works_or_under_a_shared_lock() {
    let (_place, vault, points) = with_points(2);
    let lock = vault.lock(LockMode::Shared).unwrap();
    let error = vault.forget(&[points[0].id]).unwrap_err();
    assert!(matches!(error, VaultError::Locked(_)), "{error}");
    let error = vault.forget_under(&lock, &[points[0].id]).unwrap_err();
    assert!(matches!(error, VaultError::LockLost { .. }), "{error}");
    drop(lock);
    let lock = vault.lock(LockMode::Exclusive).unwrap();
    vault.release_own_locks().unwrap();
    let error = vault.forget_under(&lock, &[points[0].id]).unwrap_err();
    assert!(matches!(error, VaultError::LockLost { .. }), "{error}");
    assert_eq!(ids(&vault).len(), 2);
}

#[test]
fn whatever_fails_what_went_and_what_not_is_told() {
    let (place, vault, points) = with_points(6);
    let wanted: Vec<Id> = points[..5].iter().map(|point| point.id).collect();
    let mut told_in_part = 0;
    for at in 0..30 {
        let inner = Arc::new(LocalStore::new(place.vault_dir())) as Arc<dyn Store>;
        let fault = Fault::Refused(ErrorKind::PermissionDenied);
        let store = Arc::new(FaultyStore::failing_from(inner, u64::MAX, fault));
        let failing = Vault::open(Arc::clone(&store) as Arc<dyn Store>, &password()).unwrap();
        store.restart(at);
        let before = ids(&vault);
        let outcome = failing.forget(&wanted);
        store.restart(u64::MAX);
        vault.unlock_stale().unwrap();
        drop(failing);
        for lock in vault.locks().unwrap() {
            fs::remove_file(place.path("vault/locks").join(lock.id.to_string())).unwrap();
        }
        let after = ids(&vault);
        match outcome {
            Err(VaultError::ForgotInPart {
                forgotten, left, ..
            }) => {
                told_in_part += 1;
                assert!(forgotten.iter().all(|id| !after.contains(id)), "{at}");
                let still = left.iter().filter(|id| before.contains(id));
                assert!(still.clone().all(|id| after.contains(id)), "{at}");
            }
            Err(_) => assert_eq!(before, after, "{at}"),
            Ok(_) => {
                assert_eq!(after, [points[5].id], "{at}");
                break;
            }
        }
    }
    assert!(told_in_part > 0);
}

#[test]
fn tags_are_not_given_to_a_point_that_is_gone() {
    let (_place, vault, points) = with_points(2);
    let tagged = vault.set_tags(&points[0], vec!["x".to_owned()]).unwrap();
    assert_eq!(tagged.lasting_id(), points[0].id);
    let error = vault.set_tags(&points[0], Vec::new()).unwrap_err();
    assert!(matches!(error, VaultError::NoSnapshot { .. }), "{error}");
    assert_eq!(ids(&vault).len(), 2);
    let again = vault.set_tags(&tagged, Vec::new()).unwrap();
    assert_eq!(again.lasting_id(), points[0].id);
}

#[test]
fn a_hold_stands_at_once_also_while_a_backup_runs() {
    let (_place, vault, points) = with_points(2);
    let _running = vault.lock(LockMode::Exclusive).unwrap();
    vault
        .add_hold(&hold("incident-7", HoldScope::Point(points[0].id)))
        .unwrap();
    let now = Timestamp::now();
    let holds = vault.holds().unwrap();
    assert_eq!(holds.on(&points[0], now), ["incident-7"]);
    assert!(holds.on(&points[1], now).is_empty());
    assert!(holds.on_all(now).is_empty());
}

#[test]
fn a_hold_follows_its_point_and_its_service_and_ends_in_time() {
    let (_place, vault, points) = with_points(1);
    let now = Timestamp::now();
    let names = |snapshot: &Snapshot, at| vault.holds().unwrap().on(snapshot, at);
    vault
        .add_hold(&hold("point", HoldScope::Point(points[0].id)))
        .unwrap();
    let renamed = vault
        .set_tags(&points[0], vec!["other".to_owned()])
        .unwrap();
    assert_eq!(names(&renamed, now), ["point"], "under its new id");
    vault
        .add_hold(&hold("of", HoldScope::Below("/source".to_owned())))
        .unwrap();
    vault
        .add_hold(&hold("other", HoldScope::Below("/sour".to_owned())))
        .unwrap();
    let over = now + SignedDuration::from_hours(1);
    let timed = Hold {
        until: Some(over),
        ..hold("timed", HoldScope::All)
    };
    vault.add_hold(&timed).unwrap();
    assert_eq!(names(&renamed, now), ["of", "point", "timed"]);
    assert_eq!(vault.holds().unwrap().on_all(now), ["timed"]);
    assert_eq!(names(&renamed, over), ["of", "point"]);
    // The tag of a hold that is over does not count; one without a hold does.
    let tags = ["timed", "by-hand"].map(|name| format!("{HOLD_TAG}{name}"));
    let tagged = vault.set_tags(&renamed, tags.to_vec()).unwrap();
    assert_eq!(names(&tagged, over), ["by-hand", "of", "point"]);
    vault.remove_hold("of").unwrap();
    vault.remove_hold("point").unwrap();
    assert_eq!(names(&tagged, over), ["by-hand"]);
    let error = vault.remove_hold("point").unwrap_err();
    assert!(matches!(error, VaultError::NoHold { .. }), "{error}");
}

#[test]
fn names_that_cannot_be_tags_and_names_in_use_are_refused() {
    let (place, vault, _) = with_points(1);
    for name in ["", "a,b", "a b", "ä", "x/../y", &"x".repeat(65)] {
        let error = vault.add_hold(&hold(name, HoldScope::All)).unwrap_err();
        assert!(matches!(error, VaultError::BadHoldName { .. }), "{error}");
    }
    vault.add_hold(&hold("A-1_b.c", HoldScope::All)).unwrap();
    let error = vault
        .add_hold(&hold("A-1_b.c", HoldScope::All))
        .unwrap_err();
    assert!(matches!(error, VaultError::HoldExists { .. }), "{error}");
    assert!(check(&vault, Thoroughness::AllData).problems.is_empty());
    if skip::unless_available(place.restic().version()).is_some() {
        place.restic().check(true).unwrap();
    }
}

#[test]
fn a_hold_that_cannot_be_read_is_told_and_not_taken_for_none() {
    let (place, vault, _) = with_points(1);
    vault.add_hold(&hold("x", HoldScope::All)).unwrap();
    let folder = place.path("vault/rekindle/holds");
    let file = fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = fs::read(&file).unwrap();
    bytes[20] ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    let holds = vault.holds().unwrap();
    assert!(holds.all.is_empty());
    assert_eq!(holds.unreadable.len(), 1);
}
