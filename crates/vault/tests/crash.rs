//! `kill -9` at a hundred random moments: the vault stays sound for restic and for us, and the
//! next run succeeds.
//!
//! The child is this test program itself, told by environment variables what to do. The moments
//! spread over the time that the work really takes here. `REKINDLE_TEST_SEED` repeats a run.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod common;

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use common::{
    AT, Place, assert_restores, assert_same, assert_whole, draft, password, random, restore,
};
use rekindle_testing::{
    data::Random,
    faults::{TreeDigest, tree_digest},
};
use rekindle_vault::{
    BackupError, BackupOptions, LocalTree, RestoreOptions, Snapshot, TreePath, Vault,
    store::LocalStore,
};

const BACKUP_KILLS: u32 = 60;
const RESTORE_KILLS: u32 = 40;

fn open(vault: &Path) -> Vault {
    Vault::open(Arc::new(LocalStore::new(vault)), &password()).unwrap()
}

fn back_up(
    vault: &Vault,
    source: &Path,
    parent: Option<Snapshot>,
) -> Result<Snapshot, BackupError> {
    let backup = vault.start_backup(BackupOptions {
        threads: Some(2),
        pack_bytes: 64 << 10,
        parent,
        ..BackupOptions::default()
    })?;
    backup.add_local_tree(&LocalTree {
        source: source.to_owned(),
        at: TreePath::new(AT).unwrap(),
        leave_out: &|_| false,
    })?;
    backup.finish(draft())
}

/// What shows that a restored directory is whole: it must not be there before everything else.
const LAST: &str = "source/control";

fn restore_with_last(vault: &Vault, target: &Path) {
    let snapshot = vault.find_snapshot("latest").unwrap();
    let options = RestoreOptions {
        threads: Some(2),
        last: vec![TreePath::new(LAST).unwrap()],
        ..RestoreOptions::default()
    };
    vault
        .restore(&snapshot, &TreePath::root(), target, &options)
        .unwrap();
}

/// The child's part; in an ordinary run it has nothing to do.
#[test]
fn child_that_will_be_killed() {
    let Ok(work) = env::var("REKINDLE_CRASH_WORK") else {
        return;
    };
    let path = |name: &str| PathBuf::from(env::var_os(name).unwrap());
    let vault = open(&path("REKINDLE_CRASH_VAULT"));
    let other = path("REKINDLE_CRASH_OTHER");
    println!("ready");
    std::io::stdout().flush().unwrap();
    match work.as_str() {
        "backup" => {
            let parent = vault.find_snapshot("latest").ok();
            back_up(&vault, &other, parent).unwrap();
        }
        _ => restore_with_last(&vault, &other),
    }
}

/// Starts the child and returns when it is about to begin.
fn start(work: &str, vault: &Path, other: &Path) -> Child {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_that_will_be_killed", "--nocapture"])
        .env("REKINDLE_CRASH_WORK", work)
        .env("REKINDLE_CRASH_VAULT", vault)
        .env("REKINDLE_CRASH_OTHER", other)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.ends_with("ready\n") {
        line.clear();
        assert!(
            stdout.read_line(&mut line).unwrap() > 0,
            "the child opened the vault"
        );
    }
    // Kept open, or the child would die of a broken pipe when it reports its end.
    child.stdout = Some(stdout.into_inner());
    child
}

/// How long the child works when nobody kills it.
fn measure(work: &str, vault: &Path, other: &Path) -> Duration {
    let mut child = start(work, vault, other);
    let started = Instant::now();
    assert!(child.wait().unwrap().success());
    started.elapsed()
}

/// Kills the child at a random moment; returns whether it had not finished by itself.
fn kill_within(child: &mut Child, whole: Duration, random: &mut Random) -> bool {
    thread::sleep(whole * u32::try_from(random.below(1100)).unwrap() / 1000);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

fn change(source: &Path, random: &mut Random) -> TreeDigest {
    for _ in 0..8 {
        let folder = source.join(format!("folder {}", random.below(4)));
        fs::create_dir_all(&folder).unwrap();
        let length = usize::try_from(random.below(150_000)).unwrap();
        let file = folder.join(format!("file {}", random.below(10)));
        fs::write(file, random.bytes(length)).unwrap();
    }
    fs::write(source.join("control"), random.bytes(512)).unwrap();
    tree_digest(source).unwrap()
}

/// One vault and what its points must hold.
struct Victim {
    place: Place,
    points: Vec<(Snapshot, TreeDigest)>,
    kills: u32,
    interrupted: u32,
}

impl Victim {
    fn new() -> Self {
        let place = Place::in_memory();
        fs::create_dir(place.source()).unwrap();
        place.create();
        Self {
            place,
            points: Vec::new(),
            kills: 0,
            interrupted: 0,
        }
    }

    /// One kill of a backup, and everything that must be so after it.
    fn kill_a_backup(&mut self, whole: Duration, read_data: bool, random: &mut Random) {
        let (dir, source) = (self.place.vault_dir(), self.place.source());
        let state = change(&source, random);
        let mut child = start("backup", &dir, &source);
        let dead = child.id();
        self.kills += 1;
        self.interrupted += u32::from(kill_within(&mut child, whole, random));

        // The lock of the dead is in the way of restic's own.
        let check = ["check", "--no-lock", "--read-data"];
        self.place
            .restic()
            .run(check[..2 + usize::from(read_data)].to_vec())
            .unwrap();
        let vault = open(&dir);
        self.take_new_points(&vault, &state);
        let next = back_up(&vault, &source, vault.find_snapshot("latest").ok()).unwrap();
        let target = self.place.path("next");
        assert_restores(&vault, &next, &state, &target);
        fs::remove_dir_all(&target).unwrap();
        self.points.push((next, state));
        assert_whole(&vault);
        let removed = vault.unlock_stale().unwrap();
        assert!(removed.iter().all(|lock| lock.info().unwrap().pid == dead));
        assert!(
            vault.locks().unwrap().is_empty(),
            "nobody works here any more"
        );
    }

    /// A point that the child committed before it died holds what was to be backed up.
    fn take_new_points(&mut self, vault: &Vault, state: &TreeDigest) {
        let known: BTreeSet<_> = self
            .points
            .iter()
            .map(|(snapshot, _)| snapshot.id)
            .collect();
        let listed = vault.snapshots().unwrap();
        assert_eq!(
            listed.iter().filter(|s| known.contains(&s.id)).count(),
            known.len()
        );
        for snapshot in listed.into_iter().filter(|s| !known.contains(&s.id)) {
            let target = self.place.path("new");
            assert_restores(vault, &snapshot, state, &target);
            fs::remove_dir_all(&target).unwrap();
            self.points.push((snapshot, state.clone()));
        }
    }

    /// Every point that was ever there restores.
    fn restore_all(&self) {
        let vault = self.place.open();
        for (number, (snapshot, state)) in self.points.iter().enumerate() {
            assert_restores(
                &vault,
                snapshot,
                state,
                &self.place.path(&format!("all {number}")),
            );
        }
        self.place.restic().check(true).unwrap();
    }
}

#[test]
fn a_backup_may_be_killed_at_any_moment() {
    let mut random = random();
    let (mut kills, mut interrupted) = (0, 0);
    while kills < BACKUP_KILLS {
        let mut victim = Victim::new();
        let source = victim.place.source();
        let state = change(&source, &mut random);
        let whole = measure("backup", &victim.place.vault_dir(), &source);
        victim.take_new_points(&victim.place.open(), &state);
        for round in 0..10 {
            victim.kill_a_backup(whole, round % 5 == 4, &mut random);
        }
        victim.restore_all();
        kills += victim.kills;
        interrupted += victim.interrupted;
    }
    eprintln!("{interrupted} of {kills} were killed at work");
    assert!(
        interrupted >= kills / 4,
        "the moments lie within the work: {interrupted}"
    );
}

#[test]
fn a_restore_may_be_killed_at_any_moment() {
    let mut random = random();
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    for number in 0..300 {
        let folder = source.join(format!("folder {}", number % 9));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{number}")), random.bytes(number * 250)).unwrap();
    }
    fs::write(source.join("large"), random.bytes(6 << 20)).unwrap();
    fs::write(source.join("control"), random.bytes(8192)).unwrap();
    let state = tree_digest(&source).unwrap();
    let vault = place.create();
    let snapshot = back_up(&vault, &source, None).unwrap();
    let whole = measure("restore", &place.vault_dir(), &place.path("measured"));
    assert_same(&state, &place.path("measured").join(AT));

    let mut interrupted = 0;
    for kill in 0..RESTORE_KILLS {
        let target = place.path(&format!("target {kill}"));
        let mut child = start("restore", &place.vault_dir(), &target);
        interrupted += u32::from(kill_within(&mut child, whole, &mut random));
        if fs::exists(target.join(LAST)).unwrap() {
            // What makes it usable came last, so nothing is missing; only the mark may be.
            assert_same(&state, &target.join(AT));
        }
        if fs::exists(target.join("REKINDLE-RESTORE-UNFINISHED")).unwrap()
            || !fs::exists(&target).unwrap()
            || fs::read_dir(&target).unwrap().count() == 0
        {
            restore(&vault, &snapshot, &target).unwrap();
        }
        assert_same(&state, &target.join(AT));
        assert_eq!(
            fs::read_dir(&target).unwrap().count(),
            1,
            "no mark, nothing else"
        );
        fs::remove_dir_all(&target).unwrap();
        let removed = vault.unlock_stale().unwrap();
        assert!(removed.len() <= 1, "{removed:?}");
        if kill % 10 == 0 {
            place.restic().check(false).unwrap();
        }
    }
    assert_whole(&vault);
    eprintln!("{interrupted} of {RESTORE_KILLS} were killed at work");
    assert!(
        interrupted >= RESTORE_KILLS / 4,
        "the moments lie within the work: {interrupted}"
    );
}

#[test]
fn restic_and_we_unlock_what_a_killed_process_left() {
    let place = Place::in_memory();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    let mut random = random();
    change(&source, &mut random);
    fs::write(source.join("large"), random.bytes(20 << 20)).unwrap();
    let vault = place.create();
    for by_restic in [true, false] {
        fs::write(source.join("large"), random.bytes(20 << 20)).unwrap();
        let mut child = start("backup", &place.vault_dir(), &source);
        while vault.locks().unwrap().is_empty() {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it was too fast for us"
            );
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(vault.locks().unwrap().len(), 1);
        if by_restic {
            place.restic().unlock(false).unwrap();
        } else {
            assert_eq!(vault.unlock_stale().unwrap().len(), 1);
        }
        assert!(vault.locks().unwrap().is_empty());
        place.restic().check(true).unwrap();
    }
}
