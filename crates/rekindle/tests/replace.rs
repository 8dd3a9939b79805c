//! Files of a running service restored in place, taken back, and what becomes of the service when that fails.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;
use support::Home;

/// A service that runs, and its files.
struct World(Home);

impl World {
    fn new() -> Self {
        let home = Home::with_vault();
        fs::create_dir(home.join("data")).unwrap();
        home.write(
            "rekindle.yaml",
            "stack: shop
vault: { at: vault, password_file: vault-password }
services:
  app:
    datasets: [ { kind: files, paths: [data] } ]
    run: { command: 'exec sleep 600', log: app.log }
",
        );
        let world = Self(home);
        world.ok(&["service", "up"]);
        world
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.0.command(words);
        command.env("REKINDLE_RUN_DIR", self.0.join("run"));
        command.env("STATE_DIRECTORY", self.0.join("state"));
        command
    }

    /// Exit code and what was said.
    fn run(&self, words: &[&str]) -> (i32, String) {
        let output = self.command(words).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap(),
            String::from_utf8(said).unwrap(),
        )
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let (code, said) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {said}");
        said
    }

    fn runs(&self) -> bool {
        let output = self.command(&["service", "list", "--json"]).output();
        let listed: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        listed["services"][0]["run"] == "running"
    }

    fn write(&self, text: &str) {
        self.0.write("data/a", text);
    }

    fn text(&self) -> String {
        fs::read_to_string(self.0.join("data/a")).unwrap()
    }

    fn journal(&self) -> PathBuf {
        let folder = self.0.join("state/in-place");
        let stack = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
        stack.path().join("app.files.json")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.command(&["service", "down", "--limit", "1s"]).output();
    }
}

const IN_PLACE: [&str; 5] = ["restore", "--service", "app", "--in-place", "--yes"];
const UNDO: [&str; 4] = ["restore", "--undo", "--service", "app"];

#[test]
fn each_restore_is_taken_back_in_its_turn_and_the_service_goes_on() {
    let world = World::new();
    world.write("one");
    world.ok(&["backup"]);
    world.write("two");
    let (code, said) = world.run(&IN_PLACE[..4]);
    assert_eq!(code, 7, "{said}");
    assert!(said.contains("stop the service"), "{said}");
    assert_eq!(world.text(), "two", "a plan changes nothing");
    world.ok(&IN_PLACE);
    assert_eq!((world.text().as_str(), world.runs()), ("one", true));
    world.write("three");
    world.ok(&IN_PLACE);
    assert_eq!(world.text(), "one");
    world.ok(&UNDO);
    assert_eq!((world.text().as_str(), world.runs()), ("three", true));
    world.ok(&UNDO);
    assert_eq!((world.text().as_str(), world.runs()), ("two", true));
    let (code, said) = world.run(&UNDO);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("nothing of `app` is set aside"), "{said}");
}

#[test]
fn a_service_runs_on_its_old_data_when_the_point_cannot_be_read() {
    let world = World::new();
    let noise: String = (0..400_000_u64)
        .map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    world.write(&noise);
    world.ok(&["backup"]);
    world.write("two");
    world.ok(&["backup"]);
    world.ok(&IN_PLACE);
    world.write("three");
    let packs = fs::read_dir(world.0.join("vault/data")).unwrap();
    let packs = packs.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let largest = packs
        .map(|pack| pack.unwrap().path())
        .max_by_key(|pack| pack.metadata().unwrap().len());
    fs::remove_file(largest.unwrap()).unwrap();
    let points: Value = serde_json::from_slice(
        &world
            .command(&["points", "--json"])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    let first = points["points"][0]["id"].as_str().unwrap();
    let (code, said) = world.run(&["restore", first, "--service", "app", "--in-place", "--yes"]);
    assert_ne!(code, 0, "{said}");
    assert_eq!(
        (world.text().as_str(), world.runs()),
        ("three", true),
        "{said}"
    );
    // What the restore before set aside is still known.
    world.ok(&UNDO);
    assert_eq!(world.text(), "two");
}

#[test]
fn what_a_killed_restore_had_stopped_is_started_by_the_next_one_and_nothing_set_aside_is_forgotten()
{
    let world = World::new();
    world.write("one");
    world.ok(&["backup"]);
    world.write("two");
    world.ok(&IN_PLACE);
    // As it is after a kill between stopping the service and setting anything aside.
    let text = fs::read(world.journal()).unwrap();
    let mut record: Value = serde_json::from_slice(&text).unwrap();
    let earlier = serde_json::json!({
        "point": record["point"], "started": record["started"], "aside": record["aside"],
    });
    record["earlier"] = Value::Array(vec![earlier]);
    record["aside"] = Value::Null;
    record["stage"] = "stopping".into();
    record["was_running"] = true.into();
    fs::write(world.journal(), serde_json::to_vec(&record).unwrap()).unwrap();
    world.ok(&["service", "stop", "app"]);
    world.write("three");
    world.ok(&IN_PLACE);
    assert_eq!((world.text().as_str(), world.runs()), ("one", true));
    world.ok(&UNDO);
    assert_eq!(world.text(), "three");
    world.ok(&UNDO);
    assert_eq!(world.text(), "two");
}

#[test]
fn a_service_stays_stopped_while_its_data_is_in_no_order() {
    let world = World::new();
    world.write("one");
    world.ok(&["backup"]);
    world.write("two");
    world.ok(&IN_PLACE);
    let hidden = world.0.join("hidden");
    let aside = fs::read_dir(world.0.path()).unwrap();
    let aside = aside.map(|entry| entry.unwrap().path());
    let is_aside = |path: &PathBuf| path.to_string_lossy().contains(".rekindle-aside-");
    let aside = aside.into_iter().find(is_aside).unwrap();
    fs::rename(&aside, &hidden).unwrap();
    fs::rename(world.0.join("data"), world.0.join("elsewhere")).unwrap();
    let (code, said) = world.run(&UNDO);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("`app` stays stopped, because its data is not in order"),
        "{said}"
    );
    assert!(!world.runs());
    fs::rename(&hidden, &aside).unwrap();
    world.ok(&UNDO);
    assert_eq!((world.text().as_str(), world.runs()), ("two", true));
}
