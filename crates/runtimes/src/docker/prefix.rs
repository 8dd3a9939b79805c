//! The stock client as words before a command, for whoever starts processes himself.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::endpoint::Endpoint;

/// `docker exec …` for a container; `None` if the stock client is not installed.
///
/// Values of the environment are not among the words, where everybody could read them: the client takes them from
/// its own environment, and leaves out what is not set there. Who kills the client does not kill the command inside.
/// Each engine's own client is taken if it is there: to Podman, Docker's passes on names without values, which are
/// refused.
pub(super) fn prefix(
    endpoint: &Endpoint,
    is_podman: bool,
    container: &str,
    env: &[&str],
) -> Option<Vec<OsString>> {
    let (own, other) = if is_podman {
        ("podman", "docker")
    } else {
        ("docker", "podman")
    };
    let client = find(own).or_else(|| find(other))?;
    Some(words(client, endpoint, container, env))
}

fn words(client: PathBuf, endpoint: &Endpoint, container: &str, env: &[&str]) -> Vec<OsString> {
    let is_podman = client.file_name().is_some_and(|name| name == "podman");
    let mut words: Vec<OsString> = vec![client.into()];
    if is_podman {
        words.extend(["--remote".into(), "--url".into()]);
    } else {
        words.push("--host".into());
    }
    words.push(endpoint.as_docker_host().into());
    if let Endpoint::Tls { certificates, .. } = endpoint {
        words.push("--tlsverify".into());
        for (option, file) in [
            ("--tlscacert", "ca.pem"),
            ("--tlscert", "cert.pem"),
            ("--tlskey", "key.pem"),
        ] {
            words.extend([option.into(), certificates.join(file).into()]);
        }
    }
    words.extend(["exec".into(), "--interactive".into()]);
    for name in env {
        words.extend(["--env".into(), (*name).into()]);
    }
    words.push(container.into());
    words
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(client: &str, endpoint: &Endpoint) -> String {
        let words = words(client.into(), endpoint, "c0ffee", &["PGPASSWORD", "PGHOST"]);
        words.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn names_of_secrets_are_among_the_words_and_secrets_are_not() {
        let socket = Endpoint::Socket("/s".into());
        assert_eq!(
            line("/usr/bin/docker", &socket),
            "/usr/bin/docker --host unix:///s exec --interactive --env PGPASSWORD --env PGHOST c0ffee"
        );
        assert!(
            line("/usr/bin/podman", &socket)
                .starts_with("/usr/bin/podman --remote --url unix:///s exec")
        );
        let tls = Endpoint::Tls {
            address: "far:2376".into(),
            certificates: "/c".into(),
        };
        let expected = "/d --host tcp://far:2376 --tlsverify --tlscacert /c/ca.pem --tlscert /c/cert.pem --tlskey /c/key.pem exec";
        assert!(
            line("/d", &tls).starts_with(expected),
            "{}",
            line("/d", &tls)
        );
    }
}
