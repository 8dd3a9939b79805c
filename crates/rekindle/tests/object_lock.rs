//! Object Lock as a person meets it: told, extended, and what a thief deleted brought back.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{fs, thread::sleep, time::Duration};

use rekindle_testing::{
    restic::Restic,
    servers::{ACCESS_KEY, Ceph, Rclone, SECRET_KEY},
    skip::unless_available,
};
use serde_json::Value;
use support::Home;

const PASSWORD: &str = "of the vault";

/// The files `data` of one service, and a vault in a bucket; `lock` are the vault's keys about locks.
fn configured(port: u16, lock: &str) -> Home {
    let home = Home::new();
    fs::create_dir(home.join("data")).unwrap();
    home.write("data/a", "first");
    home.write("keys", &format!("{ACCESS_KEY}:{SECRET_KEY}\n"));
    home.write("vault-password", &format!("{PASSWORD}\n"));
    configure(&home, port, lock);
    home
}

fn configure(home: &Home, port: u16, lock: &str) {
    home.write(
        "rekindle.yaml",
        &format!(
            "stack: shop\n\
             vault:\n  \
               at: \"s3://bucket/shop?endpoint=http://127.0.0.1:{port}\"\n  \
               credentials_file: keys\n  \
               password_file: vault-password\n  \
               {lock}\n\
             services:\n  \
               app: {{ datasets: [ {{ kind: files, paths: [ data ] }} ] }}\n"
        ),
    );
}

#[track_caller]
fn run_well(home: &Home, arguments: &[&str]) -> String {
    let ran = home.run(arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
    ran.stdout
}

#[track_caller]
fn json(home: &Home, arguments: &[&str], code: i32) -> Value {
    let output = home
        .command(&[arguments, &["--json"]].concat())
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {output:?}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

const STATUS: [&str; 3] = ["vault", "object-lock", "status"];
const EXTEND: [&str; 3] = ["vault", "object-lock", "extend"];

/// One gateway for all of it, because it takes long to start.
#[test]
fn locks_are_told_extended_and_bring_back_what_a_thief_deleted() {
    let Some(ceph) = unless_available(Ceph::start()) else {
        return;
    };
    if unless_available(ceph.make_locked_bucket("bucket")).is_none() {
        return;
    }
    let home = configured(ceph.port(), "object_lock: { mode: governance, days: 3 }");
    run_well(&home, &["vault", "init"]);
    run_well(&home, &["backup"]);

    what_a_backup_stored_is_locked(&home);
    what_another_program_stored_is_told_and_locked(&home, ceph.port());
    what_a_thief_deleted_is_told_and_comes_back(&home, &ceph);
}

fn what_a_backup_stored_is_locked(home: &Home) {
    let said = run_well(home, &STATUS);
    assert!(
        said.contains("kept by the bucket, 3 days asked for"),
        "{said}"
    );
    assert!(said.contains(": all locked, the first until "), "{said}");
    assert!(!said.contains("tampered"), "{said}");
    let status = json(home, &STATUS, 0);
    assert_eq!(status["ok"], true, "{status:#}");
    assert_eq!(status["place"]["is_kept"], true);
    assert_eq!(status["needed"]["unlocked"], 0);
    let sample = json(home, &[&STATUS[..], &["--sample"]].concat(), 0);
    assert_eq!(sample["needed"]["needed"], status["needed"]["needed"]);
    let doctor = home.run(&["doctor"]);
    let said = doctor.stdout + &doctor.stderr;
    assert!(said.contains("the bucket keeps object locks"), "{said}");
}

fn what_another_program_stored_is_told_and_locked(home: &Home, port: u16) {
    let place = format!("s3:http://127.0.0.1:{port}/bucket/shop");
    let restic = Restic::new(place, PASSWORD)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    home.write("data/b", "by restic");
    restic.backup(&[&home.join("data")]).unwrap();

    let told = home.run(&STATUS);
    assert_eq!(told.code, 1, "{}", told.stdout);
    assert!(told.stdout.contains(" without a lock"), "{}", told.stdout);
    let next = "next: rekindle vault object-lock extend";
    assert!(told.stderr.contains(next), "{}", told.stderr);
    let doctor = home.run(&["doctor"]);
    let said = doctor.stdout + &doctor.stderr;
    assert!(said.contains("not locked for 3 days"), "{said}");

    let extended = json(home, &EXTEND, 0);
    assert!(extended["extended"].as_u64().unwrap() > 0, "{extended:#}");
    assert_eq!(json(home, &STATUS, 0)["ok"], true);
    let again = run_well(home, &[&EXTEND[..], &["--ask-all"]].concat());
    assert!(again.contains(", 0 locked anew"), "{again}");
}

fn what_a_thief_deleted_is_told_and_comes_back(home: &Home, ceph: &Ceph) {
    let points = json(home, &["points"], 0);
    let point = points["points"][0]["id"].as_str().unwrap().to_owned();
    // The store's times have whole seconds: what is brought back is what was there a second before.
    sleep(Duration::from_millis(3100));
    for object in ["config".to_owned(), format!("snapshots/{point}")] {
        ceph.delete_object("bucket", &format!("shop/{object}"))
            .unwrap();
    }
    assert_ne!(home.run(&["points"]).code, 0, "it does not open any more");

    let told = home.run(&STATUS);
    assert_eq!(told.code, 1, "{}", told.stdout);
    assert!(told.stdout.contains("tampered"), "{}", told.stdout);
    // It goes on by the very command that it names.
    let said = String::from_utf8(home.command(&STATUS).output().unwrap().stderr).unwrap();
    let undelete: Vec<&str> = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("next: rekindle "))
        .unwrap()
        .split(' ')
        .collect();
    assert_eq!(undelete[..3], ["vault", "object-lock", "undelete"]);

    let shown = home.run(&undelete);
    assert_eq!(shown.code, 7, "{}{}", shown.stdout, shown.stderr);
    assert!(
        shown.stdout.contains("2 objects not as at"),
        "{}",
        shown.stdout
    );
    run_well(home, &[&undelete[..], &["--dry-run"]].concat());
    assert_ne!(home.run(&["points"]).code, 0, "nothing was done yet");

    let done = run_well(home, &[&undelete[..], &["--yes"]].concat());
    assert!(done.contains("2 undeleted, 0 written once more"), "{done}");
    run_well(home, &["vault", "check", "--read-data"]);
    let back = json(home, &["points"], 0);
    assert_eq!(back["points"], points["points"]);
    assert_eq!(json(home, &STATUS, 0)["ok"], true);
    let nothing = run_well(home, &undelete);
    assert!(nothing.contains("everything that was there"), "{nothing}");
}

#[test]
fn a_bucket_that_keeps_no_locks_is_told_by_every_command() {
    let Some(rclone) = unless_available(Rclone::serve_s3()) else {
        return;
    };
    rclone.make_bucket("bucket").unwrap();
    let home = configured(rclone.port(), "");
    run_well(&home, &["vault", "init"]);
    run_well(&home, &["backup"]);
    for command in [&STATUS[..], &EXTEND[..]] {
        home.run(command)
            .fails_with(1, "no Object Lock is configured");
    }

    configure(&home, rclone.port(), "object_lock: { days: 30 }");
    let told = home.run(&STATUS);
    let none = "the bucket has none: nothing is protected";
    assert!(told.stdout.contains(none), "{}", told.stdout);
    assert_eq!(told.code, 1);
    let status = json(&home, &STATUS, 1);
    assert_eq!(status["place"]["is_kept"], false, "{status:#}");
    let doctor = home.run(&["doctor"]);
    let said = doctor.stdout + &doctor.stderr;
    assert!(said.contains("and the bucket has none"), "{said}");
    assert_ne!(home.run(&["backup"]).code, 0, "nothing is written unlocked");
    run_well(&home, &["restore", "--service", "app", "--to", "restored"]);
}

#[test]
fn a_time_that_is_none_is_wrong_use() {
    let home = Home::with_vault();
    home.run(&["vault", "object-lock", "undelete", "--at", "then"])
        .fails_with(2, "a time as in 2026-11-20T03:00:00Z");
    home.run(&["vault", "object-lock", "undelete"])
        .fails_with(2, "--at <TIME>");
}
