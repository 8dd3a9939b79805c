//! The world of containers, on a private engine.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use rekindle_runtimes::Runtime;
use rekindle_runtimes::docker::{Docker, Endpoint};
use rekindle_stack::Stack;
use rekindle_testing::docker::{Engine, Image};
use rekindle_testing::skip;
use rustix::process::{Pid, Signal, kill_process};

use crate::{World, common::write, keeps};

/// The first process of a container gets no signal that it has no handler for. `loop` has one, and ends with 0.
const COMPOSE: &str = r#"
version: "3.8"
x-service: &service
  image: rekindle-test/app:1
  healthcheck: { disable: true }
  command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
services:
  web:
    <<: *service
    environment: { COLOUR: blue }
    command: ["sh", "-c", "trap 'exit 0' TERM; echo web is up; sleep 0.1; touch /tmp/web.well; while :; do sleep 0.1; done"]
    healthcheck: { test: ["CMD", "test", "-e", "/tmp/web.well"], interval: 1s, timeout: 10s, retries: 60 }
  app:
    <<: *service
    depends_on: { web: { condition: service_healthy } }
  broken:
    <<: *service
    command: ["sh", "-c", "echo no luck; exit 3"]
  deaf:
    <<: *service
    command: ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]
  loyal:
    <<: *service
    restart: on-failure
  store:
    <<: *service
    volumes: [ "store:/data" ]
volumes: { store: {} }
"#;

const STACK: &str = "stack: s
vault: {at: v, password_env: P}
runtime: {kind: compose, project: promises}
services:
  web: {stateless: true}
  app: {stateless: true}
  broken: {stateless: true, optional: true}
  deaf: {stateless: true}
  loyal: {stateless: true}
  store: {stateless: true}
";

/// The project on an engine.
pub struct ComposeWorld {
    stack: Stack,
    docker: Docker,
    engine: Engine,
}

fn make() -> Option<ComposeWorld> {
    on(Engine::start_or_skip()?)
}

/// The project on that engine, made and not started.
pub fn on(engine: Engine) -> Option<ComposeWorld> {
    skip::unless_available(engine.load(&Image::App))?;
    let project = skip::unless_available(engine.project("promises", COMPOSE))?;
    project.compose(["up", "--no-start"]).unwrap();
    let format = "{{.Mountpoint}}";
    let volume = engine.run(["volume", "inspect", "--format", format, "promises_store"]);
    let kept = Path::new(&volume).join("kept");
    write(&kept, "kept bytes\n");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&kept, Some(1234), Some(1234)).unwrap();
    let file = engine.dir().join("rekindle.yaml");
    let loaded = Stack::parse(STACK, &file).unwrap_or_else(|error| panic!("{error}"));
    Some(ComposeWorld {
        stack: loaded.stack,
        docker: Docker::at(Endpoint::Socket(engine.socket()), "promises"),
        engine,
    })
}

impl World for ComposeWorld {
    fn stack(&self) -> &Stack {
        &self.stack
    }

    fn runtime(&self) -> &dyn Runtime {
        &self.docker
    }

    /// Not by the engine, which would take it for a wish.
    fn kill(&self, service: &str) {
        let unit = self.docker.state(service).unwrap().unit;
        let pid = self
            .engine
            .run(["inspect", "--format", "{{.State.Pid}}", &unit]);
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }
}

keeps!(each make);
