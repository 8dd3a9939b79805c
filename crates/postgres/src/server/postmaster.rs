//! What a server writes about itself into its data directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The content of `postmaster.pid`. Source: PostgreSQL's `utils/pidfile.h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postmaster {
    /// The server's process, as numbered where it runs.
    pub pid: u32,
    /// The data directory as the server knows it.
    pub data_directory: PathBuf,
    /// TCP port, and the number in the socket's name.
    pub port: u16,
    /// Directory of the first Unix socket, if there is one.
    pub socket_directory: Option<PathBuf>,
    /// Whether it says that it takes connections and is out of recovery.
    pub is_ready: bool,
}

impl Postmaster {
    /// Reads the lock file of a data directory. `None` if there is none: no server runs there, or
    /// one that was stopped in good order. If there is one, a server may run or have crashed.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] if it holds no process number.
    pub fn read(pgdata: &Path) -> Result<Option<Self>, Error> {
        let path = pgdata.join("postmaster.pid");
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map(Some).ok_or_else(|| Error::Damaged {
                what: path.display().to_string(),
                reason: "it does not begin with a process number".to_owned(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("read", &path, source)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        // A server in single-user mode has a negative number.
        let pid = lines.next()?.trim_start_matches('-').parse().ok()?;
        let data_directory = lines.next().unwrap_or_default().into();
        let port = lines.nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
        let socket_directory = lines
            .next()
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from);
        // Then: listen address, shared memory key, status.
        let is_ready = lines.nth(2).is_some_and(|status| status == "ready");
        Some(Self {
            pid,
            data_directory,
            port,
            socket_directory,
            is_ready,
        })
    }
}

/// How the server was last started: what follows its own name in `postmaster.opts`, each argument in
/// double quotes, as `pg_ctl -o` takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartOptions(String);

impl StartOptions {
    /// Options as they are written in `postmaster.opts`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads them; none if the file is not there, as in a directory that was just restored.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read(pgdata: &Path) -> Result<Self, Error> {
        let path = pgdata.join("postmaster.opts");
        match fs::read_to_string(&path) {
            // The program's path ends where the first quoted argument begins.
            Ok(text) => Ok(Self(
                text.trim()
                    .split_once(" \"")
                    .map_or_else(String::new, |(_, rest)| format!("\"{rest}")),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(Error::io("read", &path, source)),
        }
    }

    /// As `pg_ctl -o` takes them.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "what tests write need not survive a power cut"
)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_names_process_directory_port_and_socket() {
        let text = "4711\n/srv/pg\n1700000000\n5433\n/run/postgresql\nlocalhost\n  1 2\nready   \n";
        let found = Postmaster::parse(text).unwrap();
        assert_eq!((found.pid, found.port), (4711, 5433));
        assert_eq!(found.data_directory, Path::new("/srv/pg"));
        assert_eq!(
            found.socket_directory.as_deref(),
            Some(Path::new("/run/postgresql"))
        );
        assert!(found.is_ready);
        assert_eq!(Postmaster::parse("4711\n/srv/pg\n").unwrap().port, 0);
        assert!(Postmaster::parse("").is_none());
    }

    #[test]
    fn options_are_what_follows_the_programs_name() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(StartOptions::read(dir.path()).unwrap().as_str(), "");
        let text = "/opt/pg 15/bin/postgres \"-D\" \"/srv/a b\" \"-c\" \"port=5433\"\n";
        fs::write(dir.path().join("postmaster.opts"), text).unwrap();
        let options = StartOptions::read(dir.path()).unwrap();
        assert_eq!(options.as_str(), "\"-D\" \"/srv/a b\" \"-c\" \"port=5433\"");
    }
}
