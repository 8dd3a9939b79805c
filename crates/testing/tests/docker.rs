//! A private Docker engine: it runs what tests need, two of them do not meet, and nothing of it stays.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::fs;
use std::process::Command;

use rekindle_testing::docker::{Engine, Image};
use rekindle_testing::postgres::Major;
use rekindle_testing::skip;

const SHOP: &str = r#"
version: "3.8"
services:
  db:
    image: rekindle-test/postgres:15
    environment: { POSTGRES_PASSWORD: geheim, POSTGRES_DB: shop }
    volumes: [ "pgdata:/var/lib/postgresql/data" ]
    healthcheck: { test: ["CMD-SHELL", "pg_isready -U postgres -d shop -h 127.0.0.1"], interval: 1s, timeout: 2s, retries: 60 }
  cache:
    image: rekindle-test/redis:7
  app:
    image: rekindle-test/app:1
    depends_on: { db: { condition: service_healthy }, cache: { condition: service_started } }
volumes: { pgdata: {} }
"#;

/// Mounts, processes and bridges that name a directory or a range of addresses.
fn traces_of(dir: &str) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mut traces: Vec<String> = mounts
        .lines()
        .filter(|line| line.contains(dir))
        .map(str::to_owned)
        .collect();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(dir) {
            traces.push(line);
        }
    }
    traces.join("\n")
}

fn bridges() -> Vec<String> {
    let listed = Command::new("ip")
        .args(["-o", "link", "show", "type", "bridge"])
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    listed
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_project_with_a_database_comes_up_in_order_and_goes_without_a_trace() {
    let Some(engine) = Engine::start_or_skip() else {
        return;
    };
    for image in [Image::Postgres(Major::V15), Image::Redis, Image::App] {
        if skip::unless_available(engine.load(&image)).is_none() {
            return;
        }
    }
    let Some(shop) = skip::unless_available(engine.project("shop", SHOP)) else {
        return;
    };
    shop.up().unwrap();
    shop.wait_healthy("app");
    let db = shop.container("db");
    let user = engine.run([
        "exec",
        &db,
        "stat",
        "-c",
        "%u %a",
        "/var/lib/postgresql/data",
    ]);
    assert_eq!(user, "999 700");
    let answer = engine.run([
        "exec",
        "--env",
        "PGPASSWORD=geheim",
        &shop.container("db"),
        "psql",
        "-U",
        "postgres",
        "-h",
        "db",
        "-d",
        "shop",
        "-Atc",
        "select current_database()",
    ]);
    assert_eq!(
        answer, "shop",
        "by name, over the project's network, with a password"
    );
    assert_eq!(
        engine.run([
            "exec",
            &shop.container("cache"),
            "redis-cli",
            "-h",
            "cache",
            "ping"
        ]),
        "PONG"
    );
    let dir = engine.dir().display().to_string();
    let made = bridges();
    assert!(!traces_of(&dir).is_empty() && !made.is_empty());
    drop(engine);
    assert_eq!(traces_of(&dir), "");
    assert!(!std::path::Path::new(&dir).exists());
}

#[test]
fn two_engines_beside_each_other_do_not_meet_and_a_killed_one_leaves_nothing() {
    let (Some(one), Some(two)) = (Engine::start_or_skip(), Engine::start_or_skip()) else {
        return;
    };
    let compose = "version: '3.8'\nservices: { app: { image: 'rekindle-test/app:1' } }\n";
    for engine in [&one, &two] {
        if skip::unless_available(engine.load(&Image::App)).is_none() {
            return;
        }
        let Some(project) = skip::unless_available(engine.project("same", compose)) else {
            return;
        };
        project.up().unwrap();
        project.wait_healthy("app");
    }
    assert_eq!(one.run(["ps", "--quiet"]).lines().count(), 1);
    let address = |engine: &Engine| {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let id = engine.run(["ps", "--quiet"]);
        engine.run(["inspect", "--format", format, &id])
    };
    assert_ne!(address(&one), address(&two));
    let (dir, bridge) = (two.dir().display().to_string(), address(&two));
    two.kill().unwrap();
    drop(two);
    assert_eq!(traces_of(&dir), "");
    let addresses = Command::new("ip")
        .args(["-o", "-4", "addr"])
        .output()
        .unwrap();
    let net = format!("{}.", bridge.rsplit_once('.').unwrap().0);
    assert!(
        !String::from_utf8_lossy(&addresses.stdout).contains(&net),
        "a bridge in {net} stayed"
    );
    assert_eq!(
        one.run(["ps", "--quiet"]).lines().count(),
        1,
        "the other one is untouched"
    );
}

/// Control groups of a container.
fn groups_of(id: &str) -> String {
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-path"])
        .arg(format!("*{id}*"))
        .output()
        .unwrap();
    String::from_utf8_lossy(&found.stdout).into_owned()
}

#[test]
fn podman_answers_in_dockers_place_and_goes_without_a_trace_also_when_it_was_killed() {
    let Some(engine) = Engine::start_podman_or_skip() else {
        return;
    };
    if skip::unless_available(engine.load(&Image::App)).is_none() {
        return;
    }
    let compose = "version: '3.8'\nservices: { app: { image: 'rekindle-test/app:1' } }\n";
    let Some(shop) = skip::unless_available(engine.project("shop", compose)) else {
        return;
    };
    shop.up().unwrap();
    shop.wait_healthy("app");
    let id = shop.container("app");
    let dir = engine.dir().display().to_string();
    assert!(!groups_of(&id).is_empty() && !traces_of(&dir).is_empty());
    engine.kill().unwrap();
    drop(engine);
    assert_eq!(groups_of(&id), "");
    assert_eq!(traces_of(&dir), "");
    assert!(!std::path::Path::new(&dir).exists());
}
