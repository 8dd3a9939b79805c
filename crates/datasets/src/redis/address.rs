//! Where a server is and how it is spoken to.

use std::path::PathBuf;
use std::time::Duration;

use rekindle_stack::{self as stack, Secret, ServiceUrl};

use super::tls::Identity;

/// The port that Redis listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 6379;

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// By network.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// By a socket of this machine.
    Unix(PathBuf),
}

/// All that a connection needs. `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whether it is spoken to by TLS. Its certificate is verified.
    pub tls: bool,
    /// The name its certificate is of, if not the host's.
    pub tls_name: Option<String>,
    /// The authority its certificate is of; the system's own, if `None`.
    pub ca_file: Option<PathBuf>,
    /// The certificate that we show.
    pub identity: Option<Identity>,
    /// The user of its ACL; `default`, if `None`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// How long to wait for a connection.
    pub connect_limit: Duration,
    /// How long to wait for the next byte. A server sends one every 10 s while it makes a replica wait
    /// (`repl-ping-replica-period`).
    pub quiet_limit: Duration,
    /// What is shown of it, without secrets.
    pub shown: String,
}

impl RedisOptions {
    /// From the configuration.
    ///
    /// # Errors
    /// If the password cannot be read.
    pub fn from_settings(settings: &stack::RedisDataset) -> Result<Self, stack::SecretError> {
        let files = settings.cert_file.clone().zip(settings.key_file.clone());
        Ok(Self {
            ca_file: settings.ca_file.clone(),
            identity: files.map(|(cert_file, key_file)| Identity {
                cert_file,
                key_file,
            }),
            password: settings.read_password()?,
            ..Self::from_url(&settings.url)
        })
    }

    /// From a URL alone: `redis://`, `rediss://`, or `unix:///path/to/socket`.
    #[must_use]
    pub fn from_url(url: &ServiceUrl) -> Self {
        let endpoint = match (url.scheme(), url.hosts().first()) {
            ("unix", _) => Endpoint::Unix(socket_path(url.expose())),
            (_, Some((host, port))) => Endpoint::Tcp {
                host: host.clone(),
                port: port.unwrap_or(DEFAULT_PORT),
            },
            (_, None) => Endpoint::Tcp {
                host: "localhost".to_owned(),
                port: DEFAULT_PORT,
            },
        };
        Self {
            endpoint,
            tls: url.scheme() == "rediss",
            tls_name: None,
            ca_file: None,
            identity: None,
            user: url.user().map(str::to_owned),
            password: url.password().cloned(),
            connect_limit: Duration::from_secs(10),
            quiet_limit: Duration::from_secs(60),
            shown: url.to_string(),
        }
    }
}

/// What stands behind the scheme, user and password: a path from the root.
fn socket_path(url: &str) -> PathBuf {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or(rest);
    let path = rest.rsplit_once('@').map_or(rest, |(_, path)| path);
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> RedisOptions {
        let schemes = ["redis", "rediss", "unix"];
        RedisOptions::from_url(&ServiceUrl::parse(url, &schemes).unwrap())
    }

    #[test]
    fn urls_are_read_as_clients_of_redis_read_them() {
        let plain = options("redis://cache");
        let host = |host: &str, port| Endpoint::Tcp {
            host: host.into(),
            port,
        };
        assert_eq!(plain.endpoint, host("cache", 6379));
        assert!(!plain.tls && plain.user.is_none() && plain.password.is_none());
        let full = options("rediss://me:p%40ss@[::1]:7000/0");
        assert_eq!(full.endpoint, host("::1", 7000));
        assert!(full.tls);
        assert_eq!(full.user.as_deref(), Some("me"));
        assert_eq!(full.password.as_ref().map(Secret::expose), Some("p@ss"));
        assert!(!format!("{full:?}").contains("ss@"), "{full:?}");
        let socket = options("unix://:secret@/run/redis/redis.sock");
        assert_eq!(
            socket.endpoint,
            Endpoint::Unix("/run/redis/redis.sock".into())
        );
        assert_eq!(socket.password.as_ref().map(Secret::expose), Some("secret"));
    }
}
