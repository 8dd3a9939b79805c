//! `kill -9` at random moments of a prune, on a real disk.
//!
//! The child is this test program itself, told by environment variables what to do.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rekindle_vault::{Grace, Progress, PruneOptions, Vault, store::LocalStore};

use crate::{
    assert_holds,
    common::{self, Place, password, random},
    noise,
    world::{back_up, eager, hour},
};

const KILLS: u32 = 14;

fn options(hours: i64) -> PruneOptions {
    PruneOptions {
        wait: Duration::from_secs(30),
        ..eager(hour(hours))
    }
}

/// The child's part; in an ordinary run it has nothing to do.
#[test]
fn child_that_will_be_killed() {
    let Some(dir) = env::var_os("REKINDLE_PRUNE_VAULT") else {
        return;
    };
    let hours = env::var("REKINDLE_PRUNE_HOUR").unwrap().parse().unwrap();
    let vault = Vault::open(Arc::new(LocalStore::new(dir)), &password()).unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    let progress = Arc::new(Progress::default());
    vault.prune(&options(hours), &progress).unwrap();
}

/// Prunes in a process of its own, which is killed after `within`, or never; returns how long it
/// worked, and whether it ended by itself.
fn prune_in_child(place: &Place, hours: i64, within: Option<Duration>) -> (Duration, bool) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "killed::child_that_will_be_killed",
            "--nocapture",
        ])
        .env("REKINDLE_PRUNE_VAULT", place.vault_dir())
        .env("REKINDLE_PRUNE_HOUR", hours.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("ready")));
    let started = Instant::now();
    if let Some(within) = within {
        thread::sleep(within);
        child.kill().unwrap();
    }
    lines.for_each(drop);
    let is_well = child.wait().unwrap().success();
    assert!(is_well || within.is_some(), "it fails by itself");
    (started.elapsed(), is_well)
}

#[test]
fn a_prune_may_be_killed_at_any_moment() {
    let mut random = random();
    let place = Place::in_memory();
    let vault = place.create();
    let (mut interrupted, mut whole) = (0, None);
    for kill in 0..KILLS {
        let first = u64::from(kill) * 30;
        let files = noise(first..first + 60, 3000);
        let old = back_up(&vault, &files).unwrap();
        let kept = files.into_iter().step_by(2).collect();
        let point = back_up(&vault, &kept).unwrap();
        vault.forget(&[old.id]).unwrap();
        let hours = i64::from(kill) * 26;
        if whole.is_none() {
            whole = Some(prune_in_child(&place, hours, None).0);
        }
        let most = u64::try_from(whole.unwrap().as_micros()).unwrap();
        let within = Duration::from_micros(random.below(most + most / 10));
        let (_, is_well) = prune_in_child(&place, hours, Some(within));
        interrupted += u32::from(!is_well);
        assert_holds(&vault, &point, &kept);
        common::assert_whole(&vault);
        // Others can work at once: the lock of the dead is in nobody's way.
        let next = back_up(&vault, &noise(5000..5002, 500)).unwrap();
        vault.forget(&[next.id]).unwrap();
        if kill % 2 == 0 {
            let progress = Arc::new(Progress::default());
            vault.prune(&options(hours + 25), &progress).unwrap();
            assert_holds(&vault, &point, &kept);
        }
        vault.forget(&[point.id]).unwrap();
    }
    assert!(interrupted >= KILLS / 4, "{interrupted} of {KILLS}");
    let progress = Arc::new(Progress::default());
    for later in [1, 26, 51] {
        let options = PruneOptions {
            grace: Grace::None,
            ..options(i64::from(KILLS) * 26 + later)
        };
        vault.prune(&options, &progress).unwrap();
    }
    assert_eq!(vault.stats().unwrap().packs, 0);
    vault.unlock_stale().unwrap();
    place.restic().check(true).unwrap();
}
