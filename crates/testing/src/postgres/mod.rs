//! Real PostgreSQL servers.
//!
//! ```no_run
//! use rekindle_testing::postgres::{Major, Mode, Postgres};
//!
//! let Some(mut pg) = Postgres::builder(Major::V17).checksums(true).start_or_skip() else { return };
//! pg.psql("create table t (id int)");
//! pg.stop(Mode::Fast).unwrap();
//! ```

mod builder;
mod client;
mod compare;
mod existing;
mod major;
mod running;
pub(crate) mod tls;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub use builder::{Auth, PostgresBuilder, Tls};
pub use client::Client;
pub use compare::{TableChecksums, TableSum, checksums_ok};
pub use existing::Existing;
pub use major::{Installation, Major};
pub(crate) use major::{cached_file, install_by, install_from_pypi};
pub use running::Mode;

use crate::TestingError;
use crate::process::{give_to_server_owner, make_reachable, set_mode};
use running::Process;

/// One server that this test started. Dropping it stops it and removes its directory.
pub struct Postgres {
    // Dropped in this order: first the process, then the directory it writes to.
    process: Process,
    client: Client,
    ca: Option<PathBuf>,
    config_dir: PathBuf,
    home: TempDir,
}

impl Postgres {
    /// Describes a new cluster; see [`PostgresBuilder::start`].
    pub fn builder(major: Major) -> PostgresBuilder {
        PostgresBuilder::new(major)
    }

    /// Starts a server on a directory that somebody restored, and waits until it is out of
    /// recovery. See [`Existing`] for what is overridden, and for a choice.
    ///
    /// # Errors
    /// [`TestingError::Server`] with the end of the log if it does not get there.
    pub fn open_existing(bin_dir: &Path, data_dir: &Path) -> Result<Self, TestingError> {
        Existing::new(bin_dir, data_dir).start()
    }

    /// Connection URL over TCP of the superuser and database `postgres`.
    pub fn url(&self) -> String {
        self.url_for(
            "postgres",
            &self.client.user,
            self.client.password.as_deref(),
        )
    }

    /// Connection URL over TCP; everything in it is percent-encoded.
    pub fn url_for(&self, database: &str, user: &str, password: Option<&str>) -> String {
        let secret = password.map_or_else(String::new, |word| format!(":{}", encode(word)));
        let (user, port, database) = (encode(user), self.port(), encode(database));
        format!("postgres://{user}{secret}@127.0.0.1:{port}/{database}")
    }

    /// Connection URL that demands TLS and trusts only the test's own CA; `None` without TLS.
    pub fn tls_url(&self) -> Option<String> {
        let ca = encode(&self.ca.as_ref()?.to_string_lossy());
        Some(format!(
            "{}?sslmode=verify-full&sslrootcert={ca}",
            self.url()
        ))
    }

    /// Connection URL over the Unix socket, as libpq writes it: the directory is in `host`.
    pub fn socket_url(&self) -> String {
        let secret = self
            .client
            .password
            .as_ref()
            .map_or_else(String::new, |w| format!(":{}", encode(w)));
        let (user, dir) = (
            encode(&self.client.user),
            encode(&self.socket_dir().to_string_lossy()),
        );
        format!(
            "postgres://{user}{secret}@/postgres?host={dir}&port={}",
            self.port()
        )
    }

    /// Its PGDATA.
    pub fn data_dir(&self) -> &Path {
        &self.process.data_dir
    }

    /// Where its programs are.
    pub fn bin_dir(&self) -> &Path {
        &self.client.bin_dir
    }

    /// TCP port of 127.0.0.1, and the number in the socket's name.
    pub fn port(&self) -> u16 {
        self.client.port
    }

    /// Directory of its Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.client.socket_dir
    }

    /// Directory of `postgresql.conf` and `pg_hba.conf`: PGDATA, unless they were moved out.
    pub fn config_dir(&self) -> &Path {
        &self.config_dir
    }

    /// Certificate of the CA that signed the server's, if TLS is on.
    pub fn ca_path(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// How to reach it: cheap to copy, and may outlive it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Prepares one of PostgreSQL's programs (`pg_dump`, `pgbench`) with the environment to reach
    /// this server as its superuser.
    pub fn tool(&self, program: &str) -> std::process::Command {
        self.client.tool(program)
    }

    /// Runs SQL in database `postgres` and returns its rows; see [`Client::try_psql`].
    ///
    /// # Panics
    /// If a statement fails.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        self.psql_db("postgres", sql)
    }

    /// Runs SQL in `database` and returns its rows; see [`Client::try_psql`].
    ///
    /// # Panics
    /// If a statement fails.
    #[track_caller]
    pub fn psql_db(&self, database: &str, sql: &str) -> String {
        self.client
            .try_psql(database, sql)
            .unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Runs SQL in database `postgres` and returns its rows, or psql's complaint.
    ///
    /// # Errors
    /// [`TestingError::Failed`].
    pub fn try_psql(&self, sql: &str) -> Result<String, TestingError> {
        self.client.try_psql("postgres", sql)
    }

    /// Makes an empty directory that the server may use as a tablespace.
    ///
    /// # Errors
    /// [`TestingError::File`].
    pub fn new_tablespace_dir(&self, name: &str) -> Result<PathBuf, TestingError> {
        let dir = self.home.path().join("tablespaces").join(name);
        std::fs::create_dir_all(&dir).map_err(TestingError::file("create", &dir))?;
        give_to_server_owner(&dir)?;
        set_mode(&dir, 0o700)?;
        Ok(dir)
    }

    /// Process id of the postmaster; `None` while stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// The end of the server's log.
    pub fn log(&self) -> String {
        self.process.log_tail()
    }

    /// Stops it and waits until it is gone. PGDATA stays until this is dropped.
    ///
    /// # Errors
    /// [`TestingError::Server`] if it is still there after a minute.
    pub fn stop(&mut self, mode: Mode) -> Result<(), TestingError> {
        self.process.stop(mode)
    }

    /// Kills the postmaster and all its children at once, as a crash of the machine would.
    ///
    /// # Errors
    /// [`TestingError::Server`] if a process survives.
    pub fn kill9(&mut self) -> Result<(), TestingError> {
        self.process.kill9()
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill9`](Self::kill9); no effect if it runs.
    ///
    /// # Errors
    /// [`TestingError::Server`] with the end of the log if it does not become ready.
    pub fn start(&mut self) -> Result<(), TestingError> {
        self.process.start(&mut self.client)
    }

    /// Stops it fast and starts it again, on the same port unless somebody took that.
    ///
    /// # Errors
    /// As [`stop`](Self::stop) and [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), TestingError> {
        self.stop(Mode::Fast)?;
        self.start()
    }

    /// Makes it read its configuration again.
    ///
    /// # Panics
    /// If it does not answer.
    #[track_caller]
    pub fn reload(&self) {
        self.psql("select pg_reload_conf()");
    }
}

/// The directory of one server: open for its user, and short enough for a socket's path.
fn new_home() -> Result<TempDir, TestingError> {
    let home = crate::process::temp_dir()?;
    give_to_server_owner(home.path())?;
    make_reachable(home.path())?;
    Ok(home)
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
