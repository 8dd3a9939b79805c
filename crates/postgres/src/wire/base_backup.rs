//! `BASE_BACKUP`, in both of its dialects. Source: PostgreSQL manual, "Streaming Replication
//! Protocol".

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::checksum::checksum_failures;
use super::tar::TarReader;
use super::tree::{Archive, Tree};
use super::{BackupError, BackupRequest, ChecksumFailure, Tablespace};
use crate::client::{Client, Fields, Frame, Rows, quote_literal, tag, unexpected};
use crate::error::{Doing, Error};
use crate::layout::{Lsn, Timeline};
use crate::sink::PgdataSink;

/// The server answers only after its checkpoint, which on a busy one with much memory takes long,
/// and after it has looked at every file to tell sizes.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(2 * 3600);

/// From this version on, all archives come in one stream.
const ONE_STREAM_SINCE: u32 = 15;

/// `data_corrupted`, with which the server closes a backup in which it met bad pages.
const DATA_CORRUPTED: &str = "XX001";

/// Where a backup begins or stops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) lsn: Lsn,
    pub(super) timeline: Timeline,
}

/// What a base backup consisted of, apart from the tree itself.
pub(super) struct Taken {
    pub(super) start: Place,
    pub(super) stop: Place,
    pub(super) tablespaces: Vec<Tablespace>,
    pub(super) backup_label: String,
    pub(super) tablespace_map: Option<String>,
    pub(super) checksum_failures: Vec<ChecksumFailure>,
}

/// What wants to know how a running backup goes.
pub(super) trait Watcher {
    /// Called once, as soon as the backup's start is known.
    fn started(&mut self, start: Place) -> Result<(), Error>;
    /// Called with every piece of data; an error ends the backup.
    fn advanced(&mut self, bytes: u64) -> Result<(), Error>;
    /// Called once, when the server has told the sizes.
    fn sized(&mut self, estimated_bytes: u64);
}

/// Runs `BASE_BACKUP` on a replication connection, into `sink`.
pub(super) fn run<S: PgdataSink>(
    client: &mut Client,
    request: &BackupRequest,
    sink: &mut S,
    watcher: &mut dyn Watcher,
) -> Result<Taken, BackupError<S::Error>> {
    let command = command(client.major(), request);
    client.take_notices();
    client.send_query(&command)?;
    let start =
        place(&read_rows(client, CHECKPOINT_WAIT).doing(|| "begin the base backup".to_owned())?)?;
    watcher.started(start)?;
    let mut streams = Streams::begin(client, sink, watcher)?;
    match streams.client.major() >= ONE_STREAM_SINCE {
        true => streams.receive_one()?,
        false => streams.receive_each(request.manifest)?,
    }
    streams.finish(start)
}

fn command(major: u32, request: &BackupRequest) -> String {
    let label = quote_literal(&request.label);
    if major >= ONE_STREAM_SINCE {
        let checkpoint = if request.fast_checkpoint {
            "fast"
        } else {
            "spread"
        };
        let manifest = if request.manifest {
            "MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C'"
        } else {
            "MANIFEST 'no'"
        };
        return format!(
            "BASE_BACKUP (LABEL {label}, CHECKPOINT '{checkpoint}', PROGRESS {}, WAIT false, TABLESPACE_MAP true, {manifest})",
            request.estimate_size
        );
    }
    let when = |wanted: bool, word: &'static str| if wanted { word } else { "" };
    format!(
        "BASE_BACKUP LABEL {label} {} {} NOWAIT TABLESPACE_MAP {}",
        when(request.estimate_size, "PROGRESS"),
        when(request.fast_checkpoint, "FAST"),
        when(
            request.manifest,
            "MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'"
        ),
    )
}

/// Reads one result set.
fn read_rows(client: &mut Client, wait: Duration) -> Result<Rows, Error> {
    let mut rows = Rows::default();
    loop {
        let frame = client.next_frame(wait)?;
        match frame.tag {
            tag::ROW_DESCRIPTION => rows = Rows::described(&frame.body)?,
            tag::DATA_ROW => rows.push(&frame.body)?,
            tag::COMMAND_COMPLETE => return Ok(rows),
            other => return Err(unexpected(other, "a result set of BASE_BACKUP")),
        }
    }
}

fn place(rows: &Rows) -> Result<Place, Error> {
    let row = rows.first()?;
    Ok(Place {
        lsn: row.at(0)?,
        timeline: row.at(1)?,
    })
}

/// An archive the server announced: a tablespace's, or the data directory's own.
struct Announced {
    archive: Archive,
    location: Option<String>,
    kilobytes: u64,
}

impl Announced {
    /// OID and location of a tablespace.
    fn tablespace(&self) -> Option<(u32, String)> {
        match self.archive {
            Archive::Tablespace(oid) => Some((oid, self.location.clone().unwrap_or_default())),
            Archive::Base => None,
        }
    }
}

fn announced(rows: &Rows) -> Result<Vec<Announced>, Error> {
    let one = |row: crate::Row<'_>| {
        let archive = match row.text("spcoid") {
            None => Archive::Base,
            Some(_) => Archive::Tablespace(row.get("spcoid")?),
        };
        let kilobytes = row
            .text("size")
            .and_then(|size| size.parse().ok())
            .unwrap_or(0);
        Ok(Announced {
            archive,
            location: row.text("spclocation").map(str::to_owned),
            kilobytes,
        })
    };
    rows.iter().map(one).collect()
}

/// The data of a running backup.
struct Streams<'a, S> {
    client: &'a mut Client,
    tree: Tree<'a, S>,
    watcher: &'a mut dyn Watcher,
    announced: Vec<Announced>,
    /// How many archives came to their end.
    archives: usize,
    wait: Duration,
    manifest: Vec<u8>,
}

impl<'a, S: PgdataSink> Streams<'a, S> {
    fn begin(
        client: &'a mut Client,
        sink: &'a mut S,
        watcher: &'a mut dyn Watcher,
    ) -> Result<Self, BackupError<S::Error>> {
        let wait = client.options().read_timeout;
        let announced = announced(&read_rows(client, wait)?)?;
        watcher.sized(announced.iter().map(|one| one.kilobytes * 1024).sum());
        let mut tree = Tree::new(sink);
        let known: Vec<(u32, String)> =
            announced.iter().filter_map(Announced::tablespace).collect();
        tree.expect_tablespaces(&known)?;
        Ok(Self {
            client,
            tree,
            watcher,
            announced,
            archives: 0,
            wait,
            manifest: Vec::new(),
        })
    }

    /// 15 and later: one copy stream, whose messages tell what they carry.
    fn receive_one(&mut self) -> Result<(), BackupError<S::Error>> {
        self.expect(tag::COPY_OUT)?;
        let mut part = Part::Nothing;
        while let Some(mut body) = self.copy_data()? {
            let kind = body
                .first()
                .copied()
                .ok_or_else(|| Error::protocol("an empty message in the backup"))?;
            body.advance(1);
            match kind {
                b'd' => self.data(&mut part, body)?,
                b'n' => {
                    let name = Fields(&body).text()?;
                    self.end_part(part)?;
                    part = Part::Archive(self.begin_archive(archive_of_name(&name)?)?);
                }
                b'm' => {
                    self.end_part(part)?;
                    part = Part::Manifest;
                }
                // Progress of the server's; we count what arrives.
                b'p' => {}
                other => return Err(unexpected(other, "the backup's stream").into()),
            }
        }
        self.end_part(part)
    }

    /// 13 and 14: a copy stream per archive in the announced order, then one for the manifest.
    fn receive_each(&mut self, manifest: bool) -> Result<(), BackupError<S::Error>> {
        let archives: Vec<Archive> = self.announced.iter().map(|one| one.archive).collect();
        for archive in archives {
            self.expect(tag::COPY_OUT)?;
            let part = Part::Archive(self.begin_archive(archive)?);
            self.receive_part(part)?;
        }
        if manifest {
            self.expect(tag::COPY_OUT)?;
            self.receive_part(Part::Manifest)?;
        }
        Ok(())
    }

    fn receive_part(&mut self, mut part: Part) -> Result<(), BackupError<S::Error>> {
        while let Some(body) = self.copy_data()? {
            self.data(&mut part, body)?;
        }
        self.end_part(part)
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Error> {
        match self.client.next_frame(self.wait)? {
            frame if frame.tag == wanted => Ok(()),
            frame => Err(unexpected(frame.tag, "the backup's stream")),
        }
    }

    /// The next piece of the copy stream; `None` at its end.
    fn copy_data(&mut self) -> Result<Option<Bytes>, Error> {
        let Frame { tag, body } = self
            .client
            .next_frame(self.wait)
            .doing(|| "receive the base backup".to_owned())?;
        match tag {
            tag::COPY_DATA => {
                self.watcher.advanced(body.len() as u64)?;
                Ok(Some(body))
            }
            tag::COPY_DONE => Ok(None),
            other => Err(unexpected(other, "the backup's stream")),
        }
    }

    fn begin_archive(&mut self, archive: Archive) -> Result<TarReader, BackupError<S::Error>> {
        if !self.announced.iter().any(|one| one.archive == archive) {
            return Err(Error::protocol("an archive that was not announced").into());
        }
        self.tree.begin(archive)?;
        Ok(TarReader::new())
    }

    fn data(&mut self, part: &mut Part, bytes: Bytes) -> Result<(), BackupError<S::Error>> {
        match part {
            Part::Archive(reader) => reader.feed(bytes, &mut self.tree),
            Part::Manifest => {
                self.manifest.extend_from_slice(&bytes);
                Ok(())
            }
            Part::Nothing => Err(Error::protocol("data before an archive's name").into()),
        }
    }

    fn end_part(&mut self, part: Part) -> Result<(), BackupError<S::Error>> {
        if let Part::Archive(reader) = part {
            reader.finish()?;
            self.archives += 1;
        }
        Ok(())
    }

    /// The tablespaces, every one of which must have come.
    fn tablespaces(&self) -> Result<Vec<Tablespace>, Error> {
        let one = |(oid, original_location)| {
            let size_bytes = self.tree.tablespace_bytes(oid)?;
            Ok(Tablespace {
                oid,
                original_location,
                size_bytes,
            })
        };
        self.announced
            .iter()
            .filter_map(Announced::tablespace)
            .map(one)
            .collect()
    }

    fn finish(mut self, start: Place) -> Result<Taken, BackupError<S::Error>> {
        let end =
            read_rows(self.client, CHECKPOINT_WAIT).doing(|| "end the base backup".to_owned())?;
        let stop = place(&end)?;
        let is_corrupted = self.await_verdict()?;
        let checksum_failures = checksum_failures(&self.client.take_notices(), is_corrupted);
        let is_complete = self.archives == self.announced.len();
        let backup_label = self.tree.backup_label.take().filter(|_| is_complete);
        let backup_label = backup_label
            .ok_or_else(|| Error::protocol("the backup lacks an archive or its label"))?;
        self.add_manifest()?;
        Ok(Taken {
            start,
            stop,
            tablespaces: self.tablespaces()?,
            backup_label,
            tablespace_map: self.tree.tablespace_map.take(),
            checksum_failures,
        })
    }

    fn add_manifest(&mut self) -> Result<(), BackupError<S::Error>> {
        if self.manifest.is_empty() {
            return Ok(());
        }
        match self.tree.changes.apply(std::mem::take(&mut self.manifest)) {
            Some(manifest) => self.tree.add_file("backup_manifest", manifest),
            None => {
                tracing::warn!("the server's manifest is not written as expected, and is left out");
                Ok(())
            }
        }
    }

    /// Waits for the server's last word. Bad pages make it an error although everything was sent;
    /// one damaged file is no reason to have no backup of the rest.
    fn await_verdict(&mut self) -> Result<bool, Error> {
        loop {
            match self.client.next_frame(CHECKPOINT_WAIT) {
                Ok(frame) if frame.tag == tag::READY => return Ok(false),
                Ok(frame) if frame.tag == tag::COMMAND_COMPLETE => {}
                Ok(frame) => return Err(unexpected(frame.tag, "the end of the backup")),
                Err(error)
                    if error
                        .server_error()
                        .is_some_and(|error| error.sqlstate == DATA_CORRUPTED) =>
                {
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What the data at hand belongs to.
enum Part {
    Nothing,
    Archive(TarReader),
    Manifest,
}

fn archive_of_name(name: &str) -> Result<Archive, Error> {
    let refuse = || Error::protocol(format!("an archive named `{name}`"));
    match name.strip_suffix(".tar").ok_or_else(refuse)? {
        "base" => Ok(Archive::Base),
        oid => Ok(Archive::Tablespace(oid.parse().map_err(|_| refuse())?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> BackupRequest {
        BackupRequest::new("it's nightly")
    }

    #[test]
    fn each_dialect_is_spoken_to_its_versions() {
        let old = command(14, &request());
        assert!(
            old.starts_with("BASE_BACKUP LABEL 'it''s nightly' ") && old.contains(" FAST NOWAIT "),
            "{old}"
        );
        let new = command(15, &request());
        assert!(
            new.starts_with("BASE_BACKUP (LABEL 'it''s nightly', CHECKPOINT 'fast', "),
            "{new}"
        );
    }
}
