//! A whole Compose project into a vault, everything of it destroyed, and all of it back.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rekindle_testing::{
    docker::{Engine, Image, Project},
    postgres::Major,
    servers::{ACCESS_KEY, SECRET_KEY},
    skip,
};
use support::Home;

const COMPOSE: &str = r#"
version: "3.8"
services:
  db:
    image: rekindle-test/postgres:15
    environment: { POSTGRES_PASSWORD: geheim, POSTGRES_DB: shop }
    volumes: [ "pgdata:/var/lib/postgresql/data" ]
    healthcheck: { test: ["CMD-SHELL", "pg_isready -U postgres -d shop -h 127.0.0.1"], interval: 1s, timeout: 2s, retries: 60 }
  cache:
    image: rekindle-test/redis:7
    command: ["redis-server", "--appendonly", "yes", "--protected-mode", "no"]
    volumes: [ "cachedata:/data" ]
  store:
    image: rekindle-test/s3:1
    volumes: [ "objects:/data" ]
  app:
    image: rekindle-test/app:1
    volumes: [ "appdata:/data" ]
    depends_on: { db: { condition: service_healthy }, cache: { condition: service_started }, store: { condition: service_healthy } }
  console:
    image: rekindle-test/app:1
    profiles: [ "debug" ]
    volumes: [ "consoledata:/data" ]
    depends_on: [ db ]
volumes: { pgdata: {}, cachedata: {}, objects: {}, appdata: {}, consoledata: {} }
"#;

/// The project, running, with data in every service.
struct World {
    engine: Engine,
    shop: Project,
    home: Home,
}

impl World {
    fn start() -> Option<Self> {
        let engine = Engine::start_or_skip()?;
        for image in [
            Image::Postgres(Major::V15),
            Image::Redis,
            Image::S3,
            Image::App,
        ] {
            skip::unless_available(engine.load(&image))?;
        }
        let shop = skip::unless_available(engine.project("shop", COMPOSE))?;
        shop.up().unwrap();
        shop.wait_healthy("app");
        let world = Self {
            engine,
            shop,
            home: Home::with_vault(),
        };
        world.configure();
        world.fill();
        Some(world)
    }

    /// The directory of this machine that a volume is.
    fn volume(&self, name: &str) -> PathBuf {
        let name = format!("shop_{name}");
        let place = self
            .engine
            .run(["volume", "inspect", "-f", "{{.Mountpoint}}", &name]);
        PathBuf::from(place.trim())
    }

    fn configure(&self) {
        self.home.write("db-password", "geheim\n");
        self.home
            .write("store-keys", &format!("{ACCESS_KEY}:{SECRET_KEY}\n"));
        let text = format!(
            "stack: shop
runtime: {{ kind: compose, project: shop }}
vault: {{ at: vault, password_file: vault-password }}
services:
  db:
    datasets:
      - kind: postgres
        url: \"postgres://postgres@db:5432/postgres\"
        password_file: db-password
        data_directory: {:?}
        logical: [shop]
  cache:
    datasets: [ {{ kind: redis, url: \"redis://cache:6379\" }} ]
  store:
    datasets:
      - kind: s3
        endpoint: \"http://store:9000\"
        buckets: [media]
        credentials_file: store-keys
  app:
    datasets: [ {{ kind: files, paths: [{:?}] }} ]
    depends_on: [db, cache, store]
    during_backup: pause
  console:
    stateless: true
    optional: true
    depends_on: [db]
",
            self.volume("pgdata"),
            self.volume("appdata")
        );
        self.home.write("rekindle.yaml", &text);
    }

    fn fill(&self) {
        self.psql("create table orders as select n as id, md5(n::text) as what from generate_series(1, 5000) n");
        self.redis("set greeting hello");
        self.redis("rpush basket apple pear");
        let uploads = self.volume("appdata");
        for number in 0..50 {
            fs::write(
                uploads.join(format!("{number}.txt")),
                number.to_string().repeat(100),
            )
            .unwrap();
        }
        // A bucket of rclone's S3 is a directory, and an object a file in it.
        let media = self.volume("objects").join("media");
        fs::create_dir_all(media.join("avatars")).unwrap();
        for number in 0..50 {
            let object = media.join(format!("avatars/{number}.png"));
            fs::write(object, format!("picture {number} ").repeat(200)).unwrap();
        }
        fs::write(media.join("large"), vec![7; 9 << 20]).unwrap();
    }

    fn psql(&self, sql: &str) -> String {
        let db = self.shop.container("db");
        let words = [
            "exec", &db, "psql", "-U", "postgres", "-d", "shop", "-Atc", sql,
        ];
        self.engine.run(words).trim().to_owned()
    }

    fn redis(&self, words: &str) -> String {
        let cache = self.shop.container("cache");
        let mut all = vec!["exec", &cache, "redis-cli", "--raw"];
        all.extend(words.split(' '));
        self.engine.run(all).trim().to_owned()
    }

    /// Everything that must be the same again.
    fn truth(&self) -> Vec<String> {
        let mut truth = vec![
            self.psql("select count(*), md5(string_agg(what, ',' order by id)) from orders"),
            self.redis("get greeting"),
            self.redis("lrange basket 0 -1"),
        ];
        for folder in ["appdata", "objects/media", "objects/media/avatars"] {
            let (volume, below) = folder.split_once('/').unwrap_or((folder, ""));
            truth.extend(files(&self.volume(volume).join(below)));
        }
        truth
    }

    fn rekindle(&self, words: &[&str]) -> String {
        let output = self
            .home
            .command(words)
            .env("DOCKER_HOST", self.engine.host())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn destroy(&self) {
        let containers = self.engine.run(["ps", "-aq"]);
        let containers: Vec<&str> = containers.split_whitespace().collect();
        self.engine
            .run([&["rm", "-f", "-v"], &*containers].concat());
        let volumes = self.engine.run(["volume", "ls", "-q"]);
        let volumes: Vec<&str> = volumes.split_whitespace().collect();
        self.engine.run([&["volume", "rm"], &*volumes].concat());
    }
}

/// Name and content of each file.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<String> = paths
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            format!("{name}: {}", fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_compose_project_comes_back_after_its_containers_and_volumes_are_gone() {
    let Some(world) = World::start() else { return };
    let before = world.truth();
    let said: serde_json::Value =
        serde_json::from_str(&world.rekindle(&["backup", "--json"])).unwrap();
    assert_eq!(said["point"]["datasets"].as_array().unwrap().len(), 4);
    assert!(said["skew_seconds"].as_f64().unwrap() >= 0.0);
    let app = world.shop.container("app");
    let paused = world
        .engine
        .run(["inspect", "-f", "{{.State.Paused}}", &app]);
    assert_eq!(paused.trim(), "false", "what rested goes on");

    world.destroy();
    // Containers and their empty volumes, not started yet.
    world.shop.compose(["up", "--no-start"]).unwrap();
    for (service, volume, owner) in [
        ("db", "pgdata", "999:999"),
        ("cache", "cachedata", "998:998"),
    ] {
        let to = world.volume(volume).display().to_string();
        world.rekindle(&[
            "restore",
            "--service",
            service,
            "--to",
            &to,
            "--owner",
            owner,
        ]);
    }
    let uploads = world.volume("appdata");
    world.rekindle(&["restore", "--service", "app", "--in-place", "--yes"]);
    assert!(uploads.join("7.txt").exists());
    world.rekindle(&["service", "start", "store"]);
    let restored = world.rekindle(&[
        "restore",
        "--service",
        "store",
        "--to",
        "s3://media",
        "--json",
    ]);
    let restored: serde_json::Value = serde_json::from_str(&restored).unwrap();
    assert_eq!(restored["plan"]["makes_bucket"], true, "{restored:#}");
    assert_eq!(restored["report"]["written"], 51, "{restored:#}");
    world.rekindle(&["service", "up"]);
    world.shop.wait_healthy("app");
    assert_eq!(world.truth(), before);
    assert_eq!(
        world.shop.containers("console"),
        [""; 0],
        "a profile that is not asked for stays absent"
    );
}
