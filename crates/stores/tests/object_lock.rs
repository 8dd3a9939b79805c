//! Object Lock on a real server: what is written is locked, a thief with the same access keys destroys nothing, and a store
//! that keeps no locks is refused.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{fs, sync::Arc, thread::sleep, time::Duration};

use common::{
    assert_restores, assert_whole, back_up, make_source, password, s3_location, s3_settings,
};
use jiff::{SignedDuration, Timestamp};
use rekindle_stores::{LockMode, ObjectLock, Store, StoreSettings, hint_of, open};
use rekindle_testing::{
    data::Random,
    restic::Restic,
    servers::{ACCESS_KEY, Ceph, Rclone, SECRET_KEY},
    skip::unless_available,
    temp_dir,
};
use rekindle_vault::{
    Grace, ObjectLockStatus, Progress, PruneOptions, UndeletePlan, Vault, VaultError, WhenToExtend,
    store::{LockPeriod, LockSupport, ObjectKey, StoreErrorKind, is_lockable},
};

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn period() -> LockPeriod {
    LockPeriod::of_days(30).unwrap()
}

fn locking(port: u16, bucket: &str, prefix: &str, mode: LockMode) -> StoreSettings {
    let mut settings = s3_settings(s3_location(port, bucket, prefix));
    settings.object_lock = Some(ObjectLock {
        mode,
        period: period(),
    });
    settings
}

/// One gateway for all of it, because it takes long to start.
#[test]
fn ceph_keeps_locks_and_a_thief_destroys_nothing() {
    let Some(ceph) = unless_available(Ceph::start()) else {
        return;
    };
    if unless_available(ceph.make_locked_bucket("locked")).is_none() {
        return;
    }
    ceph.make_bucket("plain").unwrap();
    let port = ceph.port();

    what_is_written_is_locked(port, LockMode::Governance);
    what_is_written_is_locked(port, LockMode::Compliance);
    a_lock_is_extended_and_never_shortened(port);
    a_bucket_without_locks_is_refused(port);
    locks_of_a_vault_are_extended_and_honoured(port);
    a_thief_destroys_nothing(port);
}

fn what_is_written_is_locked(port: u16, mode: LockMode) {
    let folder = format!("written/{mode:?}");
    let store = open(&locking(port, "locked", &folder, mode)).unwrap();
    let locks = store.object_locks().unwrap();
    let begun = Timestamp::now();
    let large = Random::new(1).bytes(40 << 20);
    store.create(&key("data/aa/large"), &large).unwrap();
    store.create(&key("config"), b"config").unwrap();
    store.create(&key("locks/aa"), b"lock").unwrap();
    store
        .replace(&key("rekindle/keys/wal.age"), b"key")
        .unwrap();
    let expected = [period().end(begun), period().end(Timestamp::now())];
    for name in ["data/aa/large", "config", "rekindle/keys/wal.age"] {
        let end = locks.locked_until(&key(name), None).unwrap().unwrap();
        assert!(expected.contains(&end), "{name}: {end}");
    }
    assert_eq!(locks.locked_until(&key("locks/aa"), None).unwrap(), None);
    assert!(store.read(&key("data/aa/large")).unwrap() == large);
    let none = locks.locked_until(&key("data/aa/none"), None).unwrap_err();
    assert_eq!(none.kind, StoreErrorKind::NotFound);

    // To delete is to hide; the version itself cannot be removed.
    store.delete(&key("config")).unwrap();
    let page = locks.versions("config", None).unwrap();
    let [marker, version] = &page.versions[..] else {
        panic!("{page:?}");
    };
    assert!(marker.is_marker && marker.is_latest && !version.is_marker);
    assert!(
        (version.modified - begun)
            .total(jiff::Unit::Second)
            .unwrap()
            .abs()
            < 60.0
    );
    let refused = locks
        .remove_marker(&key("config"), &version.id)
        .unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Denied, "{refused:?}");
    assert_eq!(
        locks.read_version(&key("config"), &version.id).unwrap(),
        b"config"
    );
    assert!(store.read(&key("config")).is_err());
    locks.remove_marker(&key("config"), &marker.id).unwrap();
    assert_eq!(store.read(&key("config")).unwrap(), b"config");
}

fn a_lock_is_extended_and_never_shortened(port: u16) {
    let settings = |mode| locking(port, "locked", "extended", mode);
    let store = open(&settings(LockMode::Governance)).unwrap();
    let plain = open(&s3_settings(s3_location(port, "locked", "extended"))).unwrap();
    let locks = store.object_locks().unwrap();
    store.create(&key("data/aa/a"), b"a").unwrap();
    plain.create(&key("data/aa/b"), b"b").unwrap();
    assert_eq!(locks.locked_until(&key("data/aa/b"), None).unwrap(), None);
    let day = SignedDuration::from_hours(24);
    let later = period().end(Timestamp::now() + day * 9);
    for name in ["data/aa/a", "data/aa/b"] {
        locks.lock_until(&key(name), later).unwrap();
        assert_eq!(locks.locked_until(&key(name), None).unwrap(), Some(later));
        locks.lock_until(&key(name), later - day).unwrap();
        assert_eq!(locks.locked_until(&key(name), None).unwrap(), Some(later));
    }
    // The configuration may change its mind about the mode.
    let strict = open(&settings(LockMode::Compliance)).unwrap();
    let strict = strict.object_locks().unwrap();
    strict.lock_until(&key("data/aa/a"), later + day).unwrap();
    locks
        .lock_until(&key("data/aa/a"), later + day * 2)
        .unwrap();
    let end = locks.locked_until(&key("data/aa/a"), None).unwrap();
    assert_eq!(end, Some(later + day * 2));
    let none = locks.lock_until(&key("data/aa/none"), later).unwrap_err();
    assert_eq!(none.kind, StoreErrorKind::NotFound);
}

fn a_bucket_without_locks_is_refused(port: u16) {
    let settings = locking(port, "plain", "vault", LockMode::Governance);
    let store = open(&settings).unwrap();
    assert_eq!(
        store.object_locks().unwrap().support().unwrap(),
        LockSupport::Off
    );
    assert_refuses_to_make_a_vault(&store);
    // Somebody's vault there can still be read.
    let plain = open(&s3_settings(s3_location(port, "plain", "vault"))).unwrap();
    Vault::create(plain, &password()).unwrap();
    Vault::open(store, &password()).unwrap();

    let none = open(&locking(port, "none", "vault", LockMode::Governance)).unwrap();
    let error = none.object_locks().unwrap().support().unwrap_err();
    assert!(
        hint_of(&error).is_some_and(|hint| hint.contains("bucket")),
        "{error:?}"
    );
}

fn assert_refuses_to_make_a_vault(store: &Arc<dyn Store>) {
    let refused = Vault::create(Arc::clone(store), &password());
    let Err(VaultError::Store(error)) = refused else {
        panic!("a vault without locks was made");
    };
    let said = error.source.to_string();
    assert!(said.contains("keeps no object locks"), "{said}");
    assert!(hint_of(&error).is_some_and(|hint| hint.contains("object_lock")));
    assert_eq!(store.list("keys").unwrap(), []);
}

fn locks_of_a_vault_are_extended_and_honoured(port: u16) {
    let settings = locking(port, "locked", "vault", LockMode::Governance);
    let store = open(&settings).unwrap();
    let dir = temp_dir().unwrap();
    let (source, state) = (dir.path().join("source"), dir.path().join("state"));
    make_source(&source);
    let vault = Vault::create(Arc::clone(&store), &password()).unwrap();
    let waste = back_up(&vault, &source).unwrap();
    let now = Timestamp::now();
    let day = SignedDuration::from_hours(24);
    let extend = |when, now| vault.extend_object_locks(&state, when, now).unwrap();

    let first = extend(WhenToExtend::IfDue, now);
    assert!(first.is_whole() && first.extended == 0, "{first:?}");
    assert_eq!((first.asked, first.had_none), (first.needed, 0));
    // Stock restic locks nothing.
    restic(port, "locked/vault").backup(&[&source]).unwrap();
    let second = extend(WhenToExtend::Now, now);
    assert!(
        second.asked > 0 && second.asked == second.had_none,
        "{second:?}"
    );
    let later = extend(WhenToExtend::IfDue, now + day * 20);
    assert_eq!(
        (later.asked, later.extended),
        (0, later.needed),
        "{later:?}"
    );
    let status = vault.object_lock_status(None, now + day * 20).unwrap();
    assert_eq!((status.unlocked, status.short, status.missing), (0, 0, 0));
    assert_eq!(status.earliest, later.earliest);

    fs::write(source.join("large/0"), b"short now").unwrap();
    let kept = back_up(&vault, &source).unwrap();
    let all: Vec<_> = vault.snapshots().unwrap().iter().map(|s| s.id).collect();
    let others: Vec<_> = all.into_iter().filter(|id| *id != kept.id).collect();
    assert!(others.contains(&waste.id));
    vault.forget(&others).unwrap();
    let prune = |now| {
        let options = PruneOptions {
            grace: Grace::For(Duration::from_secs(3600)),
            now: Some(now),
            ..PruneOptions::default()
        };
        vault
            .prune(&options, &Arc::new(Progress::default()))
            .unwrap()
    };
    let marked = prune(now).marked_packs;
    assert!(marked > 0);
    let waiting = prune(now + day);
    assert_eq!((waiting.removed_packs, waiting.locked_packs), (0, marked));
    assert_eq!(waiting.locked_until, later.earliest);
    let removed = prune(now + day * 90);
    assert_eq!((removed.removed_packs, removed.locked_packs), (marked, 0));
    assert_whole(&vault);
    assert_restores(&vault, &kept, &source);
}

/// Everything is deleted with the very access keys that the vault is used with, and some of it overwritten first.
fn a_thief_destroys_nothing(port: u16) {
    let settings = locking(port, "locked", "robbed", LockMode::Governance);
    let store = open(&settings).unwrap();
    let dir = temp_dir().unwrap();
    let source = dir.path().join("source");
    make_source(&source);
    let vault = Vault::create(Arc::clone(&store), &password()).unwrap();
    let point = back_up(&vault, &source).unwrap();
    let state = dir.path().join("state");
    let extended = vault.extend_object_locks(&state, WhenToExtend::Now, Timestamp::now());
    assert!(extended.unwrap().is_whole());
    let status = || ObjectLockStatus::of(&*store, Timestamp::now()).unwrap();
    assert!(status().is_kept && !status().is_tampered());
    // Times of the store are what counts, and some have whole seconds.
    sleep(Duration::from_millis(1100));
    let before = Timestamp::now();
    sleep(Duration::from_millis(1100));

    let thief = open(&s3_settings(s3_location(port, "locked", "robbed"))).unwrap();
    let robbed = rob(&*thief, &*store);
    assert!(robbed > 8, "{robbed}");
    for folder in ["keys", "snapshots", "index"] {
        assert_eq!(store.list(folder).unwrap(), []);
    }
    assert!(Vault::open(Arc::clone(&store), &password()).is_err());

    let seen = status();
    let bad: u64 = seen.tampering().map(|hidden| hidden.count).sum();
    assert!(seen.is_tampered() && bad > 4, "{seen:?}");
    let plan = UndeletePlan::make(&*store, before).unwrap();
    assert_eq!(plan.hidden.len(), robbed);
    let report = plan.run(&*store).unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    assert_eq!((report.unmarked + report.written_again) as usize, robbed);

    let vault = Vault::open(Arc::clone(&store), &password()).unwrap();
    assert_whole(&vault);
    assert_restores(&vault, &point, &source);
    assert!(!status().is_tampered(), "{:?}", status());
    restic(port, "locked/robbed").check(true).unwrap();
    let extended = vault.extend_object_locks(&state, WhenToExtend::NowAskingAll, Timestamp::now());
    let extended = extended.unwrap();
    assert!(
        extended.is_whole() && extended.had_none == 0,
        "{extended:?}"
    );
}

/// Returns how many objects were hit.
fn rob(thief: &dyn Store, store: &dyn Store) -> usize {
    let folders = ["data", "index", "snapshots", "keys"];
    let listed = folders.map(|folder| thief.list(folder).unwrap()).concat();
    let mut keys: Vec<_> = listed.into_iter().map(|object| object.key).collect();
    keys.push(key("config"));
    let locks = store.object_locks().unwrap();
    for (number, key) in keys.iter().enumerate() {
        assert!(is_lockable(key));
        let page = locks.versions(key.as_str(), None).unwrap();
        for version in page.versions {
            let refused = locks.remove_marker(key, &version.id);
            assert_eq!(refused.unwrap_err().kind, StoreErrorKind::Denied);
        }
        if number % 3 == 0 {
            thief.replace(key, b"pay").unwrap();
        }
        let is_packs = key.as_str().starts_with("data/");
        if number % 2 == 0 || !is_packs {
            thief.delete(key).unwrap();
        } else {
            thief.replace(key, b"rubbish").unwrap();
        }
    }
    keys.len()
}

#[test]
fn a_poor_s3_without_locks_is_refused_and_never_believed() {
    let Some(rclone) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    rclone.make_bucket("vault").unwrap();
    let settings = locking(rclone.port(), "vault", "v", LockMode::Governance);
    let store = open(&settings).unwrap();
    assert_refuses_to_make_a_vault(&store);
    assert_eq!(
        store.object_locks().unwrap().support().unwrap(),
        LockSupport::Off
    );
    let seen = ObjectLockStatus::of(&*store, Timestamp::now()).unwrap();
    assert!(!seen.is_kept);
}

#[test]
fn a_place_that_is_no_bucket_of_s3_is_refused() {
    let dir = temp_dir().unwrap();
    let at = rekindle_stack::VaultLocation::Local(dir.path().into());
    let mut settings = StoreSettings::new(at);
    settings.object_lock = Some(ObjectLock {
        mode: LockMode::Compliance,
        period: period(),
    });
    let error = open(&settings).err().unwrap();
    assert!(error.to_string().contains("Object Lock"), "{error}");
}

fn restic(port: u16, path: &str) -> Restic {
    Restic::new(
        format!("s3:http://127.0.0.1:{port}/{path}"),
        common::PASSWORD,
    )
    .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
}
