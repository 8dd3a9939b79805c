//! Where the engine is: what `DOCKER_HOST` says, else the sockets that Docker and Podman use.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::RuntimeError;

/// How an engine is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket of this machine.
    Socket(PathBuf),
    /// A host and port, in the clear: whoever can send to it, rules the machine it is on.
    Tcp(String),
    /// A host and port by TLS, with `ca.pem`, `cert.pem` and `key.pem` in a directory.
    Tls {
        /// Host and port.
        address: String,
        /// Where the certificates are.
        certificates: PathBuf,
    },
}

/// What decides: taken from the environment once, so that the choice itself can be tested.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// Whether `DOCKER_TLS_VERIFY` is set to anything.
    pub tls: bool,
    /// `DOCKER_CERT_PATH`.
    pub certificates: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        let path = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            host: env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()),
            tls: env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty()),
            certificates: path("DOCKER_CERT_PATH"),
            runtime_dir: path("XDG_RUNTIME_DIR"),
            home: path("HOME"),
        }
    }
}

/// Docker's own, where nothing else is said.
const DOCKER: &str = "/var/run/docker.sock";
const PODMAN: &str = "/run/podman/podman.sock";

impl Endpoint {
    /// Chooses: `DOCKER_HOST` if it is set, else the first socket that `exists` of Docker's own, rootless
    /// Docker's, Podman's, and rootless Podman's; Docker's own if there is none, so that errors name it.
    ///
    /// # Errors
    /// [`RuntimeError`] if `DOCKER_HOST` is of a kind that is not spoken here (`ssh://`).
    pub fn choose(
        surroundings: &Surroundings,
        exists: impl Fn(&Path) -> bool,
    ) -> Result<Self, RuntimeError> {
        if let Some(host) = &surroundings.host {
            return Self::of_host(host, surroundings);
        }
        let mut candidates = vec![PathBuf::from(DOCKER)];
        let own = surroundings.runtime_dir.as_deref();
        candidates.extend(own.map(|dir| dir.join("docker.sock")));
        candidates.push(PODMAN.into());
        candidates.extend(own.map(|dir| dir.join("podman/podman.sock")));
        let found = candidates.into_iter().find(|path| exists(path));
        Ok(Self::Socket(found.unwrap_or_else(|| DOCKER.into())))
    }

    fn of_host(host: &str, surroundings: &Surroundings) -> Result<Self, RuntimeError> {
        if let Some(path) = host.strip_prefix("unix://") {
            return Ok(Self::Socket(path.into()));
        }
        if host.starts_with('/') {
            return Ok(Self::Socket(host.into()));
        }
        let plain = host
            .strip_prefix("tcp://")
            .or_else(|| host.strip_prefix("http://"));
        let secure = host.strip_prefix("https://");
        let Some(address) = plain.or(secure) else {
            return Err(RuntimeError::Unreachable {
                runtime: format!("Docker at {host}"),
                source: "DOCKER_HOST must begin with unix:// or tcp://".into(),
                hint: Some(
                    "for ssh, forward the socket: `ssh -L /tmp/docker.sock:/var/run/docker.sock HOST`, and set \
                     DOCKER_HOST=unix:///tmp/docker.sock"
                        .into(),
                ),
            });
        };
        let address = address.trim_end_matches('/').to_owned();
        if secure.is_none() && !surroundings.tls {
            return Ok(Self::Tcp(with_port(address, 2375)));
        }
        let home = surroundings.home.as_ref().map(|home| home.join(".docker"));
        let certificates = surroundings.certificates.clone().or(home);
        Ok(Self::Tls {
            address: with_port(address, 2376),
            certificates: certificates.unwrap_or_else(|| "/".into()),
        })
    }

    /// The host of an engine elsewhere, without its port.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Socket(_) => None,
            Self::Tcp(address) | Self::Tls { address, .. } => address
                .rsplit_once(':')
                .map(|(host, _)| host.trim_matches(['[', ']'])),
        }
    }

    /// Whether it is on this machine for all we can tell.
    pub fn is_local(&self) -> bool {
        matches!(self.host(), None | Some("localhost" | "127.0.0.1" | "::1"))
    }

    /// What `DOCKER_HOST` must be for Compose to talk to the same engine.
    pub(super) fn as_docker_host(&self) -> String {
        match self {
            Self::Socket(path) => format!("unix://{}", path.display()),
            Self::Tcp(address) | Self::Tls { address, .. } => format!("tcp://{address}"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_docker_host())
    }
}

fn with_port(address: String, usual: u16) -> String {
    let after_name = address
        .rsplit_once(']')
        .map_or(address.as_str(), |(_, rest)| rest);
    if after_name.contains(':') {
        address
    } else {
        format!("{address}:{usual}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(host: &str, tls: bool) -> Endpoint {
        let surroundings = Surroundings {
            host: Some(host.into()),
            tls,
            certificates: Some("/certs".into()),
            ..Surroundings::default()
        };
        Endpoint::choose(&surroundings, |_| true).unwrap()
    }

    #[test]
    fn what_docker_host_says_counts_before_any_socket_that_is_there() {
        assert_eq!(
            chosen("unix:///a/b.sock", false),
            Endpoint::Socket("/a/b.sock".into())
        );
        assert_eq!(
            chosen("tcp://far:2375", false),
            Endpoint::Tcp("far:2375".into())
        );
        let tls = Endpoint::Tls {
            address: "far:2376".into(),
            certificates: "/certs".into(),
        };
        assert_eq!(chosen("tcp://far", true), tls);
        assert_eq!(chosen("https://far:2376/", false), tls);
    }

    #[test]
    fn without_docker_host_the_first_socket_that_is_there_is_taken() {
        fn with(there: &[&str]) -> String {
            let surroundings = Surroundings {
                runtime_dir: Some("/run/user/7".into()),
                ..Surroundings::default()
            };
            let exists = |path: &Path| there.iter().any(|name| path == Path::new(name));
            let chosen = Endpoint::choose(&surroundings, exists);
            chosen.unwrap().to_string()
        }
        let podman = "/run/podman/podman.sock";
        let own = "/run/user/7/podman/podman.sock";
        assert_eq!(with(&[DOCKER, podman, own]), "unix:///var/run/docker.sock");
        assert_eq!(
            with(&["/run/user/7/docker.sock", podman]),
            "unix:///run/user/7/docker.sock"
        );
        assert_eq!(with(&[own, podman]), "unix:///run/podman/podman.sock");
        assert_eq!(with(&[own]), format!("unix://{own}"));
        assert_eq!(with(&[]), "unix:///var/run/docker.sock");
    }

    #[test]
    fn a_kind_that_is_not_spoken_is_refused_with_what_to_do() {
        let surroundings = Surroundings {
            host: Some("ssh://root@far".into()),
            ..Surroundings::default()
        };
        let error = Endpoint::choose(&surroundings, |_| true).unwrap_err();
        assert!(error.hint().unwrap().contains("ssh -L"), "{error}");
    }

    #[test]
    fn an_engine_elsewhere_is_known_as_such() {
        assert!(Endpoint::Tcp("127.0.0.1:1".into()).is_local());
        assert!(Endpoint::Tcp("[::1]:1".into()).is_local());
        assert!(!Endpoint::Tcp("db.example:1".into()).is_local());
        assert_eq!(
            Endpoint::Tcp("[2001:db8::7]:1".into()).host(),
            Some("2001:db8::7")
        );
        assert_eq!(with_port("[2001:db8::7]".into(), 5), "[2001:db8::7]:5");
    }
}
