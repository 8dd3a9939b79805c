//! Files packed by `tar` in a container of the service's image, where the engine's own archives do not do.
//!
//! Podman gives every file that it hands out to the container's user, and leaves the directory itself out (`podman
//! cp` is made so); taken for a backup, that would lose who owns what. What it is given it unpacks as it should.

use std::io::{self, PipeReader, Read, pipe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bollard::models::{ContainerCreateBody, HostConfig};

use super::containers::inspect;
use super::engine::{Doing, Engine};
use super::exec::{Inside, exec};
use super::sandbox::Disposable;
use crate::{ExecCommand, ExecOutcome, ExecStreams, RuntimeError};

/// A directory with all that is in it, named from there on; of anything else itself by its last name.
const PACK: &str = "if [ -d \"$0\" ]; then exec tar -c -f - -C \"$0\" .; fi; exec tar -c -f - -C \"${0%/*}/\" -- \"${0##*/}\"";

/// Of what `tar` complained of, at most so much is kept.
const COMPLAINTS: usize = 4096;

/// An archive as it is packed. Its end is an error if `tar` did not end well.
pub(super) struct Packed {
    pipe: Option<PipeReader>,
    packing: Option<JoinHandle<Result<(), RuntimeError>>>,
}

/// Begins to pack what a container sees at `place`, whether it runs or not.
///
/// # Errors
/// [`RuntimeError`] if no container could be made for it; what happens later is told at the end.
pub(super) fn pack(
    engine: &Arc<Engine>,
    service: &str,
    container: &str,
    place: &str,
) -> Result<Packed, RuntimeError> {
    let doing = Doing {
        what: "read files of",
        service,
    };
    let helper = begin_helper(engine, doing, container)?;
    let failed = |source| RuntimeError::Io {
        doing: format!("read files of `{service}`"),
        source,
    };
    let (reader, mut writer) = pipe().map_err(failed)?;
    let (engine, service, place) = (Arc::clone(engine), service.to_owned(), place.to_owned());
    let packing = thread::Builder::new()
        .name("pack".into())
        .spawn(move || {
            let mut complaints = Complaints::default();
            let streams = ExecStreams {
                stdin: None,
                stdout: &mut writer,
                stderr: &mut complaints,
            };
            let inside = Inside {
                engine: &engine,
                container: helper.id(),
                service: &service,
            };
            let command = ExecCommand {
                argv: ["/bin/sh", "-c", PACK, &place].map(str::to_owned).into(),
                ..ExecCommand::default()
            };
            let ended = exec(inside, &command, streams);
            judge(&service, ended, &complaints)
        })
        .map_err(failed)?;
    Ok(Packed {
        pipe: Some(reader),
        packing: Some(packing),
    })
}

/// A container that does nothing, with the storage of another one.
fn begin_helper(
    engine: &Engine,
    doing: Doing<'_>,
    container: &str,
) -> Result<Disposable, RuntimeError> {
    let image = inspect(engine, container, doing)?.and_then(|container| container.image);
    let idle = ["/bin/sh", "-c", "while :; do sleep 1000; done"];
    let body = ContainerCreateBody {
        image,
        entrypoint: Some(idle.map(str::to_owned).into()),
        user: Some("0".into()),
        host_config: Some(HostConfig {
            network_mode: Some("none".into()),
            volumes_from: Some(vec![container.to_owned()]),
            // Files may carry the other container's own mark of SELinux.
            security_opt: Some(vec!["label=disable".into()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let helper = Disposable::create(engine, doing, body)?;
    engine.ask(doing, async |client| {
        client.start_container(helper.id(), None).await
    })?;
    Ok(helper)
}

fn judge(
    service: &str,
    ended: Result<ExecOutcome, RuntimeError>,
    complaints: &Complaints,
) -> Result<(), RuntimeError> {
    let code = ended?.exit_code;
    let words = complaints.text();
    // GNU tar ends so if a file was written to meanwhile, and has read what was there: as the engine's archives do.
    let is_only_change = |line: &str| line.trim_end().ends_with("file changed as we read it");
    if code == 0 || code == 1 && !words.is_empty() && words.lines().all(is_only_change) {
        return Ok(());
    }
    let is_missing = [126, 127].contains(&code);
    Err(RuntimeError::Failed {
        doing: "read files of".into(),
        service: service.into(),
        reason: if words.is_empty() {
            format!("tar ended with exit code {code}")
        } else {
            words
        },
        hint: is_missing.then(|| NO_TAR.to_owned()),
    })
}

const NO_TAR: &str = "Podman's own archives lose who owns what, so the image's `tar` packs files: put it into the image, or run \
                      where the volume can be read by its path (as root, or as the user whose Podman it is)";

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = match &mut self.pipe {
            Some(pipe) => pipe.read(buffer)?,
            None => 0,
        };
        if length > 0 || buffer.is_empty() {
            return Ok(length);
        }
        match self.packing.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => Err(io::Error::other(error)),
            Some(Err(_)) => Err(io::Error::other("the thread that packs panicked")),
            Some(Ok(Ok(()))) | None => Ok(0),
        }
    }
}

/// What is not read to its end is given up, and the helper with it.
impl Drop for Packed {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if let Some(Err(_)) = self.packing.take().map(JoinHandle::join) {
            tracing::warn!("the thread that packed files panicked");
        }
    }
}

/// The first part of what was said.
#[derive(Default)]
struct Complaints(Vec<u8>);

impl Complaints {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).trim().to_owned()
    }
}

impl io::Write for Complaints {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = COMPLAINTS.saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn judged(code: i64, words: &str) -> Result<(), RuntimeError> {
        let mut complaints = Complaints::default();
        complaints.write_all(words.as_bytes()).unwrap();
        judge("app", Ok(ExecOutcome { exit_code: code }), &complaints)
    }

    #[test]
    fn a_file_that_was_written_to_is_fine_and_one_that_was_lost_is_not() {
        judged(0, "").unwrap();
        judged(1, "tar: ./log: file changed as we read it\n").unwrap();
        let lost =
            "tar: ./log: file changed as we read it\ntar: ./x: File removed before we read it\n";
        let error = judged(1, lost).unwrap_err();
        assert!(error.to_string().contains("File removed"), "{error}");
        let silent = judged(2, "").unwrap_err();
        assert!(silent.to_string().contains("exit code 2"), "{silent}");
    }

    #[test]
    fn an_image_without_tar_is_told_what_to_do() {
        let error = judged(127, "/bin/sh: exec: tar: not found").unwrap_err();
        assert!(error.hint().unwrap().contains("put it into the image"));
    }
}
