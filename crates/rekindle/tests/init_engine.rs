//! `rekindle init` asks the engine: for a project by its name, for where volumes lie, and for what else there is.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic"
)]

mod support;

use std::fs;

use rekindle_testing::{
    docker::{Engine, Image, Project},
    skip,
};
use serde_json::Value;
use support::{Home, Ran};

const COMPOSE: &str = r#"
version: "3.8"
services:
  cache:
    image: rekindle-test/redis:7
    command: ["redis-server", "--appendonly", "yes", "--requirepass", "hunter2", "--protected-mode", "no"]
    volumes: [ "cachedata:/data" ]
    ports: [ "127.0.0.1::6379" ]
    restart: unless-stopped
  app:
    image: rekindle-test/app:1
    environment: { CACHE: "cache:6379" }
    volumes: [ "appdata:/data" ]
    depends_on: [ cache ]
volumes: { cachedata: {}, appdata: {} }
"#;

const MATRIX: &str = "
SERVICE  COMPONENT    STATEFUL  RESTORE  IN A RECOVERY
app      application  yes       yes      restore its files, then start
cache    Redis        yes       no       restore; empty, it costs sessions and cached answers
";

/// A project that runs on an engine whose volumes do not lie below `/var/lib/docker`.
struct World {
    engine: Engine,
    shop: Project,
    home: Home,
}

impl World {
    fn start() -> Option<Self> {
        let engine = Engine::start_or_skip()?;
        for image in [Image::Redis, Image::App] {
            skip::unless_available(engine.load(&image))?;
        }
        let shop = skip::unless_available(engine.project("shop", COMPOSE))?;
        shop.up().unwrap();
        Some(Self {
            engine,
            shop,
            home: Home::new(),
        })
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = self.home.command(words);
        let output = command.env("DOCKER_HOST", self.engine.host()).output();
        self.home.ran(&output.unwrap())
    }

    fn json(&self, words: &[&str]) -> Value {
        let mut command = self.home.command(&[words, &["--json"]].concat());
        let output = command.env("DOCKER_HOST", self.engine.host()).output();
        serde_json::from_slice(&output.unwrap().stdout).unwrap()
    }

    fn mountpoint(&self, volume: &str) -> String {
        self.engine
            .run(["volume", "inspect", "-f", "{{.Mountpoint}}", volume])
    }

    /// What `doctor` calls unprotected.
    fn unprotected(&self) -> Vec<String> {
        let found = self.json(&["doctor"]);
        let texts = found["findings"].as_array().unwrap().iter();
        let texts = texts.map(|finding| finding["text"].as_str().unwrap().to_owned());
        texts.filter(|text| text.contains("unprotected")).collect()
    }
}

#[test]
fn a_running_project_is_found_by_its_name_with_its_files_and_volumes() {
    let Some(world) = World::start() else { return };
    let ran = world.run(&["init", "--project", "shop"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown = world.json(&["config", "show"]);
    let file = world.shop.file().display().to_string();
    assert_eq!(shown["stack"], "shop");
    assert_eq!(shown["runtime"]["project"], "shop");
    assert_eq!(shown["runtime"]["files"], serde_json::json!([file]));
    let paths = &shown["services"]["app"]["datasets"][0]["paths"];
    let volume = world.mountpoint("shop_appdata");
    assert!(!volume.starts_with("/var/lib/docker/"), "{volume}");
    assert_eq!(paths, &serde_json::json!([volume]));
    assert_eq!(world.unprotected(), [""; 0]);

    // Where Docker usually keeps it there is nothing: what is named then covers nothing.
    let config = world.home.join("rekindle.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let usual = "/var/lib/docker/volumes/shop_appdata/_data";
    fs::write(&config, text.replace(&volume, usual)).unwrap();
    let found = world.unprotected();
    assert!(
        found.len() == 1 && found[0].starts_with("volume appdata"),
        "{found:?}"
    );
}

#[test]
fn a_project_whose_files_are_gone_is_read_from_its_containers() {
    let Some(world) = World::start() else { return };
    fs::remove_file(world.shop.file()).unwrap();
    let ran = world.run(&["init", "--project", "shop"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.ends_with(MATRIX), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("the containers of shop were asked"),
        "{}",
        ran.stderr
    );
    assert!(!(ran.stdout + &ran.stderr).contains("hunter2"));
    let shown = world.json(&["config", "show"]);
    let cache = &shown["services"]["cache"]["datasets"][0];
    let port = world
        .engine
        .run(["port", &world.shop.container("cache"), "6379"]);
    let port = port.rsplit(':').next().unwrap();
    assert_eq!(cache["kind"], "redis");
    assert_eq!(cache["url"], format!("redis://localhost:{port}"));
    assert_eq!(cache["include"], serde_json::json!(["rdb", "aof"]));
    let secret = world.home.join("rekindle-secrets/cache-password");
    assert_eq!(fs::read_to_string(secret).unwrap(), "hunter2");
    let paths = &shown["services"]["app"]["datasets"][0]["paths"];
    let volume = world.mountpoint("shop_appdata");
    assert_eq!(paths, &serde_json::json!([volume]));
    assert_eq!(world.unprotected(), [""; 0], "by the containers, too");
}

#[test]
fn what_is_not_found_is_told_with_what_there_is() {
    let Some(world) = World::start() else { return };
    let ran = world.run(&["init", "--project", "shopp"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("has no container of a project shopp")
            && ran.stderr.contains("there are containers of shop\n"),
        "{}",
        ran.stderr
    );
    let ran = world.run(&["init", "--stack", "mine", "--dry-run"]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr.contains("compose.yaml")
            && ran.stderr.contains("rekindle init --project shop\n"),
        "{}",
        ran.stderr
    );
}
