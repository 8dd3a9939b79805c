//! The project of these tests, and short words for what they do with it.

use std::time::{Duration, Instant};

use rekindle_runtimes::docker::{Docker, Endpoint};
use rekindle_runtimes::{ExecCommand, ExecStreams, Runtime, RuntimeError};
use rekindle_testing::docker::{Engine, Image, Project};
use rekindle_testing::skip;

/// An application with a health check, a cache that it waits for, and a service of a profile.
pub const SHOP: &str = r#"
version: "3.8"
services:
  cache:
    image: rekindle-test/redis:7
    command: ["redis-server", "--protected-mode", "no", "--appendonly", "yes"]
    volumes: [ "cache:/data" ]
  app:
    image: rekindle-test/app:1
    environment: { APP_MESSAGE: hello }
    volumes: [ "files:/data", "./conf:/conf:ro", "/scratch" ]
    restart: unless-stopped
    depends_on: { cache: { condition: service_healthy } }
  worker:
    image: rekindle-test/app:1
    profiles: [ "extra" ]
    command: ["sleep", "1000"]
volumes: { cache: {}, files: {} }
"#;

/// An engine with the project on it.
pub struct Shop {
    pub docker: Docker,
    pub project: Project,
    // Dropped last: it takes everything with it.
    pub engine: Engine,
}

/// Starts an engine with the images of the application and of Redis; skips loudly where there can be none.
#[track_caller]
pub fn engine() -> Option<Engine> {
    let engine = crate::start()?;
    for image in [Image::App, Image::Redis] {
        skip::unless_available(engine.load(&image))?;
    }
    Some(engine)
}

/// The project `shop`, running.
#[track_caller]
pub fn shop() -> Option<Shop> {
    shop_of(SHOP)
}

/// A project `shop` of another description, running.
#[track_caller]
pub fn shop_of(compose: &str) -> Option<Shop> {
    let engine = engine()?;
    let project = skip::unless_available(engine.project("shop", compose))?;
    std::fs::create_dir_all(project.dir().join("conf")).unwrap();
    std::fs::write(project.dir().join("conf/app.conf"), "colour=green\n").unwrap();
    project.up().unwrap();
    Some(Shop {
        docker: at(&engine, "shop"),
        project,
        engine,
    })
}

/// The runtime of a project on that engine.
pub fn at(engine: &Engine, project: &str) -> Docker {
    Docker::at(Endpoint::Socket(engine.socket()), project)
}

/// A command without input, as a shell would run it; its exit code, its output, its complaints.
pub fn sh(docker: &dyn Runtime, service: &str, script: &str) -> (i64, String, String) {
    let command = ExecCommand {
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        ..ExecCommand::default()
    };
    let (code, out, err) = run(docker, service, &command, None).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (code, text(out), text(err))
}

/// A command with input.
pub fn run(
    docker: &dyn Runtime,
    service: &str,
    command: &ExecCommand,
    mut input: Option<&[u8]>,
) -> Result<(i64, Vec<u8>, Vec<u8>), RuntimeError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams = ExecStreams {
        stdin: input
            .as_mut()
            .map(|bytes| bytes as &mut (dyn std::io::Read + Send)),
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    let outcome = docker.exec(service, command, streams)?;
    Ok((outcome.exit_code, stdout, stderr))
}

/// Waits for something that comes within seconds.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited a minute for: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
