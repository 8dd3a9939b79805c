//! Dumps from elsewhere, as a person meets them at the command line; also when the program is
//! killed in the middle.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rekindle_testing::postgres::{Major, Postgres};
use serde_json::json;
use support::Home;

/// A server with a database `shop`, a configuration for it, and a dump of it.
struct Shop {
    server: Postgres,
    home: Home,
}

impl Shop {
    fn new(rows: u32) -> Option<Self> {
        let server = Postgres::builder(Major::V15).start_or_skip()?;
        server.psql("create database shop");
        server.psql_db(
            "shop",
            &format!("create table item as select g as id, md5(g::text) as name from generate_series(1, {rows}) g"),
        );
        let home = Home::with_vault();
        let yaml = format!(
            "stack: shop\nvault: {{ at: vault, password_file: vault-password }}\nservices:\n  \
             db: {{ datasets: [ {{ kind: postgres, url: \"{}\" }} ] }}\n",
            server.url()
        );
        home.write("rekindle.yaml", &yaml);
        Some(Self { server, home })
    }

    fn dump(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.home.join(name);
        let mut command = self.server.tool("pg_dump");
        assert!(
            command
                .args(arguments)
                .arg("-f")
                .arg(&path)
                .arg("shop")
                .status()
                .unwrap()
                .success()
        );
        path
    }

    fn databases(&self) -> Vec<String> {
        let names = self
            .server
            .psql("select datname from pg_database where not datistemplate order by 1");
        names.lines().map(str::to_owned).collect()
    }

    fn rows(&self, database: &str) -> String {
        self.server.psql_db(database, "select count(*) from item")
    }
}

#[test]
fn a_dump_is_shown_restored_swapped_and_swapped_back() {
    let Some(shop) = Shop::new(300) else { return };
    shop.dump("old.dump", &["-Fc"]);
    shop.server
        .psql_db("shop", "delete from item where id > 100");

    let plan = shop
        .home
        .json(&["restore", "--from", "old.dump", "--swap", "--dry-run"]);
    assert_eq!(plan["is_permitted"], true);
    assert_eq!(plan["dump"]["form"], "custom");
    assert_eq!(plan["databases"][0]["rows"], 300);
    assert_eq!(shop.databases(), ["postgres", "shop"]);

    let beside = shop
        .home
        .json(&["restore", "--from", "old.dump", "--as", "beside"]);
    assert_eq!(
        (
            &beside["databases"][0]["name"],
            &beside["databases"][0]["rows"]
        ),
        (&json!("beside"), &json!(300))
    );
    let again = shop
        .home
        .json_error(&["restore", "--from", "old.dump", "--as", "beside"], 1);
    assert_eq!(again["findings"][0]["guard"], "target-exists");

    let swapped = shop.home.run(&[
        "restore",
        "--from",
        "old.dump",
        "--database",
        "shop",
        "--swap",
    ]);
    assert_eq!(swapped.code, 0, "{}", swapped.stderr);
    assert!(
        swapped
            .stderr
            .contains("restore --undo --service db --database shop"),
        "{}",
        swapped.stderr
    );
    assert_eq!(shop.rows("shop"), "300");
    shop.home.ok(&["restore", "--undo", "--database", "shop"]);
    assert_eq!(shop.rows("shop"), "100");
    let nothing = shop
        .home
        .json_error(&["restore", "--undo", "--database", "shop"], 1);
    assert!(nothing["hint"].as_str().unwrap().contains("_before_"));
}

#[test]
fn what_refuses_is_named_with_its_advice_and_overridden_by_name_only() {
    let Some(shop) = Shop::new(10) else { return };
    let path = shop.dump("shop.sql", &[]);
    let text = fs::read_to_string(&path).unwrap();
    shop.home.write(
        "evil.sql",
        &text.replacen(
            "SET row_security = off;",
            "SET row_security = on;\n\\! id",
            1,
        ),
    );
    let ran = shop
        .home
        .run(&["restore", "--from", "evil.sql", "--as", "new"]);
    ran.fails_with(1, "row-security: it was made with --enable-row-security");
    ran.fails_with(1, "--force row-security --force meta-commands");
    let one = shop.home.run(&[
        "restore",
        "--from",
        "evil.sql",
        "--as",
        "new",
        "--force",
        "row-security",
    ]);
    one.fails_with(1, "meta-commands: 1 command(s) of psql's, as on line");
    let unknown = shop
        .home
        .run(&["restore", "--from", "evil.sql", "--force", "everything"]);
    unknown.fails_with(2, "disk-space");
    assert_eq!(shop.databases(), ["postgres", "shop"]);

    shop.home.write("cut.sql", &text[..text.len() * 6 / 10]);
    let cut = shop
        .home
        .json_error(&["restore", "--from", "cut.sql", "--as", "new"], 1);
    assert!(
        cut["error"].as_str().unwrap().contains("is not whole"),
        "{cut}"
    );
    let imported = shop.home.json_error(&["import", "cut.sql"], 1);
    assert!(
        imported["error"].as_str().unwrap().contains("is not whole"),
        "{imported}"
    );
}

#[test]
fn imported_dumps_are_listed_as_such_and_restored_from_the_vault() {
    let Some(shop) = Shop::new(300) else { return };
    shop.dump("old.sql", &["--create"]);
    let planned = shop.home.json(&["import", "old.sql", "--dry-run"]);
    assert_eq!(planned["files"][0]["databases"], json!(["shop"]));
    let imported = shop
        .home
        .json(&["import", "old.sql", "--tag", "before-the-move"]);
    assert_eq!(
        imported["point"]["tags"],
        json!(["imported", "before-the-move"])
    );
    let id = imported["point"]["id"].as_str().unwrap();
    let shown = shop.home.json(&["points", "show", id]);
    let logical = &shown["manifest"]["datasets"][0]["logical"]["databases"][0];
    assert_eq!(
        (&logical["format"], &logical["file"]),
        (&json!("plain"), &json!("shop.sql"))
    );
    shop.home
        .ok(&["restore", id, "--database", "shop", "--as", "again"]);
    assert_eq!(shop.rows("again"), "300");
}

#[test]
fn a_restore_that_is_killed_leaves_a_marked_database_and_the_next_run_says_so() {
    let Some(shop) = Shop::new(300_000) else {
        return;
    };
    shop.dump("big.sql", &[]);
    let arguments = [
        "restore",
        "--from",
        "big.sql",
        "--database",
        "shop",
        "--as",
        "half",
    ];
    let mut child = shop
        .home
        .command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_filling =
        "select count(*) from pg_stat_activity where datname = 'half' and query like 'COPY%'";
    wait_until(|| shop.server.psql(is_filling) == "1");
    child.kill().unwrap();
    child.wait().unwrap();
    let is_left = "select count(*) from pg_stat_activity where datname = 'half'";
    wait_until(|| shop.server.psql(is_left) == "0");
    assert_eq!(shop.rows("shop"), "300000");

    let next = shop.home.run(&[
        "restore",
        "--from",
        "big.sql",
        "--database",
        "shop",
        "--dry-run",
    ]);
    assert_eq!(next.code, 0);
    assert!(
        next.stderr.contains("DROP DATABASE \"half\";"),
        "{}",
        next.stderr
    );
    shop.home.ok(&[
        "restore",
        "--from",
        "big.sql",
        "--database",
        "shop",
        "--as",
        "whole",
    ]);
    assert_eq!(shop.rows("whole"), "300000");
}

#[test]
fn whenever_a_swap_is_killed_the_live_database_is_one_or_the_other() {
    let Some(shop) = Shop::new(20) else { return };
    shop.dump("other.dump", &["-Fc"]);
    shop.server.psql_db("shop", "insert into item select 21");
    // A client that comes back whenever it is sent away, as a pool does.
    let mut pool = shop.server.tool("bash");
    let loop_ = "while :; do psql -qAtc 'select 1' shop; sleep 0.01; done";
    let mut pool = Command::new("bash")
        .args(["-c", loop_])
        .envs(pool_environment(&mut pool))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let arguments = [
        "restore",
        "--from",
        "other.dump",
        "--database",
        "shop",
        "--swap",
        "--force",
        "active-connections",
    ];
    let clock = Instant::now();
    let whole = shop.home.run(&arguments);
    let took = clock.elapsed();
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    for part in 1..=8 {
        let mut child = shop
            .home
            .command(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(took * part / 9);
        child.kill().unwrap();
        child.wait().unwrap();
        // The server may be about to notice that its client is gone, or to commit.
        wait_until(|| {
            shop.server.psql("select count(*) from pg_stat_activity where query like 'ALTER DATABASE%' and pid <> pg_backend_pid()") == "0"
        });
        let live = shop.rows("shop");
        assert!(
            live == "20" || live == "21",
            "{live} rows after a kill at part {part}"
        );
        let kept = shop
            .databases()
            .into_iter()
            .filter(|name| name.starts_with("shop_before_"));
        let kept: Vec<_> = kept.map(|name| shop.rows(&name)).collect();
        assert!(
            live == "21" || kept.contains(&"21".to_owned()),
            "the old one is lost: {kept:?}"
        );
    }
    pool.kill().unwrap();
    pool.wait().unwrap();
}

fn pool_environment(command: &mut Command) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let all = command.get_envs();
    all.filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect()
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "it did not happen within a minute"
        );
        sleep(Duration::from_millis(10));
    }
}
