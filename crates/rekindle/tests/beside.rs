//! One table or database back beside the live ones, as a person meets it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::Stdio,
};

use rekindle_testing::postgres::{Major, Postgres};
use support::Home;

fn shop() -> Option<(Postgres, Home)> {
    let pg = Postgres::builder(Major::V15).start_or_skip()?;
    let home = Home::with_vault();
    home.write(
        "rekindle.yaml",
        &format!(
            "stack: shop\nvault: {{ at: vault, password_file: vault-password }}\nservices:\n  db:\n    \
             datasets: [ {{ kind: postgres, url: \"{}\", bin_dir: {:?} }} ]\n",
            pg.url(),
            pg.bin_dir()
        ),
    );
    pg.psql("create table orders as select g id from generate_series(1, 100) g");
    home.ok(&["backup"]);
    pg.psql("delete from orders where id > 40");
    Some((pg, home))
}

fn scratch_directories(home: &Home) -> usize {
    let names = fs::read_dir(home.path()).unwrap();
    let is_scratch = |name: &std::ffi::OsString| name.to_string_lossy().contains("scratch");
    names
        .map(|entry| entry.unwrap().file_name())
        .filter(is_scratch)
        .count()
}

#[test]
fn a_table_and_a_database_come_back_under_another_name() {
    let Some((pg, home)) = shop() else { return };
    let asked = ["restore", "--table", "orders", "--as", "orders_before"];
    let plan = home.run(&[&asked[..], &["--dry-run"]].concat());
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    assert!(
        plan.stdout
            .starts_with("would bring back table orders as of "),
        "{}",
        plan.stdout
    );
    plan.fails_with(
        0,
        "next: rekindle restore --service db --table orders --as orders_before",
    );
    assert!(pg.try_psql("table orders_before").is_err());

    let done = home.run(&asked);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stdout.contains("counted   1 table, 100 rows"),
        "{}",
        done.stdout
    );
    assert!(
        done.stderr.contains("starting a scratch server"),
        "{}",
        done.stderr
    );
    let missing = "select count(*) from orders_before b where not exists (select from orders o where o.id = b.id)";
    assert_eq!(pg.psql(missing), "60");
    home.run(&asked).fails_with(1, "exists already");
    home.run(&["restore", "--table", "nothing", "--as", "x"])
        .fails_with(1, "public.orders");
    home.run(&["restore", "--table", "a.b.c.d", "--as", "x"])
        .fails_with(2, "a.b.c.d");
    let whole = ["restore", "--table", "postgres.public.orders", "--as"];
    home.run(&[&whole[..], &["x.y.z"]].concat())
        .fails_with(2, "into the database that it was in");
    assert_eq!(
        home.json(&[&whole[..], &["again"]].concat())["as"],
        "public.again"
    );

    let database = ["restore", "--database", "postgres", "--as", "then"];
    assert_eq!(home.json(&database)["rows"], 100);
    assert_eq!(pg.psql_db("then", "select count(*) from orders"), "100");
    assert_eq!(scratch_directories(&home), 0);
}

#[test]
fn an_interrupted_one_leaves_neither_server_nor_directory() {
    let Some((pg, home)) = shop() else { return };
    let mut child = home
        .command(&["restore", "--table", "orders", "--as", "orders_before"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.any(|line| line.contains("starting a scratch server")));
    assert_eq!(scratch_directories(&home), 1);
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let said: Vec<String> = lines.collect();
    let status = child.wait().unwrap();
    assert_eq!(
        (status.code(), status.signal()),
        (Some(143), None),
        "{said:?}"
    );
    assert_eq!(scratch_directories(&home), 0, "{said:?}");
    assert!(pg.try_psql("table orders_before").is_err());
}
