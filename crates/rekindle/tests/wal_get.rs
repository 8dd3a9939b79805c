//! `rekindle wal get`: recovery gets every file there is, and never takes trouble for the end.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rekindle_testing::{
    faults::flip_bit,
    postgres::{Existing, Major, Mode, Postgres},
    process,
};
use support::wal::{Archive, Waiting, until};
use tempfile::TempDir;

/// A stopped cluster whose segments are in the archive.
fn archived(count: usize) -> Option<(Waiting, Archive)> {
    let waiting = Waiting::new(count)?;
    let archive = Archive::new();
    archive.push(waiting.pgdata(), &waiting.names[0]).succeeds();
    assert_eq!(archive.names(), waiting.names);
    Some((waiting, archive))
}

fn fetched(pgdata: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(pgdata.join("pg_wal/rekindle/fetched")) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn any_order_of_asking_gets_the_very_bytes() {
    let Some((waiting, archive)) = archived(20) else {
        return;
    };
    let pgdata = waiting.pgdata();
    let order = (0..12).chain([11, 3, 3, 19, 0]).chain(12..20);
    for number in order {
        let name = &waiting.names[number];
        archive.get(pgdata, name).succeeds();
        let came_back = fs::read(waiting.path("RECOVERYXLOG")).unwrap();
        assert!(came_back == fs::read(waiting.path(name)).unwrap(), "{name}");
        let next = waiting.names.get(number + 1);
        if let Some(next) = next.filter(|_| number < 11) {
            until("the next segment", || fetched(pgdata).contains(next));
        }
    }
}

#[test]
fn what_is_fetched_ahead_is_taken_without_the_password() {
    let Some((waiting, archive)) = archived(4) else {
        return;
    };
    let pgdata = waiting.pgdata();
    archive.get(pgdata, &waiting.names[0]).succeeds();
    until("two segments", || fetched(pgdata).len() == 2);
    fs::remove_file(archive.home.join("vault-password")).unwrap();
    for name in &waiting.names[1..] {
        archive.get(pgdata, name).succeeds();
    }
    // Of another vault nothing of it may be taken.
    let elsewhere = Archive::new();
    let get = elsewhere.get(pgdata, &waiting.names[3]);
    get.fails(126, "has nothing of the cluster");
}

#[test]
fn only_a_file_that_is_certainly_not_there_ends_the_archive() {
    let Some((waiting, archive)) = archived(3) else {
        return;
    };
    let pgdata = waiting.pgdata();
    for absent in ["0000000100000000000000FF", "00000002.history"] {
        let get = archive.get(pgdata, absent);
        assert_eq!(
            (get.code, &*get.stderr),
            (Some(1), ""),
            "PostgreSQL asks for it by habit"
        );
    }
    let vault = archive.home.join("vault");
    let name = &waiting.names[0];
    for arguments in [
        &["wal", "get"] as &[&str],
        &["wal", "get", name],
        &["wal", "get", name, "pg_wal/X", "--no-such-option"],
        &["wal", "get", "nonsense", "pg_wal/X"],
    ] {
        let code = archive.run(pgdata, arguments).code;
        assert_eq!(code, Some(126), "{arguments:?}");
    }
    let object = archive.object(name);
    let whole = fs::read(&object).unwrap();
    fs::remove_file(&object).unwrap();
    fs::write(&object, &whole[..whole.len() - 1]).unwrap();
    support::wal::give_to_server(&object);
    archive.get(pgdata, name).fails(126, "is damaged");

    archive.home.write("vault-password", "wrong");
    archive.give_to_servers();
    let alone = ["wal", "get", "--no-prefetch", name, "pg_wal/X"];
    archive.run(pgdata, &alone).fails(126, "password");
    fs::rename(&vault, archive.home.join("away")).unwrap();
    archive
        .get(pgdata, "0000000100000000000000FF")
        .fails(126, "there is no vault at");
    fs::remove_file(archive.home.join("rekindle.yaml")).unwrap();
    archive
        .get(pgdata, name)
        .fails(126, "no rekindle.yaml found");
}

#[test]
fn leftovers_of_another_run_are_thrown_away_and_a_killed_fetcher_is_replaced() {
    let Some((waiting, archive)) = archived(6) else {
        return;
    };
    let pgdata = waiting.pgdata();
    let folder = pgdata.join("pg_wal/rekindle/fetched");
    fs::create_dir_all(&folder).unwrap();
    // As a crash of the machine may leave it: a name, and bytes that never reached the disk.
    fs::write(folder.join(&waiting.names[1]), vec![0; 1 << 20]).unwrap();
    process::run(Command::new("chown").args(["-R", "postgres:"]).arg(pgdata)).unwrap();
    for name in &waiting.names {
        archive.get(pgdata, name).succeeds();
        let came_back = fs::read(waiting.path("RECOVERYXLOG")).unwrap();
        assert!(came_back == fs::read(waiting.path(name)).unwrap(), "{name}");
        fetchers_of(pgdata).into_iter().for_each(kill);
    }
}

/// The processes that fetch ahead for this data directory.
fn fetchers_of(pgdata: &Path) -> Vec<u32> {
    let pg_wal = pgdata.join("pg_wal").display().to_string();
    let processes = fs::read_dir("/proc").unwrap();
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        words.contains(&&b"fetch"[..]) && words.contains(&pg_wal.as_bytes())
    })
    .collect()
}

fn kill(id: u32) {
    let id = rustix::process::Pid::from_raw(id.cast_signed()).unwrap();
    // It may have ended by itself.
    let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
}

/// A server that archives, its base backup, and more that was written afterwards.
struct Lost {
    archive: Archive,
    base: TempDir,
    bin_dir: PathBuf,
    rows: String,
    /// The segments that recovery needs, oldest first.
    segments: Vec<String>,
}

impl Lost {
    fn new(major: Major) -> Option<Self> {
        let archive = Archive::new();
        let mut pg = Postgres::builder(major)
            .wal_segment_size(1)
            .conf("archive_mode", "on")
            .conf("archive_command", archive.line("wal push %p"))
            .start_or_skip()?;
        pg.psql("create table t (id int, filler text)");
        let base = process::temp_dir().unwrap();
        let backup = base.path().join("data");
        process::run(
            pg.tool("pg_basebackup")
                .arg("-D")
                .arg(&backup)
                .args(["-c", "fast"]),
        )
        .unwrap();
        let mut segments = Vec::new();
        for _ in 0..20 {
            pg.psql("insert into t select g, md5(g::text) from generate_series(1, 2000) g");
            // At a boundary the server names the segment before it; here it is inside of one.
            segments.push(pg.psql("select pg_walfile_name(pg_current_wal_lsn())"));
            pg.psql("select pg_switch_wal()");
        }
        let last = segments.last().unwrap().clone();
        until("the last segment", || archive.names().contains(&last));
        let rows = pg.psql("select count(*), sum(id) from t");
        let bin_dir = pg.bin_dir().to_owned();
        pg.stop(Mode::Immediate).unwrap();
        Some(Self {
            archive,
            base,
            bin_dir,
            rows,
            segments,
        })
    }

    /// A copy of the base backup that shall recover from the archive.
    fn restored(&self, name: &str) -> PathBuf {
        let to = self.base.path().join(name);
        let from = self.base.path().join("data");
        process::run(Command::new("cp").arg("-a").arg(from).arg(&to)).unwrap();
        fs::write(to.join("recovery.signal"), "").unwrap();
        to
    }

    fn start(&self, pgdata: &Path) -> Result<Postgres, rekindle_testing::TestingError> {
        let command = self.archive.line("wal get %f \"%p\"");
        Existing::new(&self.bin_dir, pgdata)
            .conf("restore_command", command)
            .start()
    }
}

fn recovery_reaches_the_end(major: Major) {
    let Some(lost) = Lost::new(major) else { return };
    let pgdata = lost.restored("one");
    let pg = lost.start(&pgdata).unwrap();
    assert_eq!(pg.psql("select count(*), sum(id) from t"), lost.rows);
    assert_eq!(
        pg.psql("select timeline_id from pg_control_checkpoint()"),
        "2"
    );
    until("the end of the fetcher", || fetchers_of(&pgdata).is_empty());
    assert_eq!(fetched(&pgdata), Vec::<String>::new());
}

#[test]
fn recovery_reaches_the_end_of_the_archive_and_the_fetcher_ends_with_it() {
    recovery_reaches_the_end(Major::V15);
}

#[test]
fn recovery_of_the_newest_version_reaches_the_end_of_the_archive() {
    recovery_reaches_the_end(Major::V18);
}

#[test]
fn two_servers_recover_from_one_archive_at_once() {
    let Some(lost) = Lost::new(Major::V17) else {
        return;
    };
    let (one, two) = (lost.restored("one"), lost.restored("two"));
    std::thread::scope(|scope| {
        let servers = [&one, &two].map(|pgdata| scope.spawn(|| lost.start(pgdata).unwrap()));
        for server in servers {
            let rows = server
                .join()
                .unwrap()
                .psql("select count(*), sum(id) from t");
            assert_eq!(rows, lost.rows);
        }
    });
}

#[test]
fn a_damaged_segment_stops_recovery_instead_of_ending_it() {
    let Some(lost) = Lost::new(Major::V15) else {
        return;
    };
    let damaged = &lost.segments[12];
    let object = lost.archive.object(damaged);
    let length = fs::metadata(&object).unwrap().len();
    flip_bit(&object, length / 2).unwrap();
    let pgdata = lost.restored("one");
    let Err(error) = lost.start(&pgdata) else {
        panic!("it promoted without {damaged}")
    };
    let log = error.to_string();
    assert!(log.contains("is damaged"), "{log}");
    assert!(
        log.contains(&format!(
            "could not restore file \"{damaged}\" from archive"
        )),
        "{log}"
    );
    assert!(
        pgdata.join("recovery.signal").exists(),
        "recovery is not over"
    );
}

#[test]
fn an_unfinished_segment_is_taken_only_when_asked_for() {
    let Some((waiting, archive)) = archived(2) else {
        return;
    };
    let pgdata = waiting.pgdata();
    let name = &waiting.names[1];
    let alone = |name: &str, option: &str| {
        archive.run(pgdata, &["wal", "get", option, name, "pg_wal/RECOVERYXLOG"])
    };
    assert_eq!(alone("0000000100000000000000FE", "--partial").code, Some(1));
    let object = archive.object(name);
    let partial = object.with_file_name(format!("{name}.partial.zst.age"));
    fs::rename(&object, partial).unwrap();
    assert_eq!(alone(name, "--no-prefetch").code, Some(1));
    alone(name, "--partial").succeeds();
    let came_back = fs::read(waiting.path("RECOVERYXLOG")).unwrap();
    assert!(came_back == fs::read(waiting.path(name)).unwrap());
}
