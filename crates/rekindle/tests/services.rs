//! `rekindle service`: real processes, brought up, looked at and taken down as a person does.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod support;

use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Home, Ran};

/// A stack of processes; nothing of it runs when it is dropped.
struct Services(Home);

impl Services {
    fn new(services: &str) -> Self {
        let home = Home::new();
        let text = format!("stack: shop\nvault: {{at: v, password_env: P}}\nservices:\n{services}");
        home.write("rekindle.yaml", &text);
        Self(home)
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        self.0.command(&[&["service"], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.0.ran(&self.command(arguments).output().unwrap())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self
            .command(&[arguments, &["--json"]].concat())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn state(&self, service: &str) -> Value {
        let list = self.json(&["list"]);
        let services = list["services"].as_array().unwrap();
        services
            .iter()
            .find(|state| state["name"] == service)
            .unwrap()
            .clone()
    }

    #[track_caller]
    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let _ = self.command(&["down", "--limit", "1s"]).output();
    }
}

const SHOP: &str = "  db: {stateless: true, run: {command: 'touch db.well; sleep 61', log: db.log}, health: {command: [test, -e, db.well]}}
  api: {stateless: true, depends_on: [db], run: {command: 'echo hello from api; sleep 61', log: api.log}}
  mail: {stateless: true, optional: true, depends_on: [db], run: {command: 'echo no luck; exit 9', restart: no, log: mail.log}}
";

#[test]
fn a_stack_is_brought_up_looked_at_and_taken_down() {
    let shop = Services::new(SHOP);
    shop.run(&["up", "--dry-run"])
        .says(0, "1. db\n2. api, mail (optional)\n", "");
    shop.run(&["down", "--dry-run"])
        .says(0, "1. api, mail (optional)\n2. db\n", "");
    let up = shop.run(&["up"]);
    assert_eq!(up.code, 0, "{}{}", up.stdout, up.stderr);
    assert!(up.stdout.contains("db: up after") && up.stdout.contains("api: up after"));
    assert!(
        up.stdout
            .contains("mail: failed: ended with exit code 9 (optional)\n"),
        "{}",
        up.stdout
    );
    assert!(up.stdout.contains("\n    no luck\n"), "{}", up.stdout);
    assert!(up.stderr.starts_with("db: starting\n"), "{}", up.stderr);
    assert_eq!(shop.state("db")["health"]["health"], "healthy");
    assert_eq!(shop.state("api")["run"], "running");
    assert_eq!(shop.state("mail")["exit_code"], 9);
    let list = shop.run(&["list"]);
    assert!(list.stdout.starts_with("SERVICE  STATE"), "{}", list.stdout);
    let logs = shop.run(&["logs", "api", "--tail", "2"]);
    assert_eq!(logs.code, 0);
    assert!(logs.stdout.contains("hello from api\n"), "{}", logs.stdout);
    let again = shop.run(&["up", "db", "api"]);
    assert!(again.stdout.contains("db: was up\n") && again.stdout.contains("api: was up\n"));
    let restarted = shop.json(&["restart", "api"]);
    assert_eq!(restarted["services"][0]["outcome"], "up");
    let down = shop.run(&["down"]);
    assert_eq!(down.code, 0, "{}{}", down.stdout, down.stderr);
    assert_eq!(shop.state("db")["run"], "stopped");
    assert_eq!(shop.state("api")["run"], "stopped");
}

#[test]
fn a_part_that_fails_is_told_by_the_exit_code() {
    let shop = Services::new(
        "  db: {stateless: true, run: {command: 'exit 4', restart: no, log: 1.log}}
  api: {stateless: true, depends_on: [db], run: {command: 'sleep 61', log: 2.log}}
  page: {stateless: true, run: {command: 'sleep 61', log: 3.log}}
",
    );
    let up = shop.run(&["up"]);
    assert_eq!(up.code, 5, "{}{}", up.stdout, up.stderr);
    assert!(
        up.stdout.contains("api: left as it was, because of db\n"),
        "{}",
        up.stdout
    );
    assert_eq!(shop.run(&["start", "db"]).code, 1);
    let unknown = shop.run(&["start", "dp"]);
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.stderr.contains("there is no service `dp`"),
        "{}",
        unknown.stderr
    );
    assert_eq!(shop.run(&["logs", "dp"]).code, 2);
}

struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_guardian_starts_again_what_failed_and_leaves_what_was_stopped() {
    let shop = Services::new(
        "  db: {stateless: true, run: {command: 'sleep 61', restart: no, log: 1.log}}
  api: {stateless: true, depends_on: [db], run: {command: 'sleep 61', restart: no, log: 2.log}}
",
    );
    let guardian = shop
        .command(&["up", "--watch"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _guardian = Watching(guardian);
    let runs = |service: &str| shop.state(service)["run"] == "running";
    shop.until("all is up", || runs("db") && runs("api"));
    assert_eq!(shop.run(&["stop", "api"]).code, 0);
    let unit = shop.state("db")["unit"].as_str().unwrap().to_owned();
    let pid = unit.strip_prefix("process ").unwrap().to_owned();
    let killed = std::process::Command::new("kill")
        .args(["-9", &pid])
        .status()
        .unwrap();
    assert!(killed.success());
    shop.until("it runs as another process", || {
        runs("db") && shop.state("db")["unit"] != unit
    });
    assert_eq!(shop.state("api")["run"], "stopped");
}

#[test]
fn a_followed_log_ends_when_nobody_reads_it_any_more() {
    let shop = Services::new(
        "  beat: {stateless: true, run: {command: 'while :; do echo beat; sleep 0.05; done', log: 1.log}}\n",
    );
    assert_eq!(shop.run(&["up"]).code, 0);
    let mut logs = shop
        .command(&["logs", "beat", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 4];
    std::io::Read::read_exact(&mut logs.stdout.take().unwrap(), &mut line).unwrap();
    // The reader is gone from here on.
    let mut logs = Watching(logs);
    shop.until("it ends", || logs.0.try_wait().unwrap().is_some());
    assert_eq!(logs.0.wait().unwrap().code(), Some(0));
}
