//! A machine with a systemd of its own, in a container. Never on this machine itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Engine, Image};
use crate::TestingError;
use crate::process::{output_with_input, run};
use crate::skip;

/// A second is usual; a busy machine takes longer.
const PATIENCE: Duration = Duration::from_secs(90);

const NAME: &str = "systemd";

/// A container whose first process is systemd, with a bus and a journal. It is gone when this is dropped.
///
/// Processes of this machine reach its bus at [`Self::bus`]; [`Self::shared`] is the same directory, under the same
/// path, in it and here.
pub struct Systemd {
    engine: Engine,
    dir: PathBuf,
}

impl Systemd {
    /// Starts one.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] where it cannot run: no private Docker engine, systemd not installed (installed is
    /// enough, it need not run), not allowed.
    pub fn start() -> Result<Self, TestingError> {
        let engine = Engine::start()?;
        engine.load(&Image::Systemd)?;
        let dir = engine.dir().join(NAME);
        for name in ["bus", "shared/units"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(TestingError::file("create", &path))?;
        }
        let systemd = Self { engine, dir };
        let mount = |name: &str, inside: &Path| {
            let here = systemd.dir.join(name);
            format!("--volume={}:{}", here.display(), inside.display())
        };
        let arguments = [
            "run".into(),
            "--detach".into(),
            format!("--name={NAME}"),
            "--network=none".into(),
            "--cap-add=SYS_ADMIN".into(),
            "--security-opt=seccomp=unconfined".into(),
            "--security-opt=apparmor=unconfined".into(),
            "--cgroupns=private".into(),
            "--tmpfs=/run".into(),
            "--tmpfs=/run/lock".into(),
            "--tmpfs=/tmp".into(),
            // An empty entry at the end stands for the usual places.
            format!("--env=SYSTEMD_UNIT_PATH={}:", systemd.units().display()),
            mount("bus", Path::new("/run/dbus")),
            mount("shared", &systemd.shared()),
            Image::Systemd.name(),
        ];
        run(&mut systemd.engine.docker(arguments.iter().map(String::as_str)))
            .map_err(|error| unavailable(error.to_string()))?;
        systemd.wait_until_running()?;
        Ok(systemd)
    }

    /// Starts one, or skips the test loudly.
    ///
    /// # Panics
    /// If it fails for another reason than not being available.
    #[track_caller]
    pub fn start_or_skip() -> Option<Self> {
        skip::unless_available(Self::start())
    }

    /// What `DBUS_SYSTEM_BUS_ADDRESS` must be to reach its bus.
    pub fn bus(&self) -> String {
        format!(
            "unix:path={}",
            self.dir.join("bus/system_bus_socket").display()
        )
    }

    /// A directory that it and this machine share, under the same path.
    pub fn shared(&self) -> PathBuf {
        self.dir.join("shared")
    }

    /// Where it looks for units first; below [`Self::shared`].
    fn units(&self) -> PathBuf {
        self.shared().join("units")
    }

    /// Writes a file where it looks for units: a unit, or `UNIT.d/NAME.conf`. It counts after [`Self::reload`].
    ///
    /// # Panics
    /// If it cannot be written.
    #[track_caller]
    pub fn unit(&self, name: &str, text: &str) -> PathBuf {
        let path = self.units().join(name);
        let written = fs::create_dir_all(path.parent().unwrap_or(&self.dir))
            .and_then(|()| fs::write(&path, text));
        assert!(written.is_ok(), "write {}: {written:?}", path.display());
        path
    }

    /// Reads all units anew.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn reload(&self) {
        self.run(&["systemctl", "daemon-reload"]);
    }

    /// The words that run a program in it, before the program's own.
    pub fn prefix(&self) -> Vec<String> {
        let host = self.engine.host();
        ["docker", "--host", &host, "exec", NAME]
            .map(str::to_owned)
            .to_vec()
    }

    /// Runs a program in it, and returns what it prints.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        let all = ["exec", NAME].into_iter().chain(words.iter().copied());
        self.engine.run(all)
    }

    /// Ends all that runs in it, bus included, as a machine without power does. The bus's socket stays.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn cut_power(&self) {
        self.engine.run(["kill", NAME]);
    }

    fn wait_until_running(&self) -> Result<(), TestingError> {
        let begun = Instant::now();
        let ask = ["exec", NAME, "systemctl", "is-system-running"];
        loop {
            let said = output_with_input(&mut self.engine.docker(ask), &[])?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            match said.trim() {
                "running" => return Ok(()),
                "degraded" => return Err(unavailable(self.failed_units())),
                _ if begun.elapsed() > PATIENCE => {
                    return Err(unavailable(format!("it is `{}`", said.trim())));
                }
                _ => sleep(Duration::from_millis(50)),
            }
        }
    }

    fn failed_units(&self) -> String {
        let ask = [
            "exec",
            NAME,
            "systemctl",
            "--failed",
            "--no-legend",
            "--plain",
        ];
        run(&mut self.engine.docker(ask)).unwrap_or_default()
    }
}

fn unavailable(why: String) -> TestingError {
    TestingError::Unavailable {
        what: "a container with systemd".into(),
        why,
    }
}
