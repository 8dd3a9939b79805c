//! From nothing to a restored database, on real servers, and what is said when things go wrong.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rekindle_testing::{
    faults::{self, Direction, Fault, Proxy},
    hard,
    postgres::{Auth, Major, Postgres},
    process,
};
use serde_json::{Value, json};
use support::Home;

fn server() -> Option<Postgres> {
    Postgres::builder(Major::V15)
        .checksums(true)
        .start_or_skip()
}

/// A configuration with one service `db`, whose dataset has these keys besides its kind.
fn configure(home: &Home, url: &str, keys: &str) {
    let yaml = format!(
        "stack: shop\n\
         vault: {{ at: vault, password_file: vault-password }}\n\
         services:\n  \
           db:\n    \
             datasets: [ {{ kind: postgres, url: \"{url}\"{keys} }} ]\n    \
             rpo: 1h\n"
    );
    home.write("rekindle.yaml", &yaml);
}

fn with_vault(url: &str, keys: &str) -> Home {
    let home = Home::with_vault();
    configure(&home, url, keys);
    home
}

/// Starts a server on a restored directory, and compares all it holds.
fn assert_starts_and_holds(pg: &Postgres, directory: &Path, expected: &str) {
    let restored = Postgres::open_existing(pg.bin_dir(), directory).unwrap();
    let found = restored.dump_all();
    assert!(
        found == expected,
        "the dumps differ: {} and {} bytes",
        found.len(),
        expected.len()
    );
    restored.amcheck().unwrap();
}

fn journey(major: Major, method: &str) {
    let Some(pg) = Postgres::builder(major).checksums(true).start_or_skip() else {
        return;
    };
    let home = Home::new();
    home.ok(&["init", "--stack", "shop", "--postgres", &pg.url()]);
    configure(
        &home,
        &pg.url(),
        &format!(
            ", logical: all, method: {method}, bin_dir: {:?}",
            pg.bin_dir()
        ),
    );
    pg.psql("create database shop");
    pg.psql_db(
        "shop",
        "create table item as select g id, md5(g::text) from generate_series(1,20000) g",
    );
    assert_eq!(home.json(&["doctor"])["ok"], true);

    let planned = home.json(&["backup", "--dry-run"]);
    assert_eq!(planned["datasets"][0]["supported"], true);
    let first = home.json(&["backup", "db", "--tag", "first"]);
    assert_eq!(first["point"]["datasets"], json!(["db/postgres"]));
    assert_eq!(
        (&first["skipped"], &first["point"]["tags"]),
        (&json!([]), &json!(["first"]))
    );
    let before = pg.dump_all();

    pg.psql_db(
        "shop",
        "delete from item where id % 2 = 0; create table other (id int)",
    );
    let second = home.json(&["backup"]);
    let after = pg.dump_all();
    let points = home.json(&["points"])["points"].clone();
    assert_eq!(points.as_array().unwrap().len(), 2);
    assert_eq!(
        (&points[0]["id"], &points[1]["id"]),
        (&first["point"]["id"], &second["point"]["id"])
    );
    assert_eq!(points[1]["level"], "stored");
    assert!(
        points[1]["added_bytes"].as_u64() < points[0]["added_bytes"].as_u64(),
        "{points}"
    );

    let id = first["point"]["id"].as_str().unwrap();
    let shown = home.json(&["points", "show", id]);
    assert_eq!(
        shown["manifest"]["datasets"][0]["identity"]["major"],
        major.number()
    );
    home.json(&[
        "restore",
        id,
        "--service",
        "db",
        "--to",
        "before",
        "--dry-run",
    ]);
    let restored = home.json(&["restore", id, "--service", "db", "--to", "before"]);
    assert_eq!(
        restored["result"],
        json!({ "kind": "postgres_directory", "major": major.number() })
    );
    assert_starts_and_holds(&pg, &home.join("before"), &before);
    home.ok(&["restore", "--service", "db", "--to", "after"]);
    assert_starts_and_holds(&pg, &home.join("after"), &after);

    let one = home.json(&["restore", id, "--database", "shop", "--as", "old shop"]);
    assert_eq!((&one["tables"], &one["rows"]), (&json!(1), &json!(20_000)));
    assert_eq!(pg.psql_db("old shop", "select count(*) from item"), "20000");
    assert_eq!(pg.psql_db("shop", "select count(*) from item"), "10000");

    let diff = home.json(&["points", "diff", id, "latest"]);
    assert!(diff["totals"]["changed"].as_u64() > Some(0), "{diff}");
    let check = home.json(&["vault", "check", "--read-data"]);
    assert_eq!((&check["ok"], &check["points"]), (&json!(true), &json!(2)));
    assert_status_is_well(&home.json(&["status"]), &second["point"]["id"]);
}

fn assert_status_is_well(status: &Value, newest: &Value) {
    assert_eq!(
        (&status["ok"], &status["stack"]),
        (&json!(true), &json!("shop"))
    );
    let service = &status["services"][0];
    assert_eq!(
        (&service["name"], &service["state"]),
        (&json!("db"), &json!("running"))
    );
    assert_eq!(service["rpo"]["target_seconds"], 3600);
    assert!(service["rpo"]["current_seconds"].as_u64() < Some(600));
    assert_eq!(&service["newest_point"]["id"], newest);
    assert_eq!(status["vault"]["snapshots"], 2);
}

#[test]
fn version_15_goes_into_a_vault_in_place_and_comes_back() {
    journey(Major::V15, "auto");
}

#[test]
fn version_17_goes_into_a_vault_over_the_wire_and_comes_back() {
    journey(Major::V17, "wire");
}

#[test]
fn a_person_is_told_what_was_done_and_what_comes_next() {
    let Some(pg) = server() else { return };
    let home = with_vault(&pg.url(), "");
    let ran = home.run(&["backup"]);
    assert!(
        ran.stdout
            .starts_with("recovery point ID of db/postgres\n  size "),
        "{}",
        ran.stdout
    );
    assert_eq!(
        (ran.stderr.as_str(), ran.code),
        ("next: rekindle restore ID --to DIR --dry-run\n", 0)
    );
    let ran = home.run(&["restore", "--service", "db", "--to", "back"]);
    let begin = "restored recovery point ID of TIME\n  to        HOME/back: a PostgreSQL 15 data directory\n";
    assert!(ran.stdout.starts_with(begin), "{}", ran.stdout);
    assert!(ran.stderr.contains("pg_ctl -D HOME/back"), "{}", ran.stderr);
    let status = home.run(&["status"]);
    assert!(
        status
            .stdout
            .starts_with("Everything can be brought back as it was on TIME"),
        "{}",
        status.stdout
    );
    let shown = home.ok(&["points", "show", "latest"]);
    assert!(shown.contains("kind: postgres"), "{shown}");
    home.run(&["backup", "--quiet"]).fails_with(0, "");
}

#[test]
fn a_hard_database_comes_back_by_the_program_alone() {
    let Some(pg) = server() else { return };
    hard::populate(&pg, hard::Size::default()).unwrap();
    let home = with_vault(&pg.url(), "");
    home.ok(&["backup"]);
    let expected = pg.table_checksums().logged_only();
    home.ok(&["restore", "--service", "db", "--to", "back"]);
    let restored = Postgres::open_existing(pg.bin_dir(), &home.join("back")).unwrap();
    let found = restored.table_checksums().logged_only();
    assert_eq!(found.differences(&expected), Vec::<String>::new());
}

#[test]
fn a_wrong_database_password_is_said_and_never_shown() {
    let auth = Auth::Scram("right".into());
    let Some(pg) = Postgres::builder(Major::V15).auth(auth).start_or_skip() else {
        return;
    };
    let home = with_vault(
        &pg.url_for("postgres", "postgres", Some("wr0ng-s3cret")),
        "",
    );
    for command in ["backup", "doctor", "status"] {
        let ran = home.run(&[command, "-vv"]);
        assert_ne!(ran.code, 0, "{command}");
        let said = ran.stdout + &ran.stderr;
        assert!(said.contains("password authentication failed"), "{said}");
        assert!(!said.contains("wr0ng-s3cret"), "{said}");
    }
    assert_eq!(home.json(&["points"])["points"], json!([]));
}

#[test]
fn a_server_that_is_gone_fails_the_backup_and_not_the_status() {
    let port = rekindle_testing::free_port().unwrap();
    let home = with_vault(
        &format!("postgres://postgres@127.0.0.1:{port}/postgres"),
        "",
    );
    let error = home.json_error(&["backup"], 1);
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .starts_with("back up `db`: "),
        "{error}"
    );
    assert!(error["hint"].is_string(), "{error}");
    let status = home.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (&status["ok"], &status["services"][0]["state"]),
        (&json!(false), &json!("unreachable"))
    );
    assert_eq!(
        home.run(&["status"]).code,
        6,
        "without a point, the RPO is missed"
    );
    assert_eq!(home.run(&["doctor"]).code, 1);
}

#[test]
fn a_role_without_the_right_to_replicate_is_told_what_it_lacks() {
    let Some(pg) = server() else { return };
    pg.psql("create role backup login");
    let home = with_vault(&pg.url_for("postgres", "backup", None), ", method: wire");
    let error = home.json_error(&["backup"], 1);
    let said = error.to_string();
    assert!(said.contains("REPLICATION"), "{said}");
    assert!(error["hint"].is_string(), "{error}");
    home.run(&["doctor"]).fails_with(1, "");
    assert_eq!(home.json(&["points"])["points"], json!([]));
}

#[test]
fn a_server_without_wal_for_backups_is_told_the_setting() {
    let built = Postgres::builder(Major::V15)
        .conf("wal_level", "minimal")
        .conf("max_wal_senders", 0);
    let Some(pg) = built.start_or_skip() else {
        return;
    };
    for method in ["in_place", "wire"] {
        let home = with_vault(&pg.url(), &format!(", method: {method}"));
        let error = home.json_error(&["backup"], 1).to_string();
        assert!(error.contains("wal_level"), "{method}: {error}");
        let ran = home.run(&["doctor"]);
        assert!(
            ran.code == 1 && ran.stdout.contains("wal_level is minimal"),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn what_is_not_there_is_named_with_what_there_is() {
    let Some(pg) = server() else { return };
    let home = with_vault(&pg.url(), ", logical: [postgres]");
    let said = "\
error: there is no service `bd` in the configuration; it has `db`
hint: `rekindle config show` lists the services
";
    home.run(&["backup", "bd"]).says(2, "", said);
    home.ok(&["backup"]);
    home.run(&["restore", "--service", "bd", "--to", "x"])
        .fails_with(
            1,
            "recovery point ID has nothing of a service `bd`; it has `db`",
        );
    // Without a dump of it, the base backup is looked into.
    home.run(&["restore", "--database", "shop", "--as", "new"])
        .fails_with(1, "database \"shop\" does not exist");
    home.run(&["restore", "--database", "postgres", "--as", "template1"])
        .fails_with(1, "target-exists: a database `template1` exists already");
    assert!(!home.join("x").exists());
}

#[test]
fn files_go_into_the_same_point_and_a_path_that_is_not_there_is_named() {
    let Some(pg) = server() else { return };
    let home = with_vault(&pg.url(), "");
    let yaml = fs::read_to_string(home.join("rekindle.yaml")).unwrap();
    let more = "  index: { datasets: [ { kind: files, paths: [data] } ] }\n";
    home.write("rekindle.yaml", &(yaml + more));
    home.run(&["backup"]).fails_with(1, "data is not there");
    fs::create_dir(home.join("data")).unwrap();
    home.write("data/x", "x");
    home.ok(&["backup"]);
    assert_eq!(
        home.json(&["points"])["points"].as_array().unwrap().len(),
        1
    );
    home.ok(&["restore", "--service", "index", "--to", "back"]);
    assert_eq!(fs::read_to_string(home.join("back/data/x")).unwrap(), "x");
}

#[test]
fn a_server_that_goes_in_the_middle_leaves_no_point_and_no_lock() {
    let Some(pg) = server() else { return };
    let proxy = Proxy::to(pg.port()).unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
    let home = with_vault(&url, ", method: wire");
    let (direction, after) = (Direction::Down, 3 << 20);
    proxy.set(Fault::Cut {
        direction,
        after,
        reset: false,
    });
    let error = home.json_error(&["backup"], 1);
    assert!(
        error["error"].as_str().unwrap().starts_with("back up `db`"),
        "{error}"
    );
    assert_eq!(home.json(&["points"])["points"], json!([]));
    assert_eq!(
        faults::files_below(&home.join("vault/locks"))
            .unwrap()
            .len(),
        0
    );
    proxy.set(Fault::None);
    home.ok(&["backup"]);
    assert_eq!(home.json(&["vault", "check", "--read-data"])["ok"], true);
}

/// A backup that has begun and will not end, because its server is stalled.
fn stalled_backup() -> Option<(Home, Child, Proxy, Postgres)> {
    let pg = server()?;
    let proxy = Proxy::to(pg.port()).unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
    let home = with_vault(&url, ", method: wire");
    let (direction, after) = (Direction::Down, 3 << 20);
    proxy.set(Fault::Stall { direction, after });
    let mut command = home.command(&["backup"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while proxy.forwarded(Direction::Down) < 3 << 20 {
        assert!(Instant::now() < deadline, "the backup never got so far");
        sleep(Duration::from_millis(20));
    }
    Some((home, child, proxy, pg))
}

fn kill(child: &Child, signal: &str) {
    let mut command = std::process::Command::new("kill");
    process::run(command.args([signal, &child.id().to_string()])).unwrap();
}

#[test]
fn a_signal_ends_a_backup_with_its_own_exit_code_and_takes_the_lock_along() {
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let Some((home, child, _proxy, _pg)) = stalled_backup() else {
            return;
        };
        kill(&child, signal);
        let ran = home.ran(&child.wait_with_output().unwrap());
        let said = "interrupted: no recovery point was left unfinished; \
                    the next backup uses again what is stored\n";
        ran.says(code, "", said);
        assert_eq!(
            faults::files_below(&home.join("vault/locks"))
                .unwrap()
                .len(),
            0
        );
        assert_eq!(home.json(&["points"])["points"], json!([]));
    }
}

#[test]
fn locks_of_the_dead_are_removed_and_those_of_the_living_are_not() {
    let Some((home, mut child, proxy, _pg)) = stalled_backup() else {
        return;
    };
    let ran = home.run(&["vault", "unlock"]);
    assert_eq!(ran.stdout, "no abandoned lock\n");
    ran.fails_with(0, " is alive\n");
    kill(&child, "-KILL");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let ran = home.run(&["vault", "unlock"]);
    assert!(
        ran.stdout.starts_with("removed lock ID of "),
        "{}",
        ran.stdout
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    proxy.set(Fault::None);
    home.ok(&["backup"]);
}
