//! One private engine, and the script that cleans up after it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Image, Project};
use crate::TestingError;
use crate::process::{free_port, run, temp_dir};
use crate::skip;

/// Half a second is usual; a busy machine takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where engines of all test processes choose addresses that no other has.
const SLOTS: &str = "/var/tmp/rekindle-docker-slots";

const WARDEN: &str = include_str!("warden.sh");

/// A Docker engine that this test started. Dropping it removes it with all that it made.
pub struct Engine {
    warden: Child,
    orders: Option<ChildStdin>,
    dir: TempDir,
    port: Option<u16>,
}

impl Engine {
    /// Starts one that listens on a socket only.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] where engines cannot run: not root, not installed, not allowed.
    pub fn start() -> Result<Self, TestingError> {
        let mut engine = Self::prepare()?;
        engine.start_daemon()?;
        Ok(engine)
    }

    /// Starts one, or skips the test loudly.
    ///
    /// # Panics
    /// If it fails for another reason than not being available.
    #[track_caller]
    pub fn start_or_skip() -> Option<Self> {
        skip::unless_available(Self::start())
    }

    /// Starts one that listens on a port of 127.0.0.1 too, by TLS with certificates of client and server.
    /// `certificates` has `ca.pem`, `cert.pem`, `key.pem`, as `DOCKER_CERT_PATH` wants them.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_tls(certificates: &Path) -> Result<Self, TestingError> {
        let mut engine = Self::prepare()?;
        let port = free_port()?;
        engine.port = Some(port);
        let file = |name: &str| certificates.join(name).display().to_string();
        engine.order(&format!(
            "start --host=tcp://127.0.0.1:{port} --tlsverify --tlscacert={} --tlscert={} --tlskey={}",
            file("ca.pem"),
            file("cert.pem"),
            file("key.pem"),
        ))?;
        engine.wait_until_ready()?;
        Ok(engine)
    }

    /// The directory and the warden, but no engine yet: its socket does not exist.
    fn prepare() -> Result<Self, TestingError> {
        can_run()?;
        let dir = temp_dir()?;
        let script = dir.path().join("warden.sh");
        fs::write(&script, WARDEN).map_err(TestingError::file("write", &script))?;
        let mut command = Command::new("/bin/sh");
        command
            .arg(&script)
            .args([dir.path(), Path::new(SLOTS)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Whoever ends a test and its group must not end the one who cleans up.
            .process_group(0);
        let failed = |source| TestingError::Run {
            program: "warden.sh".into(),
            source,
        };
        let mut warden = command.spawn().map_err(failed)?;
        let orders = warden.stdin.take();
        let mut first = String::new();
        if let Some(said) = warden.stdout.take() {
            BufReader::new(said).read_line(&mut first).map_err(failed)?;
        }
        if !first.starts_with("slot ") {
            return Err(TestingError::Unexpected {
                what: "a range of addresses for an engine",
                found: first,
            });
        }
        Ok(Self {
            warden,
            orders,
            dir,
            port: None,
        })
    }

    /// What `DOCKER_HOST` must be to reach it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// Its port of 127.0.0.1, if it listens on one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Its directory, where tests may put files of theirs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes sure that it has an image; seconds the first time, well under one later.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] if the programs for it are not installed.
    pub fn load(&self, image: &Image) -> Result<(), TestingError> {
        let archive = image.archive()?;
        run(self.docker(["load", "--quiet", "--input"]).arg(archive)).map(drop)
    }

    /// Writes a Compose file for a project of that name; starts nothing.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] without Compose.
    pub fn project(&self, name: &str, compose: &str) -> Result<Project, TestingError> {
        Project::create(
            &self.host(),
            &self.dir.path().join("projects"),
            name,
            compose,
        )
    }

    /// Prepares a command of the stock client.
    pub fn docker<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new("docker");
        command
            .args(arguments)
            .env("DOCKER_HOST", self.host())
            .env_remove("DOCKER_TLS_VERIFY")
            .env_remove("DOCKER_CONTEXT");
        command
    }

    /// Runs a command of the stock client and returns what it prints, without the last line's end.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        match run(&mut self.docker(arguments)) {
            Ok(said) => said.trim_end().to_owned(),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Lets the engine's process hang, as one that waits for a dead disk; its socket still takes connections.
    ///
    /// # Errors
    /// [`TestingError::Unexpected`] if it is not running.
    pub fn freeze(&self) -> Result<(), TestingError> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Self::freeze`].
    ///
    /// # Errors
    /// As [`Self::freeze`].
    pub fn thaw(&self) -> Result<(), TestingError> {
        self.signal(Signal::CONT)
    }

    /// Kills the engine's process, not the containers. Its socket stays and refuses connections.
    ///
    /// # Errors
    /// As [`Self::freeze`].
    pub fn kill(&self) -> Result<(), TestingError> {
        self.signal(Signal::KILL)
    }

    /// Starts the engine's process again after [`Self::kill`].
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] with its last words if it does not come up.
    pub fn start_daemon(&mut self) -> Result<(), TestingError> {
        // Left by one that was killed, it would be taken for that of a running one.
        let _ = fs::remove_file(self.dir.path().join("pid"));
        self.wait_for_the_end_of_containerd();
        self.order("start")?;
        self.wait_until_ready()
    }

    /// It ends a moment after the engine that started it, and until then the next one takes it for alive.
    fn wait_for_the_end_of_containerd(&self) {
        let file = self.dir.path().join("run/containerd/containerd.pid");
        let pid = fs::read_to_string(&file).unwrap_or_default();
        let process = Path::new("/proc").join(pid.trim());
        let start = Instant::now();
        while !pid.trim().is_empty()
            && process.exists()
            && start.elapsed() < Duration::from_secs(10)
        {
            sleep(Duration::from_millis(20));
        }
        let _ = fs::remove_file(file);
    }

    fn order(&mut self, line: &str) -> Result<(), TestingError> {
        let told = self.orders.as_mut().map(|pipe| writeln!(pipe, "{line}"));
        match told {
            Some(Err(source)) => Err(TestingError::Run {
                program: "warden.sh".into(),
                source,
            }),
            _ => Ok(()),
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), TestingError> {
        let path = self.dir.path().join("pid");
        let text = fs::read_to_string(&path).map_err(TestingError::file("read", &path))?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        let sent = pid.map(|pid| kill_process(pid, signal));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(TestingError::Unexpected {
                what: "a running engine",
                found: text,
            }),
        }
    }

    fn wait_until_ready(&mut self) -> Result<(), TestingError> {
        let start = Instant::now();
        let socket = self.socket();
        while start.elapsed() < PATIENCE {
            if answers(&socket) {
                return Ok(());
            }
            // An engine that may not run here ends at once, and says why.
            if start.elapsed() > Duration::from_secs(3) && !self.is_alive() {
                break;
            }
            sleep(Duration::from_millis(20));
        }
        Err(TestingError::Unavailable {
            what: "a private Docker engine".into(),
            why: self.last_words(),
        })
    }

    fn is_alive(&self) -> bool {
        let pid = fs::read_to_string(self.dir.path().join("pid")).unwrap_or_default();
        !pid.trim().is_empty() && Path::new("/proc").join(pid.trim()).exists()
    }

    /// The end of the engine's log.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let mut lines: Vec<&str> = log.lines().rev().take(8).collect();
        lines.reverse();
        lines.join("\n")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The end of its orders is the order to clean up.
        drop(self.orders.take());
        let _ = self.warden.wait();
    }
}

fn can_run() -> Result<(), TestingError> {
    let unavailable = |why: &str| {
        Err(TestingError::Unavailable {
            what: "a private Docker engine".into(),
            why: why.into(),
        })
    };
    if !rustix::process::geteuid().is_root() {
        return unavailable("only root can start one");
    }
    for program in ["dockerd", "containerd", "docker", "ip"] {
        if !is_installed(program) {
            return unavailable(&format!(
                "there is no program `{program}`; `make deps` installs it"
            ));
        }
    }
    Ok(())
}

/// Whether a program of that name can be found.
pub(super) fn is_installed(program: &str) -> bool {
    let places =
        std::env::var("PATH").unwrap_or_default() + ":/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    places
        .split(':')
        .any(|dir| Path::new(dir).join(program).exists())
}

fn answers(socket: &Path) -> bool {
    let asked = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    };
    asked().is_ok_and(|said| said.contains("200 OK"))
}
