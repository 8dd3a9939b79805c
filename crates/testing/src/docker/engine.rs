//! One private engine.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::health::HealthChecks;
use super::warden::Warden;
use super::{Image, Project};
use crate::TestingError;
use crate::process::{free_port, run, temp_dir};
use crate::skip;

/// Half a second is usual; a busy machine takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Docker,
    Podman,
}

impl Kind {
    fn socket(self) -> &'static str {
        match self {
            Self::Docker => "docker.sock",
            Self::Podman => "podman.sock",
        }
    }

    /// The programs without which there can be none. The client of tests is Docker's, whichever engine it is.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["dockerd", "containerd", "docker", "ip"],
            Self::Podman => &["podman", "netavark", "unshare", "iptables", "docker", "ip"],
        }
    }

    fn unavailable(self, why: String) -> TestingError {
        TestingError::Unavailable {
            what: match self {
                Self::Docker => "a private Docker engine".into(),
                Self::Podman => "a private Podman".into(),
            },
            why,
        }
    }
}

/// A Docker engine, or Podman, that this test started. Dropping it removes it with all that it made.
pub struct Engine {
    // Dropped first: it takes the directory with it.
    warden: Warden,
    _health: Option<HealthChecks>,
    kind: Kind,
    tried: OnceLock<()>,
    dir: TempDir,
    port: Option<u16>,
}

impl Engine {
    /// Starts one that listens on a socket only.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] where engines cannot run: not root, not installed, not allowed.
    pub fn start() -> Result<Self, TestingError> {
        let mut engine = Self::prepare(None)?;
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

    /// Starts Podman's service, which answers as a Docker engine does. Its networks are none of this machine's: what
    /// listens in its containers, or is published, is not reached from here.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] where it cannot run: not root, not installed, not allowed.
    pub fn start_podman() -> Result<Self, TestingError> {
        can_run(Kind::Podman)?;
        let dir = temp_dir()?;
        let mut engine = Self {
            warden: Warden::of_podman(dir.path())?,
            _health: Some(HealthChecks::of(dir.path().join(Kind::Podman.socket()))),
            kind: Kind::Podman,
            tried: OnceLock::new(),
            dir,
            port: None,
        };
        engine.start_daemon()?;
        Ok(engine)
    }

    /// Starts Podman's service, or skips the test loudly.
    ///
    /// # Panics
    /// As [`Self::start_or_skip`].
    #[track_caller]
    pub fn start_podman_or_skip() -> Option<Self> {
        skip::unless_available(Self::start_podman())
    }

    /// Starts one that listens on a port of 127.0.0.1 too, by TLS with certificates of client and server.
    /// `certificates` has `ca.pem`, `cert.pem`, `key.pem`, as `DOCKER_CERT_PATH` wants them.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_tls(certificates: &Path) -> Result<Self, TestingError> {
        let mut engine = Self::prepare(None)?;
        let port = free_port()?;
        engine.port = Some(port);
        let file = |name: &str| certificates.join(name).display().to_string();
        engine.start_with(&format!(
            "--host=tcp://127.0.0.1:{port} --tlsverify --tlscacert={} --tlscert={} --tlskey={}",
            file("ca.pem"),
            file("cert.pem"),
            file("key.pem"),
        ))?;
        Ok(engine)
    }

    /// The directory and the warden, but no engine yet: its socket does not exist.
    fn prepare(dockerd: Option<&Path>) -> Result<Self, TestingError> {
        can_run(Kind::Docker)?;
        let dir = temp_dir()?;
        Ok(Self {
            warden: Warden::of_docker(dir.path(), dockerd)?,
            _health: None,
            kind: Kind::Docker,
            tried: OnceLock::new(),
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
        self.dir.path().join(self.kind.socket())
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
    /// [`TestingError::Unavailable`] if the programs for it are not installed, or Podman can run no containers here.
    pub fn load(&self, image: &Image) -> Result<(), TestingError> {
        let archive = image.archive()?;
        run(self.docker(["load", "--quiet", "--input"]).arg(archive))?;
        match self.kind {
            Kind::Podman => self.try_container(image),
            Kind::Docker => Ok(()),
        }
    }

    /// Podman's service answers also where no container can run, or none with a network.
    fn try_container(&self, image: &Image) -> Result<(), TestingError> {
        if self.tried.get().is_some() {
            return Ok(());
        }
        let name = image.name();
        let lines: [&[&str]; 3] = [
            &["network", "create", "trial"],
            &[
                "run",
                "--rm",
                "--network=trial",
                "--entrypoint=sh",
                &name,
                "-c",
                ":",
            ],
            &["network", "rm", "trial"],
        ];
        for line in lines {
            match run(&mut self.docker(line.iter().copied())) {
                Err(TestingError::Failed { output, .. }) => {
                    let why = format!("no container runs in it: {output}");
                    return Err(self.kind.unavailable(why));
                }
                done => done?,
            };
        }
        let _ = self.tried.set(());
        Ok(())
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
        self.start_with("")
    }

    /// One that ends at once is started a second time: what could not run here cannot then either, and says so, while
    /// a containerd that took too long on a busy machine, or a name that was taken, are no reason to skip a test.
    fn start_with(&mut self, options: &str) -> Result<(), TestingError> {
        let first = self.start_once(options);
        if first.is_err() && self.warden.exit_code().is_some() {
            return self.start_once(options);
        }
        first
    }

    fn start_once(&mut self, options: &str) -> Result<(), TestingError> {
        // Left by one that was killed, it would be taken for that of a running one.
        let _ = fs::remove_file(self.dir.path().join("pid"));
        self.wait_for_the_end_of_containerd();
        self.warden.start(options)?;
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

    fn wait_until_ready(&self) -> Result<(), TestingError> {
        let start = Instant::now();
        let socket = self.socket();
        while start.elapsed() < PATIENCE {
            if answers(&socket) {
                return Ok(());
            }
            // An engine that may not run here ends at once, and says why.
            if let Some(code) = self.warden.exit_code() {
                return Err(self.unavailable(&format!("it ended with exit code {code}")));
            }
            sleep(Duration::from_millis(20));
        }
        let seconds = PATIENCE.as_secs();
        Err(self.unavailable(&format!("it did not answer within {seconds} s")))
    }

    /// What happened, and what the engine said of it; never nothing.
    fn unavailable(&self, what: &str) -> TestingError {
        self.kind.unavailable(match self.last_words() {
            words if words.is_empty() => format!("{what} and wrote no log"),
            words => format!("{what}; the end of its log:\n{words}"),
        })
    }

    /// The end of the engine's log.
    pub fn last_words(&self) -> String {
        let log = fs::read(self.dir.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let mut lines: Vec<&str> = log.lines().rev().take(8).collect();
        lines.reverse();
        lines.join("\n")
    }
}

fn can_run(kind: Kind) -> Result<(), TestingError> {
    if !rustix::process::geteuid().is_root() {
        return Err(kind.unavailable("only root can start one".into()));
    }
    match kind
        .programs()
        .iter()
        .find(|program| !is_installed(program))
    {
        Some(program) => Err(kind.unavailable(format!(
            "there is no program `{program}`; `make deps` installs it"
        ))),
        None => Ok(()),
    }
}

/// Whether a program of that name can be found.
pub(super) fn is_installed(program: &str) -> bool {
    let places = std::env::var("PATH").unwrap_or_default()
        + ":/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/podman:/usr/libexec/podman";
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "helpers of tests may panic")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// An engine whose program is this shell script.
    fn started(script: &str) -> Option<Result<Engine, TestingError>> {
        skip::unless_available(can_run(Kind::Docker))?;
        let dir = temp_dir().unwrap();
        let program = dir.path().join("dockerd");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut engine = Engine::prepare(Some(&program)).unwrap();
        Some(engine.start_daemon().map(|()| engine))
    }

    #[test]
    fn why_an_engine_did_not_start_is_said_even_if_it_says_nothing_itself() {
        let Some(silent) = started("exit 3") else {
            return;
        };
        let silent = silent.err().unwrap();
        assert!(silent.is_unavailable());
        let words = silent.to_string();
        assert!(
            words.ends_with("it ended with exit code 3 and wrote no log"),
            "{words}"
        );
        let loud = started("echo not allowed here; exit 1").unwrap();
        let words = loud.err().unwrap().to_string();
        assert!(words.contains("exit code 1"), "{words}");
        assert!(words.ends_with("not allowed here"), "{words}");
    }

    #[test]
    fn an_engine_that_ended_before_it_was_up_is_started_once_more() {
        let script = r#"
if [ -e "$0.tried" ]; then exec dockerd "$@"; fi
: >"$0.tried"
echo 'failed to start containerd: timeout' >&2
exit 1"#;
        // Where none can run at all, nothing can be said of the second time.
        if Engine::start_or_skip().is_none() {
            return;
        }
        let engine = started(script).unwrap().unwrap();
        assert!(!engine.run(["version"]).is_empty());
    }
}
