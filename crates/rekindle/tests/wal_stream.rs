//! The receiver of WAL: whatever happens to it, its server, its disk or its vault, everything that was acknowledged is
//! archived byte for byte, and what cannot be had is said.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rekindle_testing::{
    faults::{Direction, Fault, Proxy, SmallDisk},
    load::Writer,
    postgres::{Existing, Major, Mode, Postgres},
    process,
};
use rekindle_vault::{Password, Vault, WalArchive, WalFile, store::LocalStore};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::Home;

const SEGMENT: u64 = 1 << 20;
const SLOT: &str = "rekindle_shop_db";

/// A server with small segments that keeps its WAL, so that there is something to compare with.
fn server(major: Major) -> Option<Postgres> {
    Postgres::builder(major)
        .wal_segment_size(1)
        .conf("wal_keep_size", "4GB")
        .conf("max_wal_size", "64MB")
        .start_or_skip()
}

struct Rig {
    home: Home,
    vault: PathBuf,
}

impl Rig {
    fn new(url: &str) -> Self {
        Self::with(url, "", "")
    }

    /// With further keys of the dataset, and of the vault.
    fn with(url: &str, dataset: &str, vault: &str) -> Self {
        let home = Home::with_vault();
        let rig = Self {
            vault: home.join("vault"),
            home,
        };
        rig.configure(url, dataset, vault);
        rig
    }

    fn configure(&self, url: &str, dataset: &str, vault: &str) {
        let at = self.vault.display();
        let yaml = format!(
            "stack: shop\n\
             vault: {{ at: {at}, password_file: vault-password{vault} }}\n\
             services:\n  db:\n    datasets:\n      \
               - {{ kind: postgres, url: \"{url}\", wal: stream, wal_spool: spool{dataset} }}\n"
        );
        self.home.write("rekindle.yaml", &yaml);
    }

    /// Starts a receiver that goes on until it is told to stop.
    fn start(&self) -> Receiver {
        self.start_with(&[])
    }

    fn start_with(&self, more: &[&str]) -> Receiver {
        let log = fs::OpenOptions::new();
        let log = log
            .clone()
            .append(true)
            .create(true)
            .open(self.home.join("log"))
            .unwrap();
        let mut command = self.home.command(&[&["wal", "stream"], more].concat());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Receiver(Some(child.unwrap()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for_log(&self, text: &str) {
        wait(&format!("`{text}` in the log"), || {
            self.log().contains(text)
        });
    }

    fn record(&self) -> Value {
        let json = fs::read(self.home.join("spool/status.json"));
        json.map_or(Value::Null, |json| {
            serde_json::from_slice(&json).unwrap_or(Value::Null)
        })
    }

    /// Everything that the server has now, archived.
    #[track_caller]
    fn once(&self) {
        self.home.ok(&["wal", "stream", "--once"]);
    }

    fn archive(&self) -> WalArchive {
        open(&self.vault, &self.home.join("vault-password"))
    }

    fn spooled(&self) -> u64 {
        fn bytes(path: &Path) -> u64 {
            match fs::read_dir(path) {
                Ok(entries) => entries.map(|entry| bytes(&entry.unwrap().path())).sum(),
                Err(_) => fs::metadata(path).map_or(0, |meta| meta.len()),
            }
        }
        bytes(&self.home.join("spool"))
    }
}

fn open(vault: &Path, password: &Path) -> WalArchive {
    let password = fs::read_to_string(password).unwrap();
    let store = std::sync::Arc::new(LocalStore::new(vault));
    let vault = Vault::open(store, &Password::new(password.trim_end())).unwrap();
    vault.wal_archive().unwrap()
}

/// A receiver's process. Killed when dropped.
struct Receiver(Option<Child>);

impl Receiver {
    fn pid(&self) -> Pid {
        Pid::from_child(self.0.as_ref().unwrap())
    }

    /// As a service manager does it; returns the exit code.
    fn stop(mut self) -> i32 {
        kill_process(self.pid(), Signal::TERM).unwrap();
        self.0.take().unwrap().wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[track_caller]
fn wait(what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_there() {
        assert!(Instant::now() < deadline, "waited for a minute for {what}");
        sleep(Duration::from_millis(20));
    }
}

/// So many MiB of WAL, at least.
fn load(pg: &Postgres, mib: u64) {
    pg.psql("create table if not exists ballast (x text)");
    pg.psql(&format!(
        "insert into ballast select repeat(md5(g::text), 16) from generate_series(1, {}) g",
        mib * 1900
    ));
}

fn flushed(pg: &Postgres) -> u64 {
    lsn(&pg.psql("select pg_current_wal_flush_lsn()"))
}

fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap()
}

fn system(pg: &Postgres) -> u64 {
    pg.psql("select system_identifier from pg_control_system()")
        .parse()
        .unwrap()
}

fn name(timeline: u32, number: u64) -> String {
    let per_log = (1 << 32) / SEGMENT;
    format!(
        "{timeline:08X}{:08X}{:08X}",
        number / per_log,
        number % per_log
    )
}

/// What the archive has of a segment, complete or not.
fn archived(archive: &WalArchive, system: u64, segment: &str) -> Option<Vec<u8>> {
    let get = |name: String| archive.get(&WalFile::named(system, name).unwrap()).unwrap();
    get(segment.to_owned()).or_else(|| get(format!("{segment}.partial")))
}

/// Everything of a timeline from the archive's first segment up to `end` is there, and is what the server has.
#[track_caller]
fn assert_is_archived(archive: &WalArchive, pg: &Postgres, timeline: u32, end: u64) {
    let system = system(pg);
    let listed = archive.list(system).unwrap();
    let of_timeline = listed
        .iter()
        .filter(|l| l.file.timeline == timeline && l.file.name.len() >= 24);
    let first = of_timeline.map(|l| l.file.name[..24].to_owned()).min();
    let first = first.unwrap();
    let number = |name: &str| {
        let part = |from: usize| u64::from_str_radix(&name[from..from + 8], 16).unwrap();
        part(8) * ((1 << 32) / SEGMENT) + part(16)
    };
    let mut compared = 0;
    for number in number(&first)..end.div_ceil(SEGMENT) {
        let segment = name(timeline, number);
        let there = archived(archive, system, &segment);
        let there = there.unwrap_or_else(|| panic!("{segment} is missing"));
        let length = (end - number * SEGMENT).min(SEGMENT) as usize;
        assert!(
            there.len() >= length,
            "{segment} has {} of {length} bytes",
            there.len()
        );
        let own = fs::read(pg.data_dir().join("pg_wal").join(&segment)).unwrap();
        assert!(there[..length] == own[..length], "{segment} differs");
        compared += length;
    }
    assert!(compared > 0, "nothing was compared");
}

#[test]
fn every_commit_is_archived_whenever_the_receiver_is_killed() {
    let Some(pg) = server(Major::V15) else { return };
    let rig = Rig::new(&pg.url());
    let writer = Writer::start(&pg).unwrap();
    for round in 0..8_u64 {
        let receiver = rig.start();
        // Spread over start, streaming and storing, in a way that is the same in each run.
        sleep(Duration::from_millis(120 + round * 173 % 700));
        drop(receiver);
        load(&pg, 2);
    }
    let written = writer.stop();
    assert!(written.acknowledged > 0 && !written.cut_off);
    let end = flushed(&pg);
    rig.once();
    assert_is_archived(&rig.archive(), &pg, 1, end);
    let status = rig.home.run(&["wal", "status"]);
    assert!(
        status.stdout.contains("no receiver runs"),
        "{}",
        status.stdout
    );
    assert_eq!(status.code, 1);
}

#[test]
fn a_commit_is_in_the_vault_within_a_second_and_a_stop_leaves_nothing_behind() {
    let Some(pg) = server(Major::V18) else { return };
    let rig = Rig::new(&pg.url());
    let doctor = || rig.home.run(&["doctor"]);
    assert!(
        doctor().stdout.contains("no receiver of WAL runs"),
        "{}",
        doctor().stdout
    );
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    // Its status is a second old at most.
    wait("doctor", || {
        doctor().stdout.contains("the receiver of WAL runs")
    });
    load(&pg, 3);
    let end = flushed(&pg);
    // What the server knows as flushed is what the vault has.
    let told = || pg.psql("select coalesce(max(flush_lsn), '0/0') from pg_stat_replication");
    wait("the vault", || lsn(&told()) >= end);
    assert_is_archived(&rig.archive(), &pg, 1, end);
    assert_eq!(
        pg.psql("select application_name from pg_stat_replication"),
        SLOT
    );
    wait("the status", || rig.home.run(&["wal", "status"]).code == 0);
    let status = rig.home.json(&["wal", "status"]);
    assert_eq!(
        (
            &status["ok"],
            &status["services"][0]["receiver"]["is_running"]
        ),
        (&true.into(), &true.into())
    );
    load(&pg, 2);
    let end = flushed(&pg);
    wait("the rest", || {
        rig.record()["received"].as_str().map(lsn) >= Some(end)
    });
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
}

#[test]
fn nothing_is_missing_after_cuts_and_stalls_of_the_network() {
    let Some(pg) = Postgres::builder(Major::V15)
        .wal_segment_size(1)
        .conf("wal_keep_size", "4GB")
        .conf("wal_sender_timeout", "2s")
        .start_or_skip()
    else {
        return;
    };
    let proxy = Proxy::to(pg.port()).unwrap();
    let url = pg
        .url()
        .replace(&pg.port().to_string(), &proxy.port().to_string());
    let rig = Rig::new(&url);
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    for (round, after) in [1_u64, 70_001, 400_000, 1_500_003].into_iter().enumerate() {
        let direction = Direction::Down;
        let reset = round % 2 == 0;
        proxy.set(Fault::Cut {
            direction,
            after,
            reset,
        });
        load(&pg, 2);
        sleep(Duration::from_millis(300));
        proxy.set(Fault::None);
        proxy.close_all();
    }
    let before = rig.log().matches("streaming from").count();
    proxy.set(Fault::Stall {
        direction: Direction::Down,
        after: 100_000,
    });
    load(&pg, 2);
    wait("the stall to be noticed", || {
        proxy.connections() > 8 || rig.log().contains("did not answer")
    });
    proxy.set(Fault::None);
    let end = flushed(&pg);
    wait("the vault", || stored(&rig) >= end);
    assert!(
        rig.log().matches("streaming from").count() > before,
        "it had to connect again"
    );
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
}

fn stored(rig: &Rig) -> u64 {
    rig.record()["vaults"][0]["stored"]["lsn"]
        .as_str()
        .map_or(0, lsn)
}

#[test]
fn a_server_may_restart_and_crash_while_it_is_streamed() {
    let Some(mut pg) = server(Major::V17) else {
        return;
    };
    let rig = Rig::new(&pg.url());
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    for mode in [Mode::Fast, Mode::Immediate] {
        load(&pg, 2);
        pg.stop(mode).unwrap();
        rig.wait_for_log("not streaming");
        pg.start().unwrap();
        load(&pg, 1);
    }
    let end = flushed(&pg);
    wait("the vault", || stored(&rig) >= end);
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
}

/// A standby of `pg`, made by its own tools.
fn standby(pg: &Postgres, dir: &Path, follows: bool) -> Postgres {
    let mut copy = pg.tool("pg_basebackup");
    copy.args(["-X", "stream", "-c", "fast", "-D"]).arg(dir);
    if follows {
        copy.arg("-R");
    }
    process::run(&mut copy).unwrap();
    if !follows {
        fs::write(dir.join("standby.signal"), "").unwrap();
    }
    let existing = Existing::new(pg.bin_dir(), dir).conf("wal_keep_size", "4GB");
    existing.as_standby().start().unwrap()
}

#[test]
fn a_promotion_is_followed_and_what_diverged_stays_aside() {
    let Some(mut old) = server(Major::V15) else {
        return;
    };
    let rig = Rig::new(&old.url());
    let dir = process::temp_dir().unwrap();
    load(&old, 2);
    let new = standby(&old, &dir.path().join("copy"), false);
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    // The standby does not get this: the two histories part.
    load(&old, 3);
    let end_of_old = flushed(&old);
    wait("the vault", || stored(&rig) >= end_of_old);
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &old, 1, end_of_old);
    old.stop(Mode::Fast).unwrap();
    new.psql("select pg_promote()");
    wait("the promotion", || {
        new.psql("select pg_is_in_recovery()") == "f"
    });
    load(&new, 2);
    rig.configure(&new.url(), "", "");
    let end = flushed(&new);
    rig.once();
    let archive = rig.archive();
    assert_is_archived(&archive, &new, 2, end);
    let history = WalFile::named(system(&new), "00000002.history").unwrap();
    let own = fs::read(new.data_dir().join("pg_wal/00000002.history")).unwrap();
    assert_eq!(archive.get(&history).unwrap(), Some(own));
    let last = name(1, (end_of_old - 1) / SEGMENT);
    assert!(
        archived(&archive, system(&new), &last).is_some(),
        "what the old server wrote stays"
    );
    // The old server comes back, and its WAL must not follow.
    old.start().unwrap();
    rig.configure(&old.url(), "", "");
    let refused = rig.home.run(&["wal", "stream", "--once"]);
    refused.fails_with(1, "timeline 2");
}

#[test]
fn a_standby_that_is_promoted_while_it_is_streamed_leads_on_to_its_timeline() {
    let Some(pg) = server(Major::V17) else { return };
    let dir = process::temp_dir().unwrap();
    let second = standby(&pg, &dir.path().join("copy"), true);
    let rig = Rig::new(&second.url());
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    load(&pg, 2);
    let received = || lsn(&second.psql("select pg_last_wal_receive_lsn()"));
    wait("the standby", || received() >= flushed(&pg));
    second.psql("select pg_promote()");
    wait("the promotion", || {
        second.psql("select pg_is_in_recovery()") == "f"
    });
    let text = second.psql("select timeline_id from pg_control_checkpoint()");
    assert!(!text.is_empty());
    load(&second, 2);
    let end = flushed(&second);
    wait("the vault", || {
        stored(&rig) >= end && rig.record()["vaults"][0]["stored"]["timeline"] == 2
    });
    assert_eq!(receiver.stop(), 0);
    let archive = rig.archive();
    assert_is_archived(&archive, &second, 2, end);
    let history = fs::read_to_string(second.data_dir().join("pg_wal/00000002.history")).unwrap();
    let switch = lsn(history.split_whitespace().nth(1).unwrap());
    assert_is_archived(&archive, &pg, 1, switch);
    assert!(rig.log().contains("timeline 1 has ended"), "{}", rig.log());
}

#[test]
fn a_gap_is_named_and_gone_around_but_never_passed_over_in_silence() {
    let Some(pg) = Postgres::builder(Major::V15)
        .wal_segment_size(1)
        .conf("max_wal_size", "4MB")
        .conf("min_wal_size", "2MB")
        .start_or_skip()
    else {
        return;
    };
    let rig = Rig::new(&pg.url());
    load(&pg, 2);
    rig.once();
    assert_eq!(
        rig.home.run(&["wal", "status", "--json"]).code,
        1,
        "no receiver runs"
    );
    pg.psql(&format!("select pg_drop_replication_slot('{SLOT}')"));
    for _ in 0..4 {
        load(&pg, 4);
        pg.psql("checkpoint");
    }
    let receiver = rig.start();
    rig.wait_for_log("WAL is missing");
    load(&pg, 1);
    let end = flushed(&pg);
    wait("the vault", || stored(&rig) >= end);
    let status = rig.home.run(&["wal", "status", "--json"]);
    assert_eq!(status.code, 1, "{}", status.stdout);
    let health: Value = serde_json::from_str(&status.stdout).unwrap();
    let gap = &health["services"][0]["gaps"][0];
    let (from, to) = (
        lsn(gap["from"].as_str().unwrap()),
        lsn(gap["to"].as_str().unwrap()),
    );
    assert!(from < to && to % SEGMENT == 0, "{gap}");
    // Both ends of the gap are archived.
    let archive = rig.archive();
    assert!(archived(&archive, system(&pg), &name(1, (from - 1) / SEGMENT)).is_some());
    assert!(archived(&archive, system(&pg), &name(1, to / SEGMENT)).is_some());
    assert_eq!(receiver.stop(), 0);
    // A base backup after it makes up for it.
    rig.home.ok(&["backup"]);
    let receiver = rig.start();
    wait("the receiver", || {
        rig.home.run(&["wal", "status"]).code == 0
    });
    assert_eq!(receiver.stop(), 0);
}

fn a_slot_that_the_server_gave_up_is_made_anew(major: Major) {
    let Some(pg) = Postgres::builder(major)
        .wal_segment_size(1)
        .conf("max_wal_size", "4MB")
        .conf("min_wal_size", "2MB")
        .conf("max_slot_wal_keep_size", "4MB")
        .start_or_skip()
    else {
        return;
    };
    let rig = Rig::new(&pg.url());
    rig.once();
    for _ in 0..5 {
        load(&pg, 4);
        pg.psql("checkpoint");
    }
    let status = || {
        pg.psql(&format!(
            "select wal_status from pg_replication_slots where slot_name = '{SLOT}'"
        ))
    };
    assert_eq!(status(), "lost");
    let text = rig.home.run(&["wal", "status"]).stdout;
    assert!(text.contains("has lost WAL"), "{text}");
    let end = flushed(&pg);
    rig.once();
    assert_eq!(status(), "reserved");
    let health = rig.home.run(&["wal", "status", "--json"]);
    let health: Value = serde_json::from_str(&health.stdout).unwrap();
    let to = lsn(health["services"][0]["gaps"][0]["to"].as_str().unwrap());
    assert!(archived(&rig.archive(), system(&pg), &name(1, (end - 1) / SEGMENT)).is_some());
    assert!(to <= end);
}

#[test]
fn a_slot_that_the_server_gave_up_is_made_anew_15() {
    a_slot_that_the_server_gave_up_is_made_anew(Major::V15);
}

#[test]
fn a_slot_that_the_server_gave_up_is_made_anew_18() {
    a_slot_that_the_server_gave_up_is_made_anew(Major::V18);
}

#[test]
fn a_slot_in_use_is_waited_for() {
    let Some(pg) = server(Major::V15) else { return };
    let rig = Rig::new(&pg.url());
    rig.once();
    let dir = process::temp_dir().unwrap();
    let mut other = pg.tool("pg_receivewal");
    other.args(["--slot", SLOT, "-D"]).arg(dir.path());
    let other = Receiver(Some(
        other
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    ));
    let active = || pg.psql("select coalesce(max(active_pid), 0) from pg_replication_slots");
    wait("the other one", || active() != "0");
    let pid = active();
    let receiver = rig.start();
    rig.wait_for_log(&format!("in use by process {pid}"));
    drop(other);
    rig.wait_for_log("streaming from");
    assert_eq!(receiver.stop(), 0);
}

#[test]
fn a_server_that_is_another_one_is_refused_until_that_is_accepted() {
    let (Some(first), Some(second)) = (server(Major::V15), server(Major::V15)) else {
        return;
    };
    let rig = Rig::new(&first.url());
    load(&first, 1);
    let end = flushed(&first);
    rig.once();
    rig.configure(&second.url(), "", "");
    let refused = rig.home.run(&["wal", "stream", "--once"]);
    refused.fails_with(1, &format!("this server is cluster {}", system(&second)));
    let accepted = rig
        .home
        .run(&["wal", "stream", "--once", "--accept-new-server"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    let archive = rig.archive();
    assert_is_archived(&archive, &first, 1, end);
    assert_eq!(archive.systems().unwrap().len(), 2);
}

#[test]
fn a_server_that_went_back_in_time_is_refused() {
    let Some(mut pg) = server(Major::V15) else {
        return;
    };
    let rig = Rig::new(&pg.url());
    load(&pg, 1);
    rig.once();
    let dir = process::temp_dir().unwrap();
    let saved = dir.path().join("saved");
    pg.stop(Mode::Fast).unwrap();
    let copy = |from: &Path, to: &Path| {
        let mut cp = std::process::Command::new("cp");
        process::run(cp.arg("-a").arg(from).arg(to)).unwrap();
    };
    copy(pg.data_dir(), &saved);
    pg.start().unwrap();
    load(&pg, 3);
    rig.once();
    pg.stop(Mode::Fast).unwrap();
    fs::remove_dir_all(pg.data_dir()).unwrap();
    copy(&saved, pg.data_dir());
    pg.start().unwrap();
    rig.home
        .run(&["wal", "stream", "--once"])
        .fails_with(1, "restored to an earlier state");
    // It goes on beyond what is archived: its place says nothing any more, its bytes do.
    load(&pg, 5);
    rig.home
        .run(&["wal", "stream", "--once"])
        .fails_with(1, "is not what");
}

#[test]
fn a_full_vault_holds_nothing_up_and_is_filled_later() {
    let Some(pg) = server(Major::V15) else { return };
    let Some(disk) = rekindle_testing::skip::unless_available(SmallDisk::new(24)) else {
        return;
    };
    let mut rig = Rig::new(&pg.url());
    let mut move_it = std::process::Command::new("cp");
    process::run(
        move_it
            .arg("-a")
            .arg(&rig.vault)
            .arg(disk.path().join("vault")),
    )
    .unwrap();
    rig.vault = disk.path().join("vault");
    rig.configure(&pg.url(), "", "");
    let filler = disk.path().join("filler");
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    load(&pg, 1);
    let mut filling = fs::File::create(&filler).unwrap();
    let full = std::io::copy(
        &mut std::io::Read::take(std::io::repeat(1), 64 << 20),
        &mut filling,
    );
    assert!(full.is_err());
    load(&pg, 6);
    let end = flushed(&pg);
    rig.wait_for_log("vault fails");
    wait("the spool", || {
        rig.record()["durable"].as_str().map(lsn) >= Some(end)
    });
    assert_eq!(rig.home.run(&["wal", "status"]).code, 1);
    drop(filling);
    fs::remove_file(&filler).unwrap();
    wait("the vault", || stored(&rig) >= end);
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
}

#[test]
fn a_vault_that_is_away_is_waited_for_and_the_spool_keeps_to_its_limit() {
    let Some(pg) = server(Major::V15) else { return };
    let rig = Rig::with(&pg.url(), ", wal_spool_limit: 4MiB", "");
    rig.once();
    let away = rig.home.join("away");
    fs::rename(&rig.vault, &away).unwrap();
    let receiver = rig.start();
    rig.wait_for_log("the vault cannot be read yet");
    load(&pg, 20);
    let end = flushed(&pg);
    rig.wait_for_log("receiving pauses");
    assert!(rig.spooled() < 6 << 20, "{}", rig.spooled());
    let replicating = pg.psql("select count(*) from pg_stat_replication");
    assert_eq!(replicating, "1", "the connection is kept");
    fs::rename(&away, &rig.vault).unwrap();
    wait("the vault", || stored(&rig) >= end);
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
}

#[test]
fn a_copy_that_fails_never_stops_the_vault_and_catches_up() {
    let Some(pg) = server(Major::V15) else { return };
    let rig = Rig::with(
        &pg.url(),
        ", wal_spool_limit: 4MiB",
        ", copies: [ { name: second, at: copy } ]",
    );
    let copy = rig.home.join("copy");
    let mut cp = std::process::Command::new("cp");
    process::run(cp.arg("-a").arg(&rig.vault).arg(&copy)).unwrap();
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    load(&pg, 2);
    wait("the copy", || {
        rig.record()["vaults"][1]["stored"]["lsn"]
            .as_str()
            .map_or(0, lsn)
            >= flushed(&pg)
    });
    let away = rig.home.join("away");
    fs::rename(&copy, &away).unwrap();
    load(&pg, 12);
    let end = flushed(&pg);
    wait("the vault", || stored(&rig) >= end);
    rig.wait_for_log("second lacks");
    fs::rename(&away, &copy).unwrap();
    let password = rig.home.join("vault-password");
    let second = open(&copy, &password);
    wait("the copy", || {
        rig.record()["vaults"][1]["lacks"].is_null()
            && second.list(system(&pg)).unwrap().len() >= 14
    });
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), &pg, 1, end);
    assert_is_archived(&second, &pg, 1, end);
}

#[test]
fn a_synchronous_commit_is_durable_in_the_spool_and_a_lost_server_loses_nothing() {
    let Some(mut pg) = server(Major::V17) else {
        return;
    };
    let rig = Rig::with(&pg.url(), ", wal_synchronous: true", "");
    let receiver = rig.start();
    rig.wait_for_log("streaming from");
    pg.psql(&format!(
        "alter system set synchronous_standby_names = '{SLOT}'"
    ));
    pg.psql("select pg_reload_conf()");
    wait("synchronous replication", || {
        pg.psql("select coalesce(max(sync_state), '') from pg_stat_replication") == "sync"
    });
    // Waits for us, and for nothing of ours but the spool.
    pg.psql("set synchronous_commit = remote_apply; create table kept as select 1");
    load(&pg, 2);
    let end = flushed(&pg);
    pg.kill9().unwrap();
    drop(receiver);
    // Neither server nor receiver: the next receiver stores what the spool has.
    let receiver = rig.start();
    wait("the spool to be empty", || {
        rig.spooled() < 64 << 10 && stored_anywhere(&rig, end)
    });
    assert_eq!(receiver.stop(), 0);
    assert_is_archived(&rig.archive(), started(&mut pg), 1, end);
}

/// Whether the archive reaches `end`, without asking anybody.
fn stored_anywhere(rig: &Rig, end: u64) -> bool {
    let archive = rig.archive();
    let system = archive.systems().unwrap()[0];
    let segment = name(1, (end - 1) / SEGMENT);
    archived(&archive, system, &segment)
        .is_some_and(|there| there.len() as u64 >= (end - 1) % SEGMENT)
}

fn started(pg: &mut Postgres) -> &Postgres {
    pg.start().unwrap();
    pg
}
