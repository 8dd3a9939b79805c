//! A command between a recovery point and the way back.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    path::Path,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use rekindle_testing::meilisearch_stand_in::{ADMIN_KEY, MeilisearchStandIn};
use serde_json::json;
use support::Home;

/// A stack with a search server, which is quick to capture.
struct Search {
    server: MeilisearchStandIn,
    home: Home,
}

impl Search {
    fn new() -> Self {
        let server = MeilisearchStandIn::start().unwrap();
        server.put("movies", "id", &[json!({ "id": 1 }), json!({ "id": 2 })]);
        let home = Home::with_vault();
        home.write("key", ADMIN_KEY);
        let yaml = format!(
            "stack: shop\nvault: {{ at: vault, password_file: vault-password }}\nretention: {{ last: 1, pre_change: 7d }}\nservices:\n  search: {{ datasets: [ {{ kind: \
             meilisearch, url: \"{}\", key_file: key, dump_directory: {:?} }} ] }}\n",
            server.url(),
            server.dump_directory()
        );
        home.write("rekindle.yaml", &yaml);
        Self { server, home }
    }

    fn run(&self, arguments: &[&str]) -> support::Ran {
        self.home.run(arguments)
    }
}

fn wait_for(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{}",
            path.display()
        );
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_command_that_works_leaves_a_point_to_come_back_to_and_its_own_exit_code() {
    let search = Search::new();
    let ran = search.run(&[
        "guard",
        "--tag",
        "pre-ingest",
        "--",
        "sh",
        "-c",
        "echo $0 $1; cat",
        "a b",
        "c",
    ]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "a b c\n"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains("recovery point ID of search/meilisearch"),
        "{}",
        ran.stderr
    );
    let points = search.home.json(&["points"]);
    assert_eq!(
        points["points"][0]["tags"],
        json!(["pre-change", "pre-ingest"])
    );
    search.home.ok(&["backup"]);
    let kept = search.home.ok(&["retention", "show"]);
    assert!(kept.contains("pre-change until"), "{kept}");
}

#[test]
fn a_command_that_fails_gives_its_exit_code_and_the_way_back_is_told() {
    let search = Search::new();
    let ran = search.run(&["guard", "--", "sh", "-c", "exit 7"]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let way = "rekindle restore ID --service search --in-place --yes";
    assert!(ran.stderr.contains(way), "{}", ran.stderr);
    assert_eq!(
        search
            .run(&["guard", "--", "sh", "-c", "kill -KILL $$"])
            .code,
        137
    );
    assert_eq!(
        search.run(&["guard", "--", "/nonexistent/program"]).code,
        127
    );
}

#[test]
fn what_failed_is_put_back_and_can_still_be_looked_at() {
    let search = Search::new();
    let (begun, changed) = (search.home.join("begun"), search.home.join("changed"));
    let script = "touch begun; while [ ! -e changed ]; do sleep 0.05; done; exit 3";
    let child = search
        .home
        .command(&[
            "guard",
            "--restore-on-failure",
            "--yes",
            "--",
            "sh",
            "-c",
            script,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&begun);
    search.server.put(
        "movies",
        "id",
        &[json!({ "id": 2, "spoilt": true }), json!({ "id": 3 })],
    );
    std::fs::write(&changed, "").unwrap();
    let ran = search.home.ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(ran.stdout, "", "the command printed nothing");
    let movies = search.server.documents("movies").unwrap();
    assert_eq!(
        movies,
        [json!({ "id": 1 }), json!({ "id": 2 })],
        "{}",
        ran.stderr
    );
    let aside = search
        .server
        .indexes()
        .into_iter()
        .find(|name| name.contains("__rekindle_"));
    assert_eq!(search.server.documents(&aside.unwrap()).unwrap().len(), 3);
}

#[test]
fn signals_are_the_commands_and_nobody_is_asked_without_a_terminal() {
    let search = Search::new();
    let begun = search.home.join("begun");
    let script = "trap 'exit 9' TERM; touch begun; while :; do sleep 0.05; done";
    let child = search
        .home
        .command(&["guard", "--restore-on-failure", "--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&begun);
    let guard = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(guard, rustix::process::Signal::TERM).unwrap();
    let ran = search.home.ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    assert!(ran.stderr.contains("nobody to ask"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("restore ID --service search"),
        "{}",
        ran.stderr
    );
}

#[test]
fn without_a_point_the_command_does_not_run() {
    let search = Search::new();
    search.server.fail_next("dumpCreation", "no space left");
    let ran = search.run(&["guard", "--", "touch", "ran"]);
    ran.fails_with(1, "no space left");
    assert!(!search.home.join("ran").exists());
    search
        .run(&["guard", "--service", "nobody", "--", "touch", "ran"])
        .fails_with(2, "nobody");
    assert!(!search.home.join("ran").exists());
}

#[test]
fn a_point_is_found_by_tag_and_by_time() {
    let search = Search::new();
    search.home.ok(&["backup", "--tag", "pre-ingest"]);
    search.server.put("movies", "id", &[json!({ "id": 3 })]);
    search.home.ok(&["backup"]);
    let first = search.home.json(&["points"])["points"][0].clone();
    let shown = |wanted: &str| search.home.json(&["points", "show", wanted])["id"].clone();
    assert_eq!(shown("pre-ingest"), first["id"]);
    assert_eq!(shown("tag:pre-ingest"), first["id"]);
    assert_ne!(shown("@2200-01-01 00:00Z"), first["id"]);
    assert_eq!(
        shown(&format!("@{}", first["time"].as_str().unwrap())),
        first["id"]
    );
    search.home.ok(&[
        "restore",
        "pre-ingest",
        "--service",
        "search",
        "--to",
        "back",
    ]);
    assert!(search.home.join("back/meilisearch.dump").exists());
    search
        .home
        .run(&["points", "show", "@2000-01-01 00:00Z"])
        .fails_with(1, "points` lists them");
    search
        .home
        .run(&["points", "show", "@someday"])
        .fails_with(1, "`someday` is no time");
    search
        .home
        .run(&["points", "show", "nobody"])
        .fails_with(1, "points` lists them");
    search.home.ok(&["backup", "--tag", "pre-ingest"]);
    let newest = search.home.run(&["points", "show", "pre-ingest"]);
    assert!(
        newest.stderr.contains("the newest counts"),
        "{}",
        newest.stderr
    );
}
