//! Services that rest while their data is captured, and go on whatever happens.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::Home;

/// A writer that rests, and files that it writes.
struct World(Home);

impl World {
    /// With the hooks of the files' service; `LOG` is where they may write.
    fn new(before: &str, after: &str) -> Self {
        let home = Home::with_vault();
        fs::create_dir(home.join("data")).unwrap();
        home.write("data/a", "a");
        let world = Self(home);
        world.configure(before, after);
        assert_eq!(world.run(&["service", "up"]).0, 0);
        world
    }

    fn configure(&self, before: &str, after: &str) {
        let text = format!(
            "stack: shop
vault: {{ at: vault, password_file: vault-password }}
services:
  web:
    stateless: true
    during_backup: stop
    run: {{ command: 'echo $$ > web.pid; exec sleep 600', log: web.log }}
  uploads:
    datasets: [ {{ kind: files, paths: [data] }} ]
    hook_limit: 2s
    before_backup: {before:?}
    after_backup: {after:?}
"
        );
        self.0.write("rekindle.yaml", &text);
    }

    /// Exit code, what was printed, and what was said.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.0.command(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        (code, text(output.stdout), text(output.stderr))
    }

    /// A backup in the middle: its hook has noted that the writer rests.
    fn backup_until_it_rests(&self) -> Child {
        let mut backup = self.0.command(&["backup"]);
        let backup = backup.stdout(Stdio::null()).stderr(Stdio::null());
        let backup = backup.spawn().unwrap();
        let begun = Instant::now();
        while !self.0.join("resting").exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it never rests");
            thread::sleep(Duration::from_millis(10));
        }
        backup
    }

    fn web_runs(&self) -> bool {
        let listed: Value =
            serde_json::from_str(&self.run(&["service", "list", "--json"]).1).unwrap();
        let services = listed["services"].as_array().unwrap();
        let web = services.iter().find(|state| state["name"] == "web");
        web.unwrap()["run"] == "running"
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.join("hooks.log")).unwrap_or_default()
    }

    fn points(&self) -> usize {
        let listed: Value = serde_json::from_str(&self.run(&["points", "--json"]).1).unwrap();
        listed["points"].as_array().unwrap().len()
    }

    /// A hook that says in the log whether the writer runs.
    fn noting(word: &str) -> String {
        format!(
            "if kill -0 $(cat web.pid) 2>/dev/null; then s=runs; else s=rests; fi; echo {word} $s >> hooks.log"
        )
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self
            .0
            .command(&["service", "down", "--limit", "1s"])
            .output();
    }
}

#[test]
fn the_writer_rests_between_the_hooks_and_goes_on_afterwards() {
    let world = World::new(&World::noting("before"), &World::noting("after"));
    assert!(world.web_runs());
    let (code, _, said) = world.run(&["backup"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(world.log(), "before rests\nafter rests\n");
    assert!(world.web_runs());
    assert_eq!(world.points(), 1);
}

#[test]
fn a_hook_that_fails_or_hangs_leaves_no_point_and_everything_running() {
    let world = World::new("exit 3", &World::noting("after"));
    let (code, _, said) = world.run(&["backup"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("run `before_backup` of `uploads`: it ended with exit status: 3"),
        "{said}"
    );
    world.configure("sleep 60", &World::noting("after"));
    let (code, _, said) = world.run(&["backup"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("was not done within 2 s"), "{said}");
    assert_eq!(world.log(), "after rests\nafter rests\n");
    assert!(world.web_runs());
    assert_eq!(world.points(), 0);
}

#[test]
fn what_a_killed_backup_left_stopped_goes_on_with_the_next_one() {
    let world = World::new("touch resting; sleep 1.9", "true");
    let mut backup = world.backup_until_it_rests();
    backup.kill().unwrap();
    backup.wait().unwrap();
    assert!(!world.web_runs(), "nobody could start it again");
    world.configure("true", "true");
    let (code, _, said) = world.run(&["backup"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("web: an earlier run was killed while it rested; it goes on now"),
        "{said}"
    );
    assert!(world.web_runs());
}

#[test]
fn an_interrupt_wakes_what_rests_before_it_ends_the_program() {
    let world = World::new("touch resting; sleep 1.9", "echo after >> hooks.log");
    let mut backup = world.backup_until_it_rests();
    let pid = backup.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert_eq!(backup.wait().unwrap().code(), Some(130));
    assert!(world.web_runs());
    assert_eq!(world.log(), "after\n");
}

#[test]
fn a_service_whose_data_is_read_from_it_cannot_rest() {
    let home = Home::with_vault();
    home.write(
        "rekindle.yaml",
        "stack: shop
vault: { at: vault, password_file: vault-password }
services:
  cache:
    during_backup: pause
    datasets: [ { kind: redis, url: \"redis://127.0.0.1:1\" } ]
",
    );
    let ran = home.run(&["config", "check"]);
    assert_eq!(ran.code, 2);
    let said = ran.stdout + &ran.stderr;
    assert!(
        said.contains("must run during a backup: its redis dataset is read from it"),
        "{said}"
    );
}
