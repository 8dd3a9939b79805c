//! What an engine's refusals and silences are called, and what to do about them.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use super::endpoint::Maker;
use super::engine::{Doing, PATIENCE};
use crate::RuntimeError;

/// What the client says.
pub(super) type Failure = bollard::errors::Error;

/// The status and the words of an answer that is a refusal.
pub(super) fn refusal(failure: &Failure) -> Option<(u16, &str)> {
    match failure {
        Failure::DockerResponseServerError {
            status_code,
            message,
        } => Some((*status_code, message)),
        _ => None,
    }
}

/// Whether the engine says that what was asked for is so already.
pub(super) fn is_so_already(failure: &Failure) -> bool {
    let Some((status, words)) = refusal(failure) else {
        return false;
    };
    let words = words.to_lowercase();
    // Docker answers 304 to start and stop, and 409 in words to the others; Podman uses 500 for some.
    status == 304
        || words.contains("is already paused")
        || words.contains("is not paused")
        || words.contains("already in progress")
}

/// Whether the engine says that there is no such thing.
pub(super) fn is_gone(failure: &Failure) -> bool {
    refusal(failure).is_some_and(|(status, _)| status == 404)
}

/// Turns a failure into words: what was being done, where, why, and what to do.
pub(super) fn explain(
    runtime: &str,
    maker: Maker,
    doing: Doing<'_>,
    failure: Failure,
) -> RuntimeError {
    if let Some((_, words)) = refusal(&failure) {
        return RuntimeError::Failed {
            doing: doing.what.into(),
            service: doing.service.into(),
            reason: cut(words, 2000),
            hint: hint_of(words),
        };
    }
    if matches!(failure, Failure::RequestTimeoutError) {
        return RuntimeError::Unreachable {
            runtime: runtime.into(),
            source: format!(
                "it took the request to {} `{}` and did not answer",
                doing.what, doing.service
            )
            .into(),
            hint: Some(format!(
                "after {} s it was given up; does `{} ps` answer? Is a disk full or gone?",
                PATIENCE.as_secs(),
                maker.name().to_lowercase()
            )),
        };
    }
    unreachable(runtime, maker, failure)
}

/// Why an engine cannot be asked.
pub(super) fn unreachable(runtime: &str, maker: Maker, failure: Failure) -> RuntimeError {
    let status = maker.status_command();
    let hint = match &failure {
        Failure::SocketNotFoundError(_) => Some(not_there(maker)),
        Failure::CertPathError { .. }
        | Failure::CertParseError { .. }
        | Failure::CertMultipleKeys { .. } => Some(
            "DOCKER_CERT_PATH must name a directory with ca.pem, cert.pem and key.pem that this user can read".into(),
        ),
        Failure::JsonDataError { .. } => None,
        other => match system_error(other) {
            Some(ErrorKind::NotFound) => Some(not_there(maker)),
            Some(ErrorKind::PermissionDenied) => Some(maker.rights().into()),
            Some(ErrorKind::ConnectionRefused) => Some(format!(
                "nothing listens there: is the engine running? `{status}`"
            )),
            _ => Some(format!(
                "the connection broke: did the engine stop or restart? `{status}`"
            )),
        },
    };
    RuntimeError::Unreachable {
        runtime: runtime.into(),
        source: chain_of(&failure).into(),
        hint,
    }
}

fn not_there(maker: Maker) -> String {
    format!(
        "there is no such socket: is the engine installed and running (`{}`), and may this user see it? Another one is \
         named by DOCKER_HOST=unix:///path/to/docker.sock",
        maker.status_command()
    )
}

/// What is asked of our own machine and not of the engine.
pub(super) fn threads(runtime: &str, source: io::Error) -> RuntimeError {
    RuntimeError::Io {
        doing: format!("wait for {runtime}"),
        source,
    }
}

/// What helps against a refusal, where its words tell.
fn hint_of(words: &str) -> Option<String> {
    let said = words.to_lowercase();
    let hint = if said.contains("no space left on device") {
        "the engine's disk, or the disk of that volume, is full: `docker system df`, `df -h`"
    } else if said.contains("no such image") || said.contains("unable to find image") {
        "the image is gone from this machine: pull or build it again, or load it from a file (`docker load`)"
    } else if said.contains("is not running") || said.contains("on running containers") {
        "start the service first"
    } else if said.contains("is paused") {
        "the service is frozen: resume it first (`docker unpause`)"
    } else if said.contains("is restarting") {
        "it ends and is started again over and over: its log tells why"
    } else if said.contains("no such container") {
        "the container was removed meanwhile: `docker compose up -d` makes it again"
    } else if said.contains("port is already allocated") || said.contains("address already in use")
    {
        "something else listens on that port of this machine"
    } else if said.contains("permission denied") {
        "the engine itself was not allowed to do that"
    } else {
        return None;
    };
    Some(hint.into())
}

/// Whether the other side closed the connection before it had taken all that we sent.
pub(super) fn is_cut_off(failure: &Failure) -> bool {
    matches!(
        system_error(failure),
        Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
    )
}

/// The kind of the system's error among the causes.
fn system_error(failure: &Failure) -> Option<ErrorKind> {
    if let Failure::IOError { err } = failure {
        return Some(err.kind());
    }
    let mut cause = failure.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found.kind());
        }
        cause = error.source();
    }
    None
}

/// The causes in one line. The client's errors repeat the words of their causes; those are said once.
fn chain_of(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// At most so many characters, and a sign that there were more.
pub(super) fn cut(text: &str, most: usize) -> String {
    let text = text.trim();
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status_code: u16, message: &str) -> Failure {
        Failure::DockerResponseServerError {
            status_code,
            message: message.into(),
        }
    }

    #[test]
    fn what_is_so_already_is_no_failure_and_anything_else_is_one() {
        assert!(is_so_already(&refused(304, "")));
        assert!(is_so_already(&refused(
            409,
            "Container abc is already paused"
        )));
        assert!(is_so_already(&refused(500, "Container abc is not paused")));
        assert!(!is_so_already(&refused(
            409,
            "Container abc is not running"
        )));
        assert!(!is_so_already(&refused(
            409,
            "removal of container abc is not possible"
        )));
        assert!(!is_so_already(&Failure::RequestTimeoutError));
    }

    #[test]
    fn a_full_disk_and_a_lost_image_are_named_with_what_to_do() {
        let doing = Doing {
            what: "write into",
            service: "db",
        };
        for (words, hint) in [
            ("write /data/x: no space left on device", "docker system df"),
            ("No such image: shop/db:1", "docker load"),
        ] {
            let error = explain("Docker", Maker::Docker, doing, refused(500, words));
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{error:?}");
        }
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        assert_eq!(cut("  grün  ", 3), "grü…");
        assert_eq!(cut(" grün ", 4), "grün");
    }
}
