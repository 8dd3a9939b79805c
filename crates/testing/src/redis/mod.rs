//! Redis and Valkey servers of one's own.

mod client;
mod cluster;
mod data;
mod flavour;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use client::{Connection, Value};
pub use cluster::Cluster;
pub use data::FILLED;
pub use flavour::Flavour;

use crate::TestingError;
pub use crate::postgres::tls::Leaf;
use crate::postgres::tls::{Certificates, issue};
use crate::process::{as_server_owner, free_port, give_to_server_owner, temp_dir};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is not started yet.
pub struct Builder {
    flavour: Flavour,
    settings: Vec<(String, String)>,
    password: Option<String>,
    port: Option<u16>,
    tls: Option<Tls>,
}

/// How a server speaks TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Beside,
    Only(Leaf),
}

/// A server on a free port of 127.0.0.1 with a data directory of its own. Ended, by its id, when dropped.
pub struct Redis {
    flavour: Flavour,
    program: PathBuf,
    settings: Vec<(String, String)>,
    password: Option<String>,
    port: u16,
    tls_port: Option<u16>,
    child: Option<Child>,
    dir: TempDir,
}

impl Redis {
    /// Begins to describe one. Without settings it keeps an RDB when told, and no append-only file.
    #[must_use]
    pub fn builder(flavour: Flavour) -> Builder {
        Builder {
            flavour,
            settings: Vec::new(),
            password: None,
            port: None,
            tls: None,
        }
    }

    /// What it is.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Its port, without TLS; 0 if there is none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its port with TLS, if it has one.
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    /// The certificate of the authority that signed its own.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("tls/ca.pem")
    }

    /// A certificate and its key of the authority that signed its own, or of another one.
    ///
    /// # Errors
    /// [`TestingError::Run`] if `openssl` fails.
    pub fn issue(&self, leaf: Leaf) -> Result<(PathBuf, PathBuf), TestingError> {
        let place = self.dir.path().join("issued").join(format!("{leaf:?}"));
        if leaf == Leaf::OtherAuthority {
            Certificates::create(&place)?;
            return issue(&place, &place, leaf);
        }
        issue(&self.dir.path().join("tls"), &place, leaf)
    }

    /// Its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("data/redis.sock")
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let tail: Vec<_> = text.lines().rev().take(30).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends one command of words without spaces in them.
    ///
    /// # Errors
    /// [`TestingError::Run`] if it does not answer; a refusal is a [`Value::Error`].
    pub fn call(&self, command: &str) -> Result<Value, TestingError> {
        let words: Vec<_> = command.split(' ').map(str::as_bytes).collect();
        let mut connection = self.connect()?;
        connection.call(&words).map_err(failed)
    }

    /// Sends many commands on one connection.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_all(&self, commands: &[Vec<Vec<u8>>]) -> Result<Vec<Value>, TestingError> {
        self.connect()?.call_all(commands).map_err(failed)
    }

    /// A connection that is logged in.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn connect(&self) -> Result<Connection, TestingError> {
        let opened = match self.port {
            0 => Connection::open_socket(&self.socket()),
            port => Connection::open(port),
        };
        let mut connection = opened.map_err(failed)?;
        if let Some(password) = &self.password {
            let answer = connection.call(&[b"AUTH", password.as_bytes()]);
            answer.map_err(failed)?;
        }
        Ok(connection)
    }

    /// The value of a line of `INFO`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn info(&self, name: &str) -> Result<Option<String>, TestingError> {
        let text = self.call("INFO all")?.text();
        let found = text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then(|| value.trim().to_owned())
        });
        Ok(found)
    }

    /// Waits until a line of `INFO` has a value.
    ///
    /// # Errors
    /// [`TestingError::Server`] if it does not within a minute.
    pub fn wait_for_info(&self, name: &str, value: &str) -> Result<(), TestingError> {
        self.wait(&format!("`{name}` of INFO is not {value}"), |server| {
            server
                .info(name)
                .is_ok_and(|found| found.as_deref() == Some(value))
        })
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it in an orderly way: it saves if its settings say so.
    ///
    /// # Errors
    /// [`TestingError::Server`] if it does not end.
    pub fn stop(&mut self) -> Result<(), TestingError> {
        // It answers by closing the connection.
        let _ = self.call("SHUTDOWN");
        let start = Instant::now();
        while let Some(child) = &mut self.child {
            if matches!(child.try_wait(), Ok(Some(_))) {
                self.child = None;
            } else if start.elapsed() > PATIENCE {
                return Err(self.broken("it did not stop"));
            } else {
                sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// Starts it, on what lies in its data directory, and waits until that is loaded.
    ///
    /// # Errors
    /// [`TestingError::Server`] with its log if it does not come up.
    pub fn start(&mut self) -> Result<(), TestingError> {
        give_to_server_owner(&self.data_dir())?;
        let log_path = self.dir.path().join("log");
        let log = File::options().create(true).append(true).open(&log_path);
        let log = log.map_err(TestingError::file("create", &log_path))?;
        let mut command = Command::new(&self.program);
        command.arg(self.dir.path().join("redis.conf"));
        as_server_owner(&mut command)?;
        command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(log);
        let program = self.program.display().to_string();
        let child = command.spawn();
        self.child = Some(child.map_err(|source| TestingError::Run { program, source })?);
        self.wait("it did not become ready", |server| {
            matches!(server.call("DBSIZE"), Ok(Value::Int(_)))
        })
    }

    /// What it was started with of a setting; empty if it was not set.
    fn setting(&self, name: &str) -> &str {
        let all = self.settings.iter().rev();
        let found = all.clone().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value)
    }

    /// Changes a setting for the next start.
    ///
    /// # Errors
    /// [`TestingError::File`].
    pub fn set_for_next_start(&mut self, name: &str, value: &str) -> Result<(), TestingError> {
        self.settings.push((name.into(), value.into()));
        self.write_config()
    }

    fn write_config(&self) -> Result<(), TestingError> {
        let mut text = String::new();
        for (name, value) in &self.settings {
            text += &format!("{name} {value}\n");
        }
        let path = self.dir.path().join("redis.conf");
        fs::write(&path, text).map_err(TestingError::file("write", &path))?;
        give_to_server_owner(&path)
    }

    fn wait(&self, why: &str, ready: impl Fn(&Self) -> bool) -> Result<(), TestingError> {
        let start = Instant::now();
        while !ready(self) {
            if start.elapsed() > PATIENCE {
                return Err(self.broken(why));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn broken(&self, why: &str) -> TestingError {
        TestingError::Server {
            data_dir: self.data_dir(),
            why: why.into(),
            log: self.log(),
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Builder {
    /// Adds a line to its configuration.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Demands a password of everybody.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self.setting("requirepass", password)
    }

    /// Listens on this port, and not on any that is free.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Opens a second port, with TLS. Only Debian's Redis has it.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = Some(Tls::Beside);
        self
    }

    /// Opens a port with TLS and none without, also for replication. Only Debian's Redis has it.
    #[must_use]
    pub fn tls_only(mut self, certificate: Leaf) -> Self {
        self.tls = Some(Tls::Only(certificate));
        self.setting("tls-replication", "yes")
    }

    /// Starts it on an empty data directory.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] if this machine does not have it; else why it did not start.
    pub fn start(self) -> Result<Redis, TestingError> {
        let program = self.flavour.program()?;
        let dir = temp_dir()?;
        let data = dir.path().join("data");
        fs::create_dir(&data).map_err(TestingError::file("create", &data))?;
        let port = match (self.tls, self.port) {
            (Some(Tls::Only(_)), _) => 0,
            (_, Some(port)) => port,
            (_, None) => free_port()?,
        };
        let tls_port = self.tls.map(|_| free_port()).transpose()?;
        let mut settings = common_settings(self.flavour, port, &data);
        if let (Some(tls), Some(tls_port)) = (self.tls, tls_port) {
            settings.extend(tls_settings(tls, tls_port, dir.path())?);
        }
        settings.extend(self.settings);
        let mut redis = Redis {
            flavour: self.flavour,
            program,
            settings,
            password: self.password,
            port,
            tls_port,
            child: None,
            dir,
        };
        redis.write_config()?;
        redis.start()?;
        Ok(redis)
    }
}

fn common_settings(flavour: Flavour, port: u16, data: &Path) -> Vec<(String, String)> {
    let mut settings = vec![
        ("port".into(), port.to_string()),
        ("bind".into(), "127.0.0.1".into()),
        ("dir".into(), data.display().to_string()),
        (
            "unixsocket".into(),
            data.join("redis.sock").display().to_string(),
        ),
        ("save".into(), "\"\"".into()),
        // Or each capture would wait for more replicas to come.
        ("repl-diskless-sync".into(), "yes".into()),
        ("repl-diskless-sync-delay".into(), "0".into()),
    ];
    if flavour.has_append_directory() {
        settings.push(("enable-debug-command".into(), "yes".into()));
    }
    settings
}

fn tls_settings(tls: Tls, port: u16, dir: &Path) -> Result<Vec<(String, String)>, TestingError> {
    let place = dir.join("tls");
    let mut certificates = Certificates::create(&place)?;
    if let Tls::Only(leaf) = tls {
        let (certificate, key) = issue(&place, &place.join("own"), leaf)?;
        certificates.certificate = certificate;
        certificates.key = key;
    }
    certificates.give_to_server_owner()?;
    let path = |path: &Path| path.display().to_string();
    Ok(vec![
        ("tls-port".into(), port.to_string()),
        ("tls-cert-file".into(), path(&certificates.certificate)),
        ("tls-key-file".into(), path(&certificates.key)),
        ("tls-ca-cert-file".into(), path(&certificates.ca)),
        ("tls-auth-clients".into(), "no".into()),
    ])
}

fn failed(source: std::io::Error) -> TestingError {
    TestingError::Run {
        program: "a command of Redis".into(),
        source,
    }
}
