//! A restore in place as a person meets it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::process::Command;

use rekindle_testing::{
    postgres::{Major, Postgres},
    process::{as_server_owner, run},
};
use support::Home;

/// Stops what `pg_ctl` started: it is nobody's child.
struct Stopped<'a>(&'a Postgres);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let mut command = Command::new(self.0.bin_dir().join("pg_ctl"));
        as_server_owner(&mut command).unwrap();
        command.arg("-D").arg(self.0.data_dir());
        let _ = run(command.args(["-m", "immediate", "-w", "stop"]));
    }
}

#[test]
fn it_is_shown_then_done_then_undone_then_discarded() {
    let Some(pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    let home = Home::with_vault();
    home.write(
        "rekindle.yaml",
        &format!(
            "stack: shop\nvault: {{ at: vault, password_file: vault-password }}\nservices:\n  db:\n    \
             datasets: [ {{ kind: postgres, url: \"{}\", bin_dir: {:?} }} ]\n    rpo: 1h\n",
            pg.url(),
            pg.bin_dir()
        ),
    );
    pg.psql("create table t as select 1 as id");
    home.ok(&["backup"]);
    pg.psql("insert into t values (2)");
    let rows = || pg.psql("select count(*) from t");

    let _stopped = Stopped(&pg);
    let shown = home.run(&["restore", "--service", "db", "--in-place"]);
    assert_eq!(shown.code, 7, "{}", shown.stderr);
    assert!(
        shown
            .stdout
            .contains("stop the server by `pg_ctl stop -m fast`"),
        "{}",
        shown.stdout
    );
    shown.fails_with(7, "next: rekindle restore --service db --in-place --yes");
    home.run(&["restore", "--undo"])
        .fails_with(1, "nothing is held");
    assert_eq!(rows(), "2");

    let done = home.run(&["restore", "--service", "db", "--in-place", "--yes"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stdout.contains("checked   1 database, timeline 2"),
        "{}",
        done.stdout
    );
    assert!(
        done.stderr.contains("stopping the server\n"),
        "{}",
        done.stderr
    );
    assert_eq!(rows(), "1");
    let status = home.json(&["status"]);
    assert_eq!(status["services"][0]["in_place"]["stage"], "held");
    home.run(&["restore", "--in-place", "--yes"])
        .fails_with(1, "--undo");

    let undone = home.json(&["restore", "--undo"]);
    assert_eq!(undone["is_started"], true);
    assert_eq!(rows(), "2");
    let discard = home.run(&["restore", "--discard"]);
    assert_eq!(discard.code, 7, "{}", discard.stderr);
    assert_eq!(
        home.json(&["restore", "--discard", "--yes"])["is_done"],
        true
    );
    home.run(&["restore", "--discard", "--yes"])
        .fails_with(1, "nothing is held");
    assert_eq!(rows(), "2");
}
