//! The receiver of WAL: whatever happens to it, its server, its disk or its vault, everything that was acknowledged is
//! archived byte for byte, and what cannot be had is said.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

#[path = "../support/mod.rs"]
mod support;

mod commits;
mod gaps;
mod refused;
mod timelines;
mod vaults;

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

fn stored(rig: &Rig) -> u64 {
    rig.record()["vaults"][0]["stored"]["lsn"]
        .as_str()
        .map_or(0, lsn)
}
