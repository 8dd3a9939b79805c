//! What can go wrong between us and a PostgreSQL server.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::layout::ParseLayoutError;

/// What a server said when it refused or warned. Field meanings: PostgreSQL manual, "Error and
/// Notice Message Fields".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `WARNING` …, never translated.
    pub severity: String,
    /// Five characters, such as `42501`.
    pub sqlstate: String,
    /// One line for a person.
    pub message: String,
    /// More about it, if the server said more.
    pub detail: Option<String>,
    /// What to do about it, if the server suggested something.
    pub hint: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.sqlstate)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

/// Why something asked of a PostgreSQL server did not happen.
///
/// [`Error::While`] wraps these with what was being done; [`Error::root`] looks through it. Each
/// variant is one a caller would give another hint for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something failed in the course of something larger.
    #[error("{doing}")]
    While {
        /// What was being done, such as `create a replication slot`.
        doing: String,
        /// What went wrong.
        source: Box<Error>,
    },
    /// A connection URL that cannot be used.
    #[error("the connection URL cannot be used: {reason}")]
    Url {
        /// What is wrong with it; never contains the password.
        reason: String,
    },
    /// Nothing answers at that address.
    #[error("cannot reach PostgreSQL at {address}")]
    Unreachable {
        /// Host and port, or the socket's path.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// TLS was demanded, and the server offers none.
    #[error("the server at {address} does not offer TLS, and sslmode={mode} demands it")]
    TlsNotOffered {
        /// Host and port.
        address: String,
        /// The mode that demands it.
        mode: crate::SslMode,
    },
    /// TLS was offered but could not be used, for instance for a certificate nobody trusts.
    #[error("TLS with {address} failed: {reason}")]
    Tls {
        /// Host and port.
        address: String,
        /// What was wrong.
        reason: String,
    },
    /// The server did not accept the password.
    #[error("the server refused the password of user `{user}`: {source}")]
    WrongPassword {
        /// Who wanted in.
        user: String,
        /// What the server said.
        source: Box<ServerError>,
    },
    /// The server wants a password, and none was given.
    #[error("the server asks user `{user}` for a password, and none was given")]
    PasswordMissing {
        /// Who wanted in.
        user: String,
    },
    /// The server wants the password unencrypted over a network that anyone may listen on.
    #[error("the server asks for the password in clear text over a connection without TLS")]
    ClearTextRefused,
    /// The server wants a kind of login this client cannot do.
    #[error("the server asks for {method} authentication, which is not supported")]
    AuthenticationMethod {
        /// Which kind.
        method: String,
    },
    /// No line of `pg_hba.conf` lets this user in from here, or the role does not exist.
    #[error("the server does not let user `{user}` in: {source}")]
    LoginRefused {
        /// Who wanted in.
        user: String,
        /// What the server said.
        source: Box<ServerError>,
    },
    /// There is no database of that name.
    #[error("{source}")]
    DatabaseMissing {
        /// What the server said.
        source: Box<ServerError>,
    },
    /// The role lacks a right, for instance REPLICATION (SQLSTATE 42501).
    #[error("the role is not allowed to: {source}")]
    NotPermitted {
        /// What the server said.
        source: Box<ServerError>,
    },
    /// `wal_level` is below `replica`, or no replication is configured.
    #[error("the server is not configured for backups: {source}")]
    WalLevelTooLow {
        /// What the server said.
        source: Box<ServerError>,
    },
    /// All connections, walsenders or replication slots are in use (SQLSTATE 53300, 53400).
    #[error("the server has nothing free: {source}")]
    NothingFree {
        /// What the server said.
        source: Box<ServerError>,
    },
    /// The server is starting, stopping, or ended this connection (class 57P).
    #[error("the server is not available: {source}")]
    NotAvailable {
        /// What the server said.
        source: Box<ServerError>,
    },
    /// Any other refusal.
    #[error("{source}")]
    Server {
        /// What the server said.
        source: Box<ServerError>,
    },
    /// The connection broke.
    #[error("the connection to the server was lost")]
    ConnectionLost {
        /// What the operating system said.
        source: io::Error,
    },
    /// The server did not answer in time.
    #[error("the server did not answer for {} s", waited.as_secs())]
    TimedOut {
        /// How long was waited.
        waited: Duration,
    },
    /// The server sent what the protocol does not allow, or what this client does not know.
    #[error("unexpected answer of the server: {reason}")]
    Protocol {
        /// What was unexpected.
        reason: String,
    },
    /// The server's major version is not one of 13 to 18.
    #[error("PostgreSQL {major} is not supported; 13 to 18 are")]
    Version {
        /// The server's major version.
        major: u32,
    },
    /// Received WAL could not be kept for long, so the connection was given up.
    #[error("there was no room for more WAL for a minute")]
    NoRoom,
    /// WAL that is needed is not there any more.
    #[error("WAL that is needed is missing: {reason}")]
    WalMissing {
        /// Which, and what is known about it.
        reason: String,
    },
    /// A file or directory could not be read or written.
    #[error("{action} {path}")]
    Io {
        /// What was tried: `read`, `open`, …
        action: &'static str,
        /// Where.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Something on disk is not what PostgreSQL writes.
    #[error("{what} is damaged: {reason}")]
    Damaged {
        /// Which file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Name or number in an answer or a file that could not be read.
    #[error(transparent)]
    Layout(#[from] ParseLayoutError),
}

impl Error {
    /// The innermost error, without the wrappers that say what was being done.
    pub fn root(&self) -> &Error {
        match self {
            Self::While { source, .. } => source.root(),
            other => other,
        }
    }

    /// What the server said, if the server said something.
    pub fn server_error(&self) -> Option<&ServerError> {
        match self.root() {
            Self::WrongPassword { source, .. }
            | Self::LoginRefused { source, .. }
            | Self::DatabaseMissing { source }
            | Self::NotPermitted { source }
            | Self::WalLevelTooLow { source }
            | Self::NothingFree { source }
            | Self::NotAvailable { source }
            | Self::Server { source } => Some(source),
            _ => None,
        }
    }

    /// Whether the same attempt may succeed a little later without anyone changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.root(),
            Self::Unreachable { .. }
                | Self::ConnectionLost { .. }
                | Self::TimedOut { .. }
                | Self::NothingFree { .. }
                | Self::NotAvailable { .. }
                | Self::NoRoom
        )
    }

    /// Whether the connection is of no use any more.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(
            self.root(),
            Self::ConnectionLost { .. }
                | Self::TimedOut { .. }
                | Self::NotAvailable { .. }
                | Self::Protocol { .. }
        )
    }

    /// One sentence for a person about what to do next, where one is known.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self.root() {
            Self::Unreachable { .. } => "is the server running, and are host and port right?",
            Self::TlsNotOffered { .. } => {
                "turn on `ssl` in postgresql.conf, or choose another sslmode"
            }
            Self::Tls { .. } => "sslrootcert must name the CA that signed the server's certificate",
            Self::WrongPassword { .. } => "check user and password",
            Self::PasswordMissing { .. } => "give it in the configuration, PGPASSWORD or ~/.pgpass",
            Self::ClearTextRefused => "use sslmode=require, or scram-sha-256 in pg_hba.conf",
            Self::LoginRefused { .. } => {
                "pg_hba.conf needs a line for this user, address and database; for a backup over the wire, for `replication` too"
            }
            Self::DatabaseMissing { .. } => "is the database's name right?",
            Self::NotPermitted { .. } => {
                "the role needs REPLICATION (ALTER ROLE … REPLICATION); in place also the backup functions, as superuser or by GRANT"
            }
            Self::WalLevelTooLow { .. } => {
                "set wal_level = replica and max_wal_senders ≥ 2, then restart the server"
            }
            Self::NothingFree { .. } => {
                "a backup needs two free walsenders and one replication slot: raise max_wal_senders, max_replication_slots"
            }
            Self::NotAvailable { .. } => {
                "the server was starting or stopping; try again when it is up"
            }
            Self::ConnectionLost { .. } | Self::TimedOut { .. } => {
                "the server or the network went away in the middle; nothing was published"
            }
            Self::WalMissing { .. } => {
                "the server recycled it before it was copied; try again, with a role that may create replication slots"
            }
            _ => return None,
        })
    }

    /// An I/O error with what was tried and where.
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.display().to_string(),
            source,
        }
    }

    pub(crate) fn protocol(reason: impl Into<String>) -> Self {
        Self::Protocol {
            reason: reason.into(),
        }
    }
}

/// Sorts a server's refusal into the variant a caller would act on.
impl From<ServerError> for Error {
    fn from(source: ServerError) -> Self {
        let source = Box::new(source);
        match source.sqlstate.as_str() {
            "3D000" => Self::DatabaseMissing { source },
            "42501" => Self::NotPermitted { source },
            "53300" | "53400" => Self::NothingFree { source },
            "55000"
                if source.message.contains("wal_level") || source.message.contains("WAL level") =>
            {
                Self::WalLevelTooLow { source }
            }
            "55000" if source.message.contains("max_replication_slots") => {
                Self::NothingFree { source }
            }
            state if state.starts_with("57P0") => Self::NotAvailable { source },
            _ => Self::Server { source },
        }
    }
}

/// Says what was being done when something failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::While {
            doing: doing(),
            source: Box::new(source.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(sqlstate: &str, message: &str) -> Error {
        ServerError {
            sqlstate: sqlstate.into(),
            message: message.into(),
            ..ServerError::default()
        }
        .into()
    }

    #[test]
    fn refusals_are_sorted_by_what_a_caller_can_do() {
        assert!(matches!(
            refusal("3D000", ""),
            Error::DatabaseMissing { .. }
        ));
        assert!(matches!(refusal("42501", ""), Error::NotPermitted { .. }));
        assert!(matches!(refusal("53300", ""), Error::NothingFree { .. }));
        assert!(matches!(refusal("57P01", ""), Error::NotAvailable { .. }));
        let wal_level = "replication slots can only be used if \"wal_level\" >= \"replica\"";
        assert!(matches!(
            refusal("55000", wal_level),
            Error::WalLevelTooLow { .. }
        ));
        assert!(matches!(refusal("XX000", ""), Error::Server { .. }));
    }

    #[test]
    fn wrappers_hide_neither_kind_nor_hint() {
        let wrapped = Err::<(), _>(refusal("42501", "no"))
            .doing(|| "begin".into())
            .unwrap_err();
        assert_eq!(wrapped.to_string(), "begin");
        assert!(matches!(wrapped.root(), Error::NotPermitted { .. }));
        assert!(wrapped.hint().is_some());
    }
}
