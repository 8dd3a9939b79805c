//! Storage of a service, opened through its container: running, stopped, or never started.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use bollard::body_try_stream;
use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;

use super::engine::{Doing, Engine};
use super::failure::{self, Failure};
use super::helper::{Helper, run_helper};
use super::pack::pack;
use super::tarball::Whole;
use crate::net::{spawn, wait_for};
use crate::{RuntimeError, StorageAccess};

/// What is read from our side at once.
const PIECE_BYTES: usize = 256 << 10;

/// So many pieces may wait to be sent.
const PIECES: usize = 4;

/// Storage of one container.
pub(super) struct Access {
    pub(super) engine: Arc<Engine>,
    pub(super) service: String,
    pub(super) container: String,
    /// Where the container sees the storage.
    pub(super) inside: PathBuf,
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Failure>> + Send>>;

impl StorageAccess for Access {
    fn read(&mut self, path: &Path) -> Result<Box<dyn Read + '_>, RuntimeError> {
        let place = self.place(path)?;
        if self.engine.is_podman(self.reading())? {
            let packed = pack(&self.engine, &self.service, &self.container, &place)?;
            return Ok(Box::new(Whole::new(packed)));
        }
        // With a dot, names in the archive begin below the directory, and not with its own. A file has no below.
        let content = format!("{place}/.");
        let download = match self.download(&content) {
            Err(RuntimeError::Failed { reason, .. }) if reason.contains("not a directory") => {
                self.download(&place)?
            }
            download => download?,
        };
        Ok(Box::new(Whole::new(download)))
    }

    fn write(&mut self, path: &Path, tar: &mut (dyn Read + Send)) -> Result<(), RuntimeError> {
        let place = self.place(path)?;
        let mut tar = Whole::new(tar);
        self.upload(&place, &mut tar)?;
        let (parent, name) = place.rsplit_once('/').unwrap_or_default();
        let Some(root) = tar.of_root(name).filter(|_| !name.is_empty()) else {
            return Ok(());
        };
        let parent = if parent.is_empty() { "/" } else { parent };
        match self.upload(parent, &mut root.as_slice()) {
            // Nothing beside volumes can be written there, not even what stays as it is.
            Err(RuntimeError::Failed { reason, .. }) if reason.contains("read-only") => {
                tracing::warn!(directory = %place, "its owner, mode and time stay as they are");
                Ok(())
            }
            done => done,
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), RuntimeError> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        let helper = Helper {
            engine: &self.engine,
            container: &self.container,
            doing: Doing {
                what: "rename files of",
                service: &self.service,
            },
        };
        run_helper(&helper, RENAME, &[&from, &to])
    }

    fn copy_file(&mut self, path: &Path, out: &mut dyn Write) -> Result<u64, RuntimeError> {
        let place = self.place(path)?;
        let failed = |source| RuntimeError::Io {
            doing: format!("read {place} of `{}`", self.service),
            source,
        };
        let mut archive = tar::Archive::new(Whole::new(self.download(&place)?));
        let mut entries = archive.entries().map_err(failed)?;
        let mut entry = match entries.next() {
            Some(entry) => entry.map_err(failed)?,
            None => return Err(failed(io::ErrorKind::NotFound.into())),
        };
        if !entry.header().entry_type().is_file() {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no plain file",
            )));
        }
        let size = entry.size();
        let copied = io::copy(&mut entry, out).map_err(failed)?;
        if copied == size {
            Ok(copied)
        } else {
            Err(failed(io::ErrorKind::UnexpectedEof.into()))
        }
    }
}

/// `mv` alone would put one directory into another of the target's name.
const RENAME: &str = "if [ -e \"$1\" ] || [ -L \"$1\" ]; then echo \"$1 is there already\"; exit 1; fi; mv \"$0\" \"$1\"";

impl Access {
    /// The path as the container sees it. What leads out of the storage is refused.
    fn place(&self, path: &Path) -> Result<String, RuntimeError> {
        let is_below = path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let place = if path.as_os_str().is_empty() {
            self.inside.clone()
        } else {
            self.inside.join(path)
        };
        match place.to_str() {
            Some(place) if is_below => Ok(place.to_owned()),
            _ => Err(RuntimeError::Failed {
                doing: "find files of".into(),
                service: self.service.clone(),
                reason: format!(
                    "{} does not lie within {}, or is no text",
                    path.display(),
                    self.inside.display()
                ),
                hint: None,
            }),
        }
    }

    fn reading(&self) -> Doing<'_> {
        Doing {
            what: "read files of",
            service: &self.service,
        }
    }

    fn download(&self, place: &str) -> Result<Download, RuntimeError> {
        let doing = self.reading();
        let options = DownloadFromContainerOptionsBuilder::default()
            .path(place)
            .build();
        let client = self.engine.client()?;
        let mut pieces: Pieces =
            Box::pin(client.download_from_container(&self.container, Some(options)));
        // The first piece tells whether there is anything.
        let first = wait_for(self.engine.next(&mut pieces))
            .map_err(|source| failure::threads(&self.engine.name(), source))?;
        let piece = match first {
            Some(piece) => {
                piece.map_err(|failure| named(self.engine.explain(doing, failure), place))?
            }
            None => Bytes::new(),
        };
        Ok(Download {
            engine: Arc::clone(&self.engine),
            service: self.service.clone(),
            pieces,
            piece,
        })
    }

    /// The source is read on this thread; the connection is served by another.
    fn upload(&self, place: &str, tar: &mut (dyn Read + Send)) -> Result<(), RuntimeError> {
        let doing = Doing {
            what: "write files of",
            service: &self.service,
        };
        let threads = |source| failure::threads(&self.engine.name(), source);
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
        let pieces = stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        let options = UploadToContainerOptionsBuilder::default()
            .path(place)
            .build();
        // The limit of the client is one for the whole upload; how long it takes depends on what is sent.
        let client = self
            .engine
            .client()?
            .with_timeout(std::time::Duration::from_secs(7 * 24 * 3600));
        let container = self.container.clone();
        let sending = spawn(async move {
            client
                .upload_to_container(&container, Some(options), body_try_stream(pieces.boxed()))
                .await
        });
        let mut sending = sending.map_err(threads)?;
        let fed = self.feed(tar, &sender, &sending);
        drop(sender);
        let sent = wait_for(self.engine.until_done(&mut sending)).map_err(threads)?;
        match (fed, sent) {
            (Err(source), _) => Err(RuntimeError::Io {
                doing: format!("read what is to be written into `{}`", self.service),
                source,
            }),
            (Ok(()), Err(failure)) => Err(self.engine.explain(doing, failure)),
            (Ok(()), Ok(())) => Ok(()),
        }
    }

    /// An error of the source is sent too, so that the engine does not take it for the end.
    fn feed(
        &self,
        tar: &mut (dyn Read + Send),
        sender: &mpsc::Sender<io::Result<Bytes>>,
        sending: &tokio::task::JoinHandle<Result<(), Failure>>,
    ) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let length = match tar.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let _ = sender.blocking_send(Err(error.kind().into()));
                    return Err(error);
                }
            };
            let sent = wait_for(
                self.engine
                    .hand_over(sender, Bytes::copy_from_slice(&piece[..length])),
            )?;
            // Nobody takes it any more: the engine has refused, and says so itself.
            if !sent || sending.is_finished() {
                return Ok(());
            }
        }
    }
}

/// Podman does not say which path it was that it did not find.
fn named(mut error: RuntimeError, place: &str) -> RuntimeError {
    if let RuntimeError::Failed { reason, .. } = &mut error
        && !reason.contains(place.trim_end_matches("/."))
    {
        *reason = format!("{place}: {reason}");
    }
    error
}

/// An archive as it comes.
struct Download {
    engine: Arc<Engine>,
    service: String,
    pieces: Pieces,
    piece: Bytes,
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match wait_for(self.engine.next(&mut self.pieces))? {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(failure)) => {
                    let doing = Doing {
                        what: "read files of",
                        service: &self.service,
                    };
                    return Err(io::Error::other(self.engine.explain(doing, failure)));
                }
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
