//! Where a server is and how to log in.

mod pgpass;
mod url;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::error::Error;

/// How much TLS is demanded; the meaning is libpq's. Source: PostgreSQL manual, "SSL Support".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server offers it; certificates are not looked at.
    #[default]
    Prefer,
    /// Always. The certificate is verified only if `sslrootcert` names a CA.
    Require,
    /// Always, with a certificate of a trusted CA.
    VerifyCa,
    /// Always, with a certificate of a trusted CA for this very host.
    VerifyFull,
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

impl FromStr for SslMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "disable" => Self::Disable,
            // libpq's `allow` tries without TLS first; who offers TLS is better served with it.
            "allow" | "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            other => {
                return Err(Error::Url {
                    reason: format!("unknown sslmode `{other}`"),
                });
            }
        })
    }
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name or an IP address.
    Tcp(String),
    /// The directory of the server's Unix socket.
    Unix(PathBuf),
}

/// Where a server is and how to log in. Its `Debug` shows no password.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Where the server listens.
    pub host: Host,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// The role to log in as.
    pub user: String,
    /// The database to log in to; replication connections use it only for `~/.pgpass`.
    pub database: String,
    /// How much TLS is demanded. Unix sockets never use TLS.
    pub ssl_mode: SslMode,
    /// PEM file with the CA certificates to trust; the system's otherwise.
    pub ssl_root_cert: Option<PathBuf>,
    /// How long to wait until a connection stands, per address.
    pub connect_timeout: Duration,
    /// How long the server may be silent in the middle of an answer.
    pub read_timeout: Duration,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
    password: Option<Zeroizing<String>>,
}

/// Where Debian's packages put the socket, and what an empty host means.
pub(crate) const DEFAULT_SOCKET_DIR: &str = "/var/run/postgresql";

impl ConnectOptions {
    /// Reads `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// `host` may be a percent-encoded socket directory or empty (`/var/run/postgresql`), or be
    /// given as `?host=`. Known parameters: `host`, `port`, `user`, `password`, `dbname`,
    /// `sslmode`, `sslrootcert`, `connect_timeout` (seconds), `application_name`.
    ///
    /// # Errors
    /// [`Error::Url`], which names what is wrong and never repeats the password.
    pub fn parse(url: &str) -> Result<Self, Error> {
        url::parse(url)
    }

    /// The same server with another password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Zeroizing::new(password.into()));
        self
    }

    /// The same server, another database.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> Self {
        self.database = database.into();
        self
    }

    /// The password to log in with: the one given, else `PGPASSWORD`, else the one in the password
    /// file (`PGPASSFILE` or `~/.pgpass`, ignored if others may read it).
    pub fn password(&self) -> Option<Zeroizing<String>> {
        let from_environment = || {
            std::env::var("PGPASSWORD")
                .ok()
                .filter(|p| !p.is_empty())
                .map(Zeroizing::new)
        };
        self.password
            .clone()
            .or_else(from_environment)
            .or_else(|| pgpass::find(self, &self.database))
    }

    /// Like [`Self::password`], for a connection without a database.
    pub(crate) fn password_for(&self, database: &str) -> Option<Zeroizing<String>> {
        self.clone().with_database(database).password()
    }

    /// Fixes the password that `other` finds, before the database it is looked up by changes.
    #[must_use]
    pub(crate) fn with_password_of(mut self, other: &Self) -> Self {
        self.password = other.password();
        self
    }

    /// The same server and user, another database.
    #[must_use]
    pub fn within(&self, database: &str) -> Self {
        self.clone().with_password_of(self).with_database(database)
    }

    /// Host and port, or the socket's path, for messages.
    pub fn address(&self) -> String {
        match &self.host {
            Host::Tcp(host) if host.contains(':') => format!("[{host}]:{}", self.port),
            Host::Tcp(host) => format!("{host}:{}", self.port),
            Host::Unix(_) => self.socket_path().unwrap_or_default().display().to_string(),
        }
    }

    /// The path of the Unix socket, if there is one.
    pub fn socket_path(&self) -> Option<PathBuf> {
        match &self.host {
            Host::Unix(directory) => Some(directory.join(format!(".s.PGSQL.{}", self.port))),
            Host::Tcp(_) => None,
        }
    }

    /// The user, address and database without any secret, for messages and manifests.
    pub fn redacted(&self) -> String {
        format!(
            "postgres://{}@{}/{}",
            self.user,
            self.address(),
            self.database
        )
    }

    pub(crate) fn for_socket(directory: &Path) -> Self {
        Self {
            host: Host::Unix(directory.to_owned()),
            port: 5432,
            user: String::new(),
            database: String::new(),
            ssl_mode: SslMode::default(),
            ssl_root_cert: None,
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(300),
            application_name: "rekindle".to_owned(),
            password: None,
        }
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("ssl_mode", &self.ssl_mode)
            .field("ssl_root_cert", &self.ssl_root_cert)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

impl FromStr for ConnectOptions {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        Self::parse(url)
    }
}
