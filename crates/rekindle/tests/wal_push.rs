//! `rekindle wal push`: what PostgreSQL hands over is in the archive, or PostgreSQL keeps it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{fs, thread::sleep, time::Duration};

use rekindle_testing::{
    data::Random,
    faults::{SmallDisk, flip_bit},
    load::Writer,
    postgres::{Major, Mode, Postgres},
    skip,
};
use support::wal::{Archive, Waiting, ready, until};

/// A server that archives, and keeps each segment a second time for comparing.
fn archiving(archive: &Archive, major: Major, segment_mib: u32) -> Option<Postgres> {
    let kept = archive.home.join("kept");
    fs::create_dir(&kept).unwrap();
    archive.give_to_servers();
    let command = format!(
        "cp %p {}/%f && {}",
        kept.display(),
        archive.line("wal push %p")
    );
    Postgres::builder(major)
        .wal_segment_size(segment_mib)
        .conf("archive_mode", "on")
        .conf("archive_command", command)
        .start_or_skip()
}

fn churn(pg: &Postgres, segments: u32) {
    pg.psql("create table if not exists t (id int, filler text)");
    for _ in 0..segments {
        pg.psql("insert into t select g, md5(g::text) from generate_series(1, 3000) g");
        pg.psql("select pg_switch_wal()");
    }
}

fn everything_comes_back(major: Major, segment_mib: u32) {
    let archive = Archive::new();
    let Some(mut pg) = archiving(&archive, major, segment_mib) else {
        return;
    };
    let writer = Writer::start(&pg).unwrap();
    churn(&pg, 12);
    writer.stop();
    pg.restart().unwrap();
    churn(&pg, 6);
    pg.kill9().unwrap();
    pg.start().unwrap();
    churn(&pg, 6);
    // A segment with nothing in it is not switched.
    pg.psql("insert into t values (0, '')");
    let last = pg.psql("select pg_walfile_name(pg_current_wal_lsn())");
    pg.psql("select pg_switch_wal()");
    until("the last segment", || archive.names().contains(&last));
    pg.stop(Mode::Fast).unwrap();

    let names = archive.names();
    assert!(names.len() >= 24, "{names:?}");
    for name in &names {
        archive.get(pg.data_dir(), name).succeeds();
        let came_back = fs::read(pg.data_dir().join("pg_wal/RECOVERYXLOG")).unwrap();
        let kept = fs::read(archive.home.join("kept").join(name)).unwrap();
        assert!(came_back == kept, "{name} is not what it was");
    }
}

#[test]
fn a_server_that_is_restarted_and_killed_archives_small_segments_byte_for_byte() {
    everything_comes_back(Major::V15, 1);
}

#[test]
fn a_server_that_is_restarted_and_killed_archives_usual_segments_byte_for_byte() {
    everything_comes_back(Major::V17, 16);
}

#[test]
fn the_first_call_archives_all_that_is_ready_and_the_next_need_no_password() {
    let Some(waiting) = Waiting::new(8) else {
        return;
    };
    let archive = Archive::new();
    archive.push(waiting.pgdata(), &waiting.names[0]).succeeds();
    assert_eq!(archive.names(), waiting.names);

    fs::remove_file(archive.home.join("vault-password")).unwrap();
    waiting.set_done(&waiting.names[0]);
    archive.archive_all(waiting.pgdata());
    // As after a crash of the server that came before it had noted the success.
    archive.push(waiting.pgdata(), &waiting.names[0]).succeeds();

    // Without the note only the content can tell that it is the same.
    fs::remove_file(waiting.path("rekindle/pushed").join(&waiting.names[0])).unwrap();
    archive
        .push(waiting.pgdata(), &waiting.names[0])
        .fails(1, "vault-password");
}

#[test]
fn the_same_file_again_is_success_and_other_bytes_are_refused() {
    let Some(waiting) = Waiting::new(4) else {
        return;
    };
    let archive = Archive::new();
    let (first, pgdata) = (&waiting.names[0], waiting.pgdata());
    archive.push(pgdata, first).succeeds();
    archive.push(pgdata, first).succeeds();
    let before = fs::read(archive.object(first)).unwrap();

    // Behind the header, where only the content can tell.
    flip_bit(&waiting.path(first), 500_000).unwrap();
    archive
        .push(pgdata, first)
        .fails(1, "holds other content already");
    archive.push(pgdata, first).fails(1, "hint: two servers");
    assert_eq!(fs::read(archive.object(first)).unwrap(), before);
}

#[test]
fn a_note_is_not_believed_for_a_file_that_was_replaced_or_for_another_vault() {
    let Some(waiting) = Waiting::new(3) else {
        return;
    };
    let archive = Archive::new();
    let pgdata = waiting.pgdata();
    archive.push(pgdata, &waiting.names[0]).succeeds();
    let mut other = fs::read(waiting.path(&waiting.names[1])).unwrap();
    other[500_000] ^= 1;
    waiting.write(&waiting.names[1], &other);
    archive
        .push(pgdata, &waiting.names[1])
        .fails(1, "holds other content already");

    let elsewhere = Archive::new();
    elsewhere.push(pgdata, &waiting.names[2]).succeeds();
    assert!(elsewhere.names().contains(&waiting.names[2]));
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_refused_and_does_not_hold_up_the_others() {
    let Some(waiting) = Waiting::new(6) else {
        return;
    };
    let Some(foreign) = Waiting::new(6) else {
        return;
    };
    let archive = Archive::new();
    let (names, pgdata) = (&waiting.names, waiting.pgdata());
    let whole = fs::read(waiting.path(&names[0])).unwrap();

    waiting.write(&names[0], &whole[..whole.len() / 2]);
    let short = archive.push(pgdata, &names[0]);
    short.fails(1, "524288 bytes where 1048576 are due");
    short.fails(1, "5 other files that wait behind");
    assert_eq!(archive.names(), names[1..]);

    waiting.write(
        &names[0],
        &fs::read(foreign.path(&foreign.names[0])).unwrap(),
    );
    archive
        .push(pgdata, &names[0])
        .fails(1, "is not archived: ");
    waiting.write(&names[0], &fs::read(waiting.path(&names[1])).unwrap());
    archive
        .push(pgdata, &names[0])
        .fails(1, "is not archived: ");
    waiting.write(&names[0], &vec![0; whole.len()]);
    archive
        .push(pgdata, &names[0])
        .fails(1, "is not archived: ");
    assert_eq!(archive.names(), names[1..]);

    // What the others were told stands, and once it is whole it goes in.
    waiting.write(&names[0], &whole);
    archive.archive_all(pgdata);
    assert_eq!(archive.names(), *names);
}

#[test]
fn histories_and_backup_labels_are_archived_and_never_replaced() {
    let Some(waiting) = Waiting::new(1) else {
        return;
    };
    let archive = Archive::new();
    let pgdata = waiting.pgdata();
    let label = format!("{}.00000028.backup", waiting.names[0]);
    waiting.write(&label, b"START WAL LOCATION: 0/100028\n");
    waiting.write(
        "00000002.history",
        b"1\t0/300000\tno recovery target specified\n",
    );
    for name in [&label, "00000002.history"] {
        archive.push(pgdata, name).succeeds();
        archive.get(pgdata, name).succeeds();
        let came_back = fs::read(waiting.path("RECOVERYXLOG")).unwrap();
        assert_eq!(came_back, fs::read(waiting.path(name)).unwrap());
    }
    waiting.write(
        "00000002.history",
        b"1\t0/400000\tno recovery target specified\n",
    );
    archive
        .push(pgdata, "00000002.history")
        .fails(1, "holds other content already");
    waiting.write("00000003.history", b"nonsense");
    archive
        .push(pgdata, "00000003.history")
        .fails(1, "is not archived");
    archive
        .push(pgdata, "postgresql.conf")
        .fails(1, "no file that PostgreSQL archives");
}

#[test]
fn a_push_that_is_killed_at_any_moment_leaves_nothing_half_done() {
    let Some(waiting) = Waiting::new(24) else {
        return;
    };
    let archive = Archive::new();
    let pgdata = waiting.pgdata();
    let mut random = Random::new(7);
    let path = |name: &str| format!("pg_wal/{name}");
    for name in &waiting.names {
        let mut push = archive
            .command(pgdata, &["wal", "push", &path(name)])
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(random.below(60)));
        // It may have ended by itself.
        let _ = push.kill();
        push.wait().unwrap();
    }
    archive.archive_all(pgdata);
    assert_eq!(archive.names(), waiting.names);
    for name in &waiting.names {
        archive.get(pgdata, name).succeeds();
        let came_back = fs::read(waiting.path("RECOVERYXLOG")).unwrap();
        assert!(came_back == fs::read(waiting.path(name)).unwrap(), "{name}");
    }
}

#[test]
fn while_the_vault_is_away_the_server_keeps_its_wal_and_tries_again() {
    let archive = Archive::new();
    let Some(pg) = archiving(&archive, Major::V18, 1) else {
        return;
    };
    churn(&pg, 2);
    until("a first segment", || archive.names().len() >= 2);
    let (vault, away) = (archive.home.join("vault"), archive.home.join("away"));
    fs::rename(&vault, &away).unwrap();
    churn(&pg, 3);
    until("its message", || pg.log().contains("there is no vault at"));
    let failed = || pg.psql("select failed_count from pg_stat_archiver") != "0";
    until("a failure that PostgreSQL counts", failed);
    assert!(
        !vault.exists(),
        "nothing was written where the vault should be"
    );
    let kept = ready(pg.data_dir());
    assert!(kept.len() >= 2, "{kept:?}");

    fs::rename(&away, &vault).unwrap();
    until("all segments", || {
        kept.iter().all(|name| archive.names().contains(name))
    });
}

#[test]
fn a_full_disk_is_told_and_nothing_half_written_stays() {
    let Some(waiting) = Waiting::new(8) else {
        return;
    };
    let Some(disk) = skip::unless_available(SmallDisk::new(16)) else {
        return;
    };
    let archive = Archive::new();
    let pgdata = waiting.pgdata();
    let vault = archive.home.join("vault");
    let copied = std::process::Command::new("cp")
        .args(["-a", "-T"])
        .args([&vault, disk.path()])
        .status();
    assert!(copied.unwrap().success());
    fs::remove_dir_all(&vault).unwrap();
    std::os::unix::fs::symlink(disk.path(), &vault).unwrap();
    // All else is ready only when the disk is full.
    waiting.names.iter().for_each(|name| waiting.set_done(name));
    waiting.write(
        "00000002.history",
        b"1\t0/300000\tno recovery target specified\n",
    );
    archive.push(pgdata, "00000002.history").succeeds();
    waiting
        .names
        .iter()
        .for_each(|name| waiting.set_ready(name));

    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 1 << 24]).unwrap_err();
    archive
        .push(pgdata, &waiting.names[0])
        .fails(1, "No space left on device");
    assert!(
        archive.names().len() < waiting.names.len(),
        "the disk is full"
    );

    fs::remove_file(&ballast).unwrap();
    archive.archive_all(pgdata);
    assert_eq!(
        archive.names(),
        [&waiting.names[..], &["00000002.history".to_owned()]].concat()
    );
}

#[test]
fn a_copy_that_is_away_does_not_stop_archiving_and_catches_up() {
    let Some(waiting) = Waiting::new(6) else {
        return;
    };
    let archive = Archive::with(", copies: [ { name: offsite, at: offsite } ]");
    let (pgdata, names) = (waiting.pgdata(), &waiting.names);
    names[2..].iter().for_each(|name| {
        fs::remove_file(waiting.path(&format!("archive_status/{name}.ready"))).unwrap();
    });
    let push = archive.push(pgdata, &names[0]);
    push.succeeds();
    assert!(
        push.stderr.contains("copy `offsite` lacks 2 WAL files"),
        "{}",
        push.stderr
    );
    // As the server does once it is told that it is archived.
    waiting.set_done(&names[0]);
    fs::remove_file(waiting.path(&names[0])).unwrap();

    let settings = fs::read_to_string(archive.home.join("rekindle.yaml")).unwrap();
    archive
        .home
        .write("copy.yaml", &settings.replace("at: vault,", "at: offsite,"));
    archive.home.ok(&["--config", "copy.yaml", "vault", "init"]);
    archive.give_to_servers();
    let push = archive.push(pgdata, &names[3]);
    push.succeeds();
    assert_eq!(push.stderr, "");
    assert_eq!(
        archive.names_in("offsite"),
        [&names[..2], &names[3..4]].concat()
    );
    assert_eq!(archive.names(), archive.names_in("offsite"));
}

#[test]
fn it_is_told_when_nobody_said_that_wal_is_pushed() {
    let Some(waiting) = Waiting::new(1) else {
        return;
    };
    let archive = Archive::new();
    let yaml = archive.home.join("rekindle.yaml");
    let text = fs::read_to_string(&yaml).unwrap();
    archive
        .home
        .write("rekindle.yaml", &text.replace("wal: push", "wal: stream"));
    let push = archive.push(waiting.pgdata(), &waiting.names[0]);
    push.fails(
        1,
        "no service of the configuration archives its WAL by `wal: push`",
    );
    let path = format!("pg_wal/{}", waiting.names[0]);
    let named = |service: &str| {
        archive.run(
            waiting.pgdata(),
            &["wal", "push", &path, "--service", service],
        )
    };
    named("db").fails(1, "service `db` does not archive");
    named("nobody").fails(1, "there is no service `nobody`");
    archive.home.write("rekindle.yaml", &text);
    named("db").succeeds();
}

/// What `doctor` finds of service `db` at this level.
fn found(archive: &Archive, level: &str) -> Vec<(String, String)> {
    let output = archive
        .home
        .command(&["doctor", "--json"])
        .output()
        .unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let findings = value["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["subject"] == "db" && finding["level"] == level)
        .map(|finding| (text(&finding["text"]), text(&finding["fix"])))
        .collect()
}

#[test]
fn doctor_prints_the_settings_and_tells_why_archiving_fails() {
    let archive = Archive::new();
    let Some(mut pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    let yaml = fs::read_to_string(archive.home.join("rekindle.yaml")).unwrap();
    archive.home.write(
        "rekindle.yaml",
        &yaml.replace("postgres://localhost/x", &pg.url()),
    );
    archive.give_to_servers();
    let problems = found(&archive, "problem");
    let (text, fix) = &problems[0];
    assert_eq!(text, "archive_mode is off: WAL is not archived");
    let line = format!("archive_command = '{}'", archive.line("wal push %p"));
    assert!(fix.contains(&line), "{fix}\n{line}");

    // As it was printed.
    let settings = fix.split_once('\n').unwrap().1;
    let conf = pg.data_dir().join("postgresql.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{text}\n{settings}\n")).unwrap();
    pg.restart().unwrap();
    churn(&pg, 1);
    until("a first segment", || !archive.names().is_empty());
    until("that nothing is wrong", || {
        found(&archive, "problem").is_empty()
    });
    let fine = found(&archive, "fine");
    assert!(
        fine.iter()
            .any(|(text, _)| text.starts_with("WAL is archived: 0000")),
        "{fine:?}"
    );

    fs::rename(archive.home.join("vault"), archive.home.join("away")).unwrap();
    churn(&pg, 1);
    let why = "there is no vault at";
    let is_told = |(text, _): &(String, String)| {
        text.starts_with("archiving fails: 0000") && text.contains(why)
    };
    until("the reason", || {
        found(&archive, "problem").iter().any(is_told)
    });
}
