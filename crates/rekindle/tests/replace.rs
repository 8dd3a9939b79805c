//! Files of a running service restored in place, taken back, and what becomes of the service when that fails.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use rekindle_testing::data::Random;
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

    /// Exit code and what was said.
    fn run(&self, words: &[&str]) -> (i32, String) {
        let output = self.0.command(words).output().unwrap();
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
        let output = self.0.command(&["service", "list", "--json"]).output();
        let listed: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        listed["services"][0]["run"] == "running"
    }

    fn write(&self, text: &str) {
        self.0.write("data/a", text);
    }

    fn text(&self) -> String {
        fs::read_to_string(self.0.join("data/a")).unwrap()
    }

    /// The pack that holds the data of the points, if that is the largest there is.
    fn largest_pack(&self) -> PathBuf {
        let packs = fs::read_dir(self.0.join("vault/data")).unwrap();
        let packs = packs.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
        let largest = packs
            .map(|pack| pack.unwrap().path())
            .max_by_key(|pack| pack.metadata().unwrap().len());
        largest.unwrap()
    }

    /// Text that no compression makes smaller than the trees of a vault.
    fn noise() -> String {
        let bytes = Random::new(7).bytes(64 << 10);
        bytes.iter().map(|byte| format!("{byte:x}")).collect()
    }

    /// What lies beside the files of the service under names of a restore.
    fn names_of_ours(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains(".rekindle-")).collect()
    }

    /// Two points of the same large file. What the second says of itself is in no pack that holds the file.
    fn back_up_noise(&self) -> String {
        let noise = Self::noise();
        self.write(&noise);
        self.ok(&["backup"]);
        self.ok(&["backup"]);
        noise
    }

    /// A restore that is killed while it builds: a pipe that nobody writes to stands where its data should be.
    fn kill_while_it_builds(&self) {
        let (pack, hidden) = (self.largest_pack(), self.0.join("hidden"));
        fs::rename(&pack, &hidden).unwrap();
        let made = Command::new("mkfifo").arg(&pack).status().unwrap();
        assert!(made.success());
        let mut child = Killed(
            self.0
                .command(&IN_PLACE)
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
        while !self
            .names_of_ours()
            .iter()
            .any(|name| name.starts_with(".data.rekindle-new-"))
        {
            assert!(child.0.try_wait().unwrap().is_none(), "it ended");
            sleep(Duration::from_millis(10));
        }
        assert!(self.runs(), "the service runs while its files are built");
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        fs::remove_file(&pack).unwrap();
        fs::rename(&hidden, &pack).unwrap();
    }

    fn change_journal(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read(self.journal()).unwrap();
        let mut record: Value = serde_json::from_slice(&text).unwrap();
        change(&mut record);
        fs::write(self.journal(), serde_json::to_vec(&record).unwrap()).unwrap();
    }

    fn journal(&self) -> PathBuf {
        let folder = self.0.join("state/in-place");
        let stack = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
        stack.path().join("app.files.json")
    }
}

/// A process that ends when its test does.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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
    world.write(&World::noise());
    world.ok(&["backup"]);
    world.write("two");
    world.ok(&["backup"]);
    world.ok(&IN_PLACE);
    world.write("three");
    fs::remove_file(world.largest_pack()).unwrap();
    let points: Value = serde_json::from_slice(
        &world
            .0
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

#[test]
fn a_service_runs_while_its_files_are_built_and_a_killed_build_is_cleared_by_whatever_comes_next() {
    let world = World::new();
    let old = world.back_up_noise();
    world.write("two");
    world.ok(&IN_PLACE);
    world.write("three");
    let aside = world.names_of_ours();

    world.kill_while_it_builds();
    assert_eq!((world.text().as_str(), world.runs()), ("three", true));
    let said = world.ok(&UNDO);
    assert!(said.contains("nothing had been changed"), "{said}");
    assert!(said.contains("1 earlier state still aside"), "{said}");
    assert_eq!(world.names_of_ours(), aside);

    world.kill_while_it_builds();
    let output = world
        .0
        .command(&[&IN_PLACE[..], &["--json"]].concat())
        .output();
    let done: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(done["was_stopped"], true, "{done}");
    let (outage, took) = (&done["outage_seconds"], &done["took_seconds"]);
    assert!(outage.as_f64().unwrap() <= took.as_f64().unwrap(), "{done}");
    assert_eq!((world.text(), world.runs()), (old, true));
    assert_eq!(world.names_of_ours().len(), 2, "no candidate is left");

    world.kill_while_it_builds();
    let said = world.ok(&["restore", "--discard", "--service", "app", "--yes"]);
    assert!(
        said.contains("what was being restored is removed"),
        "{said}"
    );
    assert_eq!(world.names_of_ours(), Vec::<String>::new());
    let (code, said) = world.run(&UNDO);
    assert_eq!(code, 1, "{said}");
}

#[test]
fn a_service_that_a_killed_restore_had_stopped_before_its_swap_is_started_by_an_undo() {
    let world = World::new();
    world.back_up_noise();
    world.write("two");
    world.kill_while_it_builds();
    // As it is after a kill once the service was stopped and before anything was renamed.
    world.change_journal(|record| {
        assert_eq!(record["stage"], "building");
        record["stage"] = "stopping".into();
        record["was_running"] = true.into();
    });
    world.ok(&["service", "stop", "app"]);
    let said = world.ok(&UNDO);
    assert!(said.contains("started the service"), "{said}");
    assert_eq!((world.text().as_str(), world.runs()), ("two", true));
    assert_eq!(world.names_of_ours(), Vec::<String>::new());
}

#[test]
fn a_restore_that_was_killed_while_it_started_the_service_is_done_and_its_service_is_started() {
    let world = World::new();
    world.write("one");
    world.ok(&["backup"]);
    world.write("two");
    world.ok(&IN_PLACE);
    world.change_journal(|record| {
        record["stage"] = "starting".into();
        record["was_running"] = true.into();
    });
    world.ok(&["service", "stop", "app"]);
    world.ok(&["restore", "--discard", "--service", "app", "--yes"]);
    assert_eq!((world.text().as_str(), world.runs()), ("one", true));
    assert_eq!(world.names_of_ours(), Vec::<String>::new());
}

#[test]
fn a_service_that_rests_is_left_at_rest_and_that_is_said() {
    let world = World::new();
    world.write("one");
    world.ok(&["backup"]);
    world.write("two");
    world.ok(&["service", "stop", "app"]);
    let said = world.ok(&IN_PLACE);
    assert!(
        said.contains("`app` was not running, and was not started"),
        "{said}"
    );
    assert_eq!((world.text().as_str(), world.runs()), ("one", false));
}

#[test]
fn an_imported_archive_takes_the_place_of_the_only_path_and_the_plan_says_how() {
    let world = World::new();
    world.write("now");
    world.0.write("a", "imported");
    let tar = Command::new("tar")
        .args(["-czf", "old.tar.gz", "a"])
        .current_dir(world.0.path())
        .status();
    assert!(tar.unwrap().success());
    world.ok(&[
        "import",
        "old.tar.gz",
        "--service",
        "app",
        "--tag",
        "legacy",
    ]);
    let words = ["restore", "legacy", "--service", "app", "--in-place"];
    let said = world.ok(&[&words[..], &["--dry-run"]].concat());
    assert!(
        said.contains("take all that is in the imported archive for"),
        "{said}"
    );
    world.ok(&[&words[..], &["--yes"]].concat());
    assert_eq!((world.text().as_str(), world.runs()), ("imported", true));
    world.ok(&UNDO);
    assert_eq!(world.text(), "now");
}
