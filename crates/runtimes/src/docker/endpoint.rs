//! Where the engine is: what `DOCKER_HOST` says, else the sockets that Docker and Podman use.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

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

/// Whose engine a socket is, as far as its path tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    Docker,
    RootlessDocker,
    Podman,
    RootlessPodman,
}

impl Maker {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Docker | Self::RootlessDocker => "Docker",
            Self::Podman | Self::RootlessPodman => "Podman",
        }
    }

    /// What tells whether it runs.
    pub(super) fn status_command(self) -> &'static str {
        match self {
            Self::Docker => "systemctl status docker",
            Self::RootlessDocker => "systemctl --user status docker",
            Self::Podman => "systemctl status podman.socket",
            Self::RootlessPodman => "systemctl --user status podman.socket",
        }
    }

    /// What to do if the socket may not be used.
    pub(super) fn rights(self) -> &'static str {
        match self {
            Self::Docker => {
                "only root and the group of the socket may use it: run as root, or `usermod -aG docker USER` (whoever is in \
                 that group is as good as root)"
            }
            Self::Podman => {
                "it is root's Podman, and only root may use it: run as root. A user's own containers are behind \
                 $XDG_RUNTIME_DIR/podman/podman.sock (`systemctl --user enable --now podman.socket`)"
            }
            Self::RootlessDocker | Self::RootlessPodman => {
                "it is the engine of one user without root, and only that user and root may use it: run as that user"
            }
        }
    }
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

/// What is known of a path where a socket may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is nothing.
    Nothing,
    /// There may be one, and this user may not use it.
    Refused,
    /// There is one that this user may use.
    Usable,
}

impl Found {
    /// What this process finds there. Nothing is sent.
    pub fn at(path: &Path) -> Self {
        match rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK) {
            Ok(()) => Self::Usable,
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Self::Refused,
            Err(_) => Self::Nothing,
        }
    }
}

/// Docker's own, where nothing else is said.
const DOCKER: &str = "/var/run/docker.sock";
const PODMAN: &str = "/run/podman/podman.sock";

impl Endpoint {
    /// Chooses: `DOCKER_HOST` if it is set, else the first socket of Docker's own, rootless Docker's, Podman's, and
    /// rootless Podman's that this user may use: whoever has an engine of their own is not stopped by root's. If there
    /// is none, the first that is refused, and Docker's own if there is nothing at all, so that errors name it.
    ///
    /// # Errors
    /// [`RuntimeError`] if `DOCKER_HOST` is of a kind that is not spoken here (`ssh://`).
    pub fn choose(
        surroundings: &Surroundings,
        found: impl Fn(&Path) -> Found,
    ) -> Result<Self, RuntimeError> {
        if let Some(host) = &surroundings.host {
            return Self::of_host(host, surroundings);
        }
        let mut candidates = vec![PathBuf::from(DOCKER)];
        let own = surroundings.runtime_dir.as_deref();
        candidates.extend(own.map(|dir| dir.join("docker.sock")));
        candidates.push(PODMAN.into());
        candidates.extend(own.map(|dir| dir.join("podman/podman.sock")));
        let first = |wanted| candidates.iter().find(|path| found(path) == wanted);
        let chosen = first(Found::Usable).or_else(|| first(Found::Refused));
        Ok(Self::Socket(
            chosen.map_or_else(|| DOCKER.into(), PathBuf::clone),
        ))
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

    /// Whose engine it probably is: what is behind it tells itself later.
    pub(super) fn maker(&self) -> Maker {
        let Self::Socket(path) = self else {
            return Maker::Docker;
        };
        let is_users = path.starts_with("/run/user") || path.starts_with("/home");
        match (path.to_string_lossy().contains("podman"), is_users) {
            (false, false) => Maker::Docker,
            (false, true) => Maker::RootlessDocker,
            (true, false) => Maker::Podman,
            (true, true) => Maker::RootlessPodman,
        }
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
        Endpoint::choose(&surroundings, |_| Found::Usable).unwrap()
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
    fn without_docker_host_the_first_socket_that_may_be_used_is_taken() {
        fn chosen_of(there: &[&str], refused: &[&str]) -> String {
            let surroundings = Surroundings {
                runtime_dir: Some("/run/user/7".into()),
                ..Surroundings::default()
            };
            let is_in =
                |names: &[&str], path: &Path| names.iter().any(|name| path == Path::new(name));
            let chosen = Endpoint::choose(&surroundings, |path| {
                if is_in(there, path) {
                    Found::Usable
                } else if is_in(refused, path) {
                    Found::Refused
                } else {
                    Found::Nothing
                }
            });
            chosen.unwrap().to_string()
        }
        let with = |there: &[&str]| chosen_of(there, &[]);
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
        assert_eq!(
            chosen_of(&[own], &[DOCKER, podman]),
            format!("unix://{own}"),
            "one's own before root's, which is refused"
        );
        assert_eq!(chosen_of(&[], &[podman]), "unix:///run/podman/podman.sock");
    }

    #[test]
    fn a_kind_that_is_not_spoken_is_refused_with_what_to_do() {
        let surroundings = Surroundings {
            host: Some("ssh://root@far".into()),
            ..Surroundings::default()
        };
        let error = Endpoint::choose(&surroundings, |_| Found::Usable).unwrap_err();
        assert!(error.hint().unwrap().contains("ssh -L"), "{error}");
    }

    #[test]
    fn whose_engine_it_is_is_told_by_the_path_of_its_socket() {
        let maker = |path: &str| Endpoint::Socket(path.into()).maker();
        assert_eq!(maker(DOCKER), Maker::Docker);
        assert_eq!(maker(PODMAN), Maker::Podman);
        assert_eq!(maker("/run/user/7/docker.sock"), Maker::RootlessDocker);
        let own = maker("/run/user/7/podman/podman.sock");
        assert_eq!(own, Maker::RootlessPodman);
        assert!(own.rights().contains("as that user"));
        assert!(own.status_command().contains("--user"));
        assert!(maker(PODMAN).rights().contains("root's Podman"));
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
