//! Locks that cannot be read, on a local directory and on S3, with stock restic beside.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::{Child, Stdio},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use common::{PASSWORD, assert_whole, back_up, password, s3_location, s3_settings};
use rekindle_stores::{Store, open};
use rekindle_testing::{
    restic::Restic,
    servers::{ACCESS_KEY, Rclone, SECRET_KEY},
    skip::unless_available,
    temp_dir,
};
use rekindle_vault::{
    LockMode, PruneOptions, Vault, VaultError,
    store::{FileKind, LocalStore, ObjectKey},
};

const OLD: Duration = Duration::from_secs(31 * 60);

#[test]
fn on_a_local_directory() {
    let dir = temp_dir().unwrap();
    let vault_dir = dir.path().join("vault");
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(&vault_dir));
    let old = make_vault_with_an_old_and_a_young_lock(&vault_dir);
    let restic = Restic::new(&vault_dir, PASSWORD);
    the_old_one_is_removed_and_the_young_one_is_in_the_way(&store, &old, &restic);
    a_lock_of_a_restic_at_work_is_in_the_way_until_it_is_done(&store, &restic);
}

#[test]
fn on_s3() {
    let Some(rclone) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    rclone.make_bucket("vault").unwrap();
    // Before the server looks at the directory, because no client can date an object back.
    let vault_dir = rclone.served().join("vault/locks");
    let old = make_vault_with_an_old_and_a_young_lock(&vault_dir);
    let settings = s3_settings(s3_location(rclone.port(), "vault", "locks"));
    let store = open(&settings).unwrap();
    let at = format!("s3:http://127.0.0.1:{}/vault/locks", rclone.port());
    let restic = Restic::new(at, PASSWORD)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    the_old_one_is_removed_and_the_young_one_is_in_the_way(&store, &old, &restic);
    a_lock_of_a_restic_at_work_is_in_the_way_until_it_is_done(&store, &restic);
}

/// Two cut locks of nobody; returns the name of the old one.
fn make_vault_with_an_old_and_a_young_lock(vault_dir: &Path) -> String {
    Vault::create(Arc::new(LocalStore::new(vault_dir)), &password()).unwrap();
    let locks = vault_dir.join("locks");
    fs::create_dir_all(&locks).unwrap();
    let name = |digit: &str| digit.repeat(64);
    for digit in ["a", "b"] {
        fs::write(locks.join(name(digit)), b"cut").unwrap();
    }
    let file = File::options().write(true).open(locks.join(name("a")));
    file.unwrap().set_modified(SystemTime::now() - OLD).unwrap();
    name("a")
}

fn the_old_one_is_removed_and_the_young_one_is_in_the_way(
    store: &Arc<dyn Store>,
    old: &str,
    restic: &Restic,
) {
    let vault = Vault::open(Arc::clone(store), &password()).unwrap();
    let removed = vault.unlock_stale().unwrap();
    let removed: Vec<_> = removed.iter().map(|lock| lock.id.to_string()).collect();
    assert_eq!(removed, [old]);
    let left = store.list("locks").unwrap();
    assert_eq!(left.len(), 1, "and no lock of ours: {left:?}");
    assert!(is_in_use(&vault));

    store.delete(&left[0].key).unwrap();
    vault
        .prune(&PruneOptions::default(), &Arc::default())
        .unwrap();
    restic.check(true).unwrap();
}

/// Whether somebody is in the way of a prune.
fn is_in_use(vault: &Vault) -> bool {
    match vault.lock(LockMode::Exclusive) {
        Ok(_) => false,
        Err(VaultError::Locked(_)) => true,
        Err(error) => panic!("{error}"),
    }
}

/// Its lock is damaged while it works: a prune must not take what it stores for waste.
fn a_lock_of_a_restic_at_work_is_in_the_way_until_it_is_done(
    store: &Arc<dyn Store>,
    restic: &Restic,
) {
    let dir = temp_dir().unwrap();
    common::make_source(dir.path());
    let vault = Vault::open(Arc::clone(store), &password()).unwrap();
    let mut child = start_restic_that_reads_from_us(restic);
    let lock = wait_for_a_lock(&vault, &mut child);
    let mut content = store.read(&lock).unwrap();
    content[20] ^= 1;
    store.replace(&lock, &content).unwrap();

    assert!(is_in_use(&vault));
    assert!(vault.unlock_stale().unwrap().is_empty());
    back_up(&vault, dir.path()).unwrap();

    // The end of what it reads, which must not be empty.
    child.stdin.take().unwrap().write_all(b"all").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!is_in_use(&vault));
    assert_eq!(vault.snapshots().unwrap().len(), 2);
    assert_whole(&vault);
    restic.check(true).unwrap();
}

fn start_restic_that_reads_from_us(restic: &Restic) -> Child {
    restic
        .command()
        .args(["backup", "--stdin", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The lock that it takes, once it is whole.
fn wait_for_a_lock(vault: &Vault, child: &mut Child) -> ObjectKey {
    loop {
        let locks = vault.locks().unwrap();
        if let Some(lock) = locks.iter().find(|lock| lock.info().is_some()) {
            return ObjectKey::of(FileKind::Lock, &lock.id);
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        thread::sleep(Duration::from_millis(10));
    }
}
