//! Many writers at once on one vault of a real S3 server, while it is copied and pruned.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    env, fs,
    path::Path,
    process::{Child, Command},
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use common::{PASSWORD, assert_whole, password, s3_location, s3_settings};
use rekindle_stores::open;
use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, tree_digest},
    restic::Restic,
    servers::{ACCESS_KEY, Ceph, SECRET_KEY},
    skip::unless_available,
    temp_dir,
};
use rekindle_vault::{
    BackupOptions, CopyOptions, CopyToError, Grace, LocalTree, Progress, PruneOptions,
    RestoreOptions, Snapshot, SnapshotDraft, TreePath, Vault, VaultError,
};

/// The first ones are threads with stores and vaults of their own, the others processes.
const WRITERS: [u64; 6] = [1, 2, 3, 4, 5, 6];
const THREADS: usize = 4;
const ROUNDS: u64 = 2;
/// Nobody holds the vault alone for as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a writer has in a round: much that all have, something that all have new in this round, and
/// something of its own.
fn make_source(dir: &Path, writer: u64, round: u64) {
    let own = 100 + 10 * writer + round;
    for (folder, seed, files) in [("common", 1, 12), ("round", 2 + round, 2), ("own", own, 3)] {
        let (folder, mut random) = (dir.join(folder), Random::new(seed));
        fs::create_dir_all(&folder).unwrap();
        for number in 0..files {
            fs::write(folder.join(number.to_string()), random.bytes(90_000)).unwrap();
        }
    }
}

fn vault_at(port: u16, prefix: &str) -> Vault {
    let store = open(&s3_settings(s3_location(port, "vault", prefix))).unwrap();
    Vault::open(store, &password()).unwrap()
}

fn back_up(vault: &Vault, writer: u64, round: u64) {
    let dir = temp_dir().unwrap();
    make_source(dir.path(), writer, round);
    let backup = vault
        .start_backup(BackupOptions {
            threads: Some(2),
            pack_bytes: 128 << 10,
            lock_wait: PATIENCE,
            ..BackupOptions::default()
        })
        .unwrap();
    backup
        .add_local_tree(&LocalTree {
            source: dir.path().to_owned(),
            at: TreePath::new("source").unwrap(),
            leave_out: &|_| false,
        })
        .unwrap();
    let draft = SnapshotDraft {
        tags: vec![writer.to_string(), round.to_string()],
        ..SnapshotDraft::default()
    };
    backup.finish(draft).unwrap();
}

fn write_all_rounds(port: u16, writer: u64) {
    let vault = vault_at(port, "main");
    for round in 0..ROUNDS {
        back_up(&vault, writer, round);
        // Whoever waits to be alone has a chance.
        thread::sleep(Duration::from_millis(200));
    }
}

/// Not a test of its own: what another process does, when the test below starts it.
#[test]
fn child_that_writes() {
    let number = |name: &str| env::var(name).ok()?.parse().ok();
    if let (Some(port), Some(writer)) = (number("REKINDLE_PORT"), number("REKINDLE_WRITER")) {
        write_all_rounds(u16::try_from(port).unwrap(), writer);
    }
}

fn write_in_another_process(port: u16, writer: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_that_writes", "--nocapture"])
        .env("REKINDLE_PORT", port.to_string())
        .env("REKINDLE_WRITER", writer.to_string())
        .spawn()
        .unwrap()
}

/// restic 0.14 does not wait for a lock.
fn restic_writes(restic: &Restic, source: &Path) {
    for _ in 0..200 {
        match restic.backup(&[source]) {
            Ok(_) => return,
            Err(error) if format!("{error:?}").contains("locked") => {
                thread::sleep(Duration::from_millis(200));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the vault was never free for restic");
}

/// Marks what nothing uses, and a day later removes it.
fn prune_twice(vault: &Vault) {
    let (mut marked, mut removed) = (0, 0);
    for hours in [0, 25] {
        let options = PruneOptions {
            grace: Grace::For(Duration::from_secs(24 * 3600)),
            now: Some(jiff::Timestamp::now() + Duration::from_secs(hours * 3600)),
            pack_bytes: 128 << 10,
            wait: PATIENCE,
            ..PruneOptions::default()
        };
        let report = vault.prune(&options, &Arc::default()).unwrap();
        marked += report.marked_packs;
        removed += report.removed_packs;
    }
    assert!(marked > 0 && removed > 0, "{marked} {removed}");
}

fn copy_all(from: &Vault, to: &Vault) {
    let options = CopyOptions {
        pack_bytes: 128 << 10,
        ..CopyOptions::default()
    };
    let progress = Arc::new(Progress::default());
    for _ in 0..200 {
        let copied = from
            .snapshots()
            .map_err(|error| CopyToError::of_source(from, error))
            .and_then(|points| from.copy_snapshots_to(to, &points, &options, &progress));
        match copied {
            Ok(report) => {
                assert!(report.is_complete(), "{report:?}");
                return;
            }
            Err(error) if is_locked(&error) => thread::sleep(Duration::from_millis(200)),
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the vault was never free for a copy");
}

fn is_locked(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(VaultError::Locked(_))) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[test]
fn six_writers_and_restic_share_a_vault_on_s3_with_a_copy_and_a_prune() {
    let Some(ceph) = unless_available(Ceph::start()) else {
        return;
    };
    ceph.make_bucket("vault").unwrap();
    let port = ceph.port();
    let store = |prefix: &str| open(&s3_settings(s3_location(port, "vault", prefix))).unwrap();
    let main = Vault::create(store("main"), &password()).unwrap();
    let copy = Vault::create(store("copy"), &password()).unwrap();
    // Something for the prune to remove, of which the writers need a part.
    back_up(&main, 99, 99);
    let waste = main.find_snapshot("latest").unwrap();
    main.forget(&[waste.id]).unwrap();
    let by_restic = temp_dir().unwrap();
    make_source(by_restic.path(), 7, 7);

    let barrier = Barrier::new(THREADS + 3);
    thread::scope(|scope| {
        for &writer in &WRITERS[..THREADS] {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                write_all_rounds(port, writer);
            });
        }
        scope.spawn(|| {
            barrier.wait();
            restic_writes(&restic(port, "main"), by_restic.path());
        });
        scope.spawn(|| {
            barrier.wait();
            copy_all(&main, &copy);
        });
        let mut children = WRITERS[THREADS..]
            .iter()
            .map(|&writer| write_in_another_process(port, writer))
            .collect::<Vec<_>>();
        barrier.wait();
        prune_twice(&vault_at(port, "main"));
        for child in &mut children {
            assert!(child.wait().unwrap().success());
        }
    });
    copy_all(&main, &copy);
    for (vault, prefix) in [(&main, "main"), (&copy, "copy")] {
        everything_is_there(vault, by_restic.path());
        restic(port, prefix).check(true).unwrap();
        assert_eq!(vault.locks().unwrap().len(), 0);
    }
}

/// Every round of every writer, byte for byte.
fn everything_is_there(vault: &Vault, by_restic: &Path) {
    assert_whole(vault);
    let points = vault.snapshots().unwrap();
    assert_eq!(points.len() as u64, WRITERS.len() as u64 * ROUNDS + 1);
    for writer in WRITERS {
        for round in 0..ROUNDS {
            let tags = [writer.to_string(), round.to_string()];
            let mut found = points.iter().filter(|point| point.stored.tags == tags);
            let point = found.next().unwrap();
            assert!(found.next().is_none());
            let dir = temp_dir().unwrap();
            make_source(dir.path(), writer, round);
            let restored = restored(vault, point, Path::new("source"));
            assert_eq!(restored.differences(&content(dir.path())), [""; 0]);
        }
    }
    let point = points.iter().find(|point| point.stored.tags.is_empty());
    let at = by_restic.strip_prefix("/").unwrap();
    let restored = restored(vault, point.unwrap(), at);
    assert_eq!(restored.differences(&content(by_restic)), [""; 0]);
}

fn restored(vault: &Vault, point: &Snapshot, at: &Path) -> TreeDigest {
    let dir = temp_dir().unwrap();
    let target = dir.path().join("restored");
    let options = RestoreOptions::default();
    vault
        .restore(point, &TreePath::root(), &target, &options)
        .unwrap();
    content(&target.join(at))
}

/// Directories were made anew: their times are others.
fn content(dir: &Path) -> TreeDigest {
    tree_digest(dir).unwrap().without_times()
}

fn restic(port: u16, prefix: &str) -> Restic {
    Restic::new(
        format!("s3:http://127.0.0.1:{port}/vault/{prefix}"),
        PASSWORD,
    )
    .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
}
