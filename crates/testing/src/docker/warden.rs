//! The scripts that own an engine: each starts it when told to, and removes every trace of it in the end.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::TestingError;

/// Where engines of all test processes choose addresses that no other has.
const SLOTS: &str = "/var/tmp/rekindle-docker-slots";

const OF_DOCKER: &str = include_str!("warden.sh");
const OF_PODMAN: &str = include_str!("podman.sh");

/// A script that waits for orders. Dropping it is the order to clean up, which is waited for.
pub(super) struct Warden {
    process: Child,
    orders: Option<ChildStdin>,
    dir: PathBuf,
    starts: u32,
}

impl Warden {
    /// Begins one for a Docker engine in `dir`; nothing is started yet. `dockerd` is another program to start as engine,
    /// for tests of the fixture itself.
    pub(super) fn of_docker(dir: &Path, dockerd: Option<&Path>) -> Result<Self, TestingError> {
        let mut command = Command::new("/bin/sh");
        command
            .arg(script(dir, OF_DOCKER)?)
            .args([dir, Path::new(SLOTS)])
            .envs(dockerd.map(|program| ("REKINDLE_TEST_DOCKERD", program)));
        let (warden, first) = Self::begin(dir, command)?;
        if first.starts_with("slot ") {
            return Ok(warden);
        }
        Err(TestingError::Unexpected {
            what: "a range of addresses for an engine",
            found: first,
        })
    }

    /// Begins one for Podman in `dir`; nothing is started yet.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] where this process may have no namespaces of its own.
    pub(super) fn of_podman(dir: &Path) -> Result<Self, TestingError> {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "/bin/sh"])
            .arg(script(dir, OF_PODMAN)?)
            .arg(dir);
        let (warden, first) = Self::begin(dir, command)?;
        if first.starts_with("ready") {
            return Ok(warden);
        }
        let said = fs::read_to_string(dir.join("warden.log")).unwrap_or_default();
        Err(TestingError::Unavailable {
            what: "a private Podman".into(),
            why: format!("no namespaces of its own: {}", said.trim()),
        })
    }

    /// Starts the script, and waits for its first line.
    fn begin(dir: &Path, mut command: Command) -> Result<(Self, String), TestingError> {
        let log = dir.join("warden.log");
        let log = fs::File::create(&log).map_err(TestingError::file("create", &log))?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Whoever ends a test and its group must not end the one who cleans up.
            .process_group(0);
        let mut process = command.spawn().map_err(failed)?;
        let orders = process.stdin.take();
        let mut first = String::new();
        if let Some(said) = process.stdout.take() {
            BufReader::new(said).read_line(&mut first).map_err(failed)?;
        }
        let warden = Self {
            process,
            orders,
            dir: dir.into(),
            starts: 0,
        };
        Ok((warden, first))
    }

    /// Orders to start the engine, with more options.
    pub(super) fn start(&mut self, options: &str) -> Result<(), TestingError> {
        self.starts += 1;
        let told = self
            .orders
            .as_mut()
            .map(|pipe| writeln!(pipe, "start {options}"));
        told.unwrap_or(Ok(())).map_err(failed)
    }

    /// The exit code of the engine that was started last; `None` while it runs.
    pub(super) fn exit_code(&self) -> Option<String> {
        let file = self.dir.join(format!("ended.{}", self.starts));
        let text = fs::read_to_string(file).ok()?;
        Some(text.trim().to_owned()).filter(|code| !code.is_empty())
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        // The end of its orders is the order to clean up.
        drop(self.orders.take());
        let _ = self.process.wait();
    }
}

fn script(dir: &Path, text: &str) -> Result<PathBuf, TestingError> {
    let script = dir.join("warden.sh");
    fs::write(&script, text).map_err(TestingError::file("write", &script))?;
    Ok(script)
}

fn failed(source: std::io::Error) -> TestingError {
    TestingError::Run {
        program: "warden.sh".into(),
        source,
    }
}
