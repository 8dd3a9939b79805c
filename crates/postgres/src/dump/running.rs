//! A tool of PostgreSQL's at work.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use zeroize::Zeroizing;

use super::{DumpError, Tools};
use crate::options::{ConnectOptions, Host, SslMode};

/// Of what a tool writes to stderr, this much is kept from the beginning, where the cause is.
const MAX_STDERR: usize = 64 << 10;

/// libpq reads these; only what we say of the connection is to count.
const FOREIGN_SETTINGS: [&str; 10] = [
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGHOSTADDR",
    "PGOPTIONS",
    "PGREQUIRESSL",
    "PGSSLNEGOTIATION",
    "PGTARGETSESSIONATTRS",
    "PGREQUIREAUTH",
    "PGCHANNELBINDING",
    "PGCLIENTENCODING",
];

const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A running tool. Dropping it ends the tool.
pub(super) struct Running {
    name: &'static str,
    child: Child,
    stderr: Option<JoinHandle<Vec<u8>>>,
    password: Option<Zeroizing<String>>,
}

impl Running {
    /// Starts `name` for a connection to `options`. The password goes through the environment,
    /// which only our own user can look at, never through the arguments.
    pub(super) fn start(
        tools: &Tools,
        name: &'static str,
        options: &ConnectOptions,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self, DumpError> {
        let tool = tools.path(name);
        let password = options.password();
        let mut command = tools.command(name);
        set_environment(
            &mut command,
            options,
            password.as_deref().map(String::as_str),
        );
        if tools.are_elsewhere() {
            // Where we reach the server is not where it is reached there.
            for variable in ["PGHOST", "PGPORT", "PGSSLMODE", "PGSSLROOTCERT"] {
                command.env_remove(variable);
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        configure(&mut command);
        let mut child = command
            .spawn()
            .map_err(|source| DumpError::Start { tool, source })?;
        let stderr = child
            .stderr
            .take()
            .map(|stderr| thread::spawn(move || kept(stderr)));
        Ok(Self {
            name,
            child,
            stderr,
            password,
        })
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for the tool's end. Anything but status 0 is an error.
    pub(super) fn finish(mut self) -> Result<(), DumpError> {
        let status = self.child.wait();
        let stderr = self.stderr();
        match status {
            Ok(status) if status.success() => {
                if !stderr.is_empty() {
                    tracing::warn!(tool = self.name, %stderr, "the tool warned");
                }
                Ok(())
            }
            Ok(status) => Err(self.failed(words(status), stderr)),
            Err(error) => Err(self.failed(error.to_string(), stderr)),
        }
    }

    fn failed(&self, status: String, stderr: String) -> DumpError {
        DumpError::ToolFailed {
            tool: self.name,
            status,
            stderr,
        }
    }

    fn stderr(&mut self) -> String {
        let bytes = self
            .stderr
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        match self.password.as_deref().map(String::as_str) {
            Some(password) if !password.is_empty() => text.replace(password, "***"),
            _ => text,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already waited for if all went well; then neither call does anything.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, so that the tool never waits for us, but keeps only the beginning.
fn kept(mut stderr: impl Read) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let room = MAX_STDERR.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    kept
}

fn words(status: ExitStatus) -> String {
    status.to_string()
}

fn set_environment(command: &mut Command, options: &ConnectOptions, password: Option<&str>) {
    for name in FOREIGN_SETTINGS {
        command.env_remove(name);
    }
    match &options.host {
        Host::Tcp(host) => command.env("PGHOST", host),
        Host::Unix(directory) => command.env("PGHOST", directory),
    };
    command
        .env("PGPORT", options.port.to_string())
        .env("PGUSER", &options.user)
        .env("PGDATABASE", &options.database)
        .env("PGAPPNAME", &options.application_name)
        .env("PGSSLMODE", options.ssl_mode.to_string())
        .env(
            "PGCONNECT_TIMEOUT",
            options.connect_timeout.as_secs().max(2).to_string(),
        )
        // Messages are read by us and by people reading our log.
        .env("LC_ALL", "C");
    match password {
        Some(password) => command
            .env("PGPASSWORD", password)
            .env("PGPASSFILE", "/dev/null"),
        None => command.env_remove("PGPASSWORD"),
    };
    match &options.ssl_root_cert {
        Some(path) => command.env("PGSSLROOTCERT", path),
        None if matches!(options.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull)
            && Path::new(SYSTEM_ROOTS).exists() =>
        {
            command.env("PGSSLROOTCERT", SYSTEM_ROOTS)
        }
        // A root certificate lying about in the home directory would change what `require` means.
        None => command.env("PGSSLROOTCERT", "/nonexistent"),
    };
}
