//! From a running server into a backup.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rekindle_vault::{Backup, BackupError, Chunking, FileWriter, Node, TreePath};

use super::RedisServer;
use super::aof::{AofKind, OpenAof, OpenAofFile, open, scan};
use super::bgsave::{save, server_time};
use super::client::Client;
use super::error::RedisError;
use super::info::ServerVersion;
use super::rdb::{RdbError, RdbSummary, read_rdb};
use super::record::{AofFileRecord, AofRecord, RdbRecord, RdbWay};
use super::settings::Settings;
use super::sync::IncomingRdb;
use crate::postgres::{join, private_directory, private_file};
use crate::{CaptureContext, CaptureError};

/// What the RDB is called in every recovery point, whatever the server calls it.
pub const DUMP_FILE: &str = "dump.rdb";
/// How often it is tried to find files and server in agreement.
const TRIES: u32 = 12;
/// A rewrite that comes between is waited out, longer each time: 6.6 s in all.
const PAUSE: Duration = Duration::from_millis(100);
/// A fork that is older than this when the server tells of it was made for somebody else.
const FORK_SECONDS: i64 = 5;

/// One server being captured.
pub struct Capture<'a> {
    pub server: &'a RedisServer,
    pub backup: &'a Backup,
    pub context: &'a CaptureContext<'a>,
    pub client: Client,
    pub version: ServerVersion,
    pub settings: Settings,
}

impl Capture<'_> {
    /// Over the replication protocol; from the server's files if it does not let us.
    pub fn rdb(&mut self) -> Result<RdbRecord, CaptureError> {
        let ahead = self.clock_ahead()?;
        let client = self.server.connect()?;
        let refused = match IncomingRdb::request(client, &self.version) {
            Ok(mut incoming) => {
                if let Some(bytes) = incoming.length() {
                    self.context.progress.expect_bytes(bytes);
                }
                let begun = incoming.begun;
                let summary = self.store_rdb(&mut incoming)?;
                return Ok(RdbRecord {
                    way: RdbWay::Replication,
                    as_of: as_of(begun, summary.created, ahead),
                    summary,
                });
            }
            Err(error) if error.is_refusal() => error,
            Err(error) => return Err(self.server.failed(error)),
        };
        tracing::info!(reason = %refused, "the server lets nobody replicate; it saves to its disk");
        self.saved_rdb(ahead).map_err(|error| match error {
            CaptureError::Redis { source, .. } => self.server.failed(RedisError::NoWay {
                replication: refused.to_string(),
                files: Box::new(source),
            }),
            other => other,
        })
    }

    fn saved_rdb(&mut self, ahead: i64) -> Result<RdbRecord, CaptureError> {
        let directory = self.directory()?;
        let name = self.settings.file_name("dbfilename", DUMP_FILE);
        let mut saved =
            save(&mut self.client, &directory, &name).map_err(|error| self.server.failed(error))?;
        let begun = Timestamp::now();
        let summary = self.store_rdb(&mut saved.file)?;
        // Seconds; and who copies the file of another server has found the wrong directory.
        if summary
            .created
            .is_none_or(|created| created + 1 < saved.not_before)
        {
            return Err(self.server.failed(RedisError::Files {
                path: saved.path,
                what: "it is older than the BGSAVE that just succeeded".to_owned(),
            }));
        }
        let created = summary.created.and_then(|created| moment(created - ahead));
        Ok(RdbRecord {
            way: RdbWay::Bgsave,
            as_of: created.unwrap_or(begun),
            summary,
        })
    }

    fn store_rdb(&self, source: &mut dyn io::Read) -> Result<RdbSummary, CaptureError> {
        let mut writer = self.writer(&join(&self.context.at, DUMP_FILE)?);
        let summary = read_rdb(source, &mut writer).map_err(|error| self.rdb_failed(error))?;
        writer.finish()?;
        Ok(summary)
    }

    /// The append-only files, as far as they were written when this begins.
    pub fn aof(&mut self) -> Result<AofRecord, CaptureError> {
        let (opened, as_of) = self.open_aof()?;
        let directory = self.append_directory();
        let at = match &directory {
            Some(directory) => {
                let at = join(&self.context.at, directory)?;
                self.backup.add_node(&at, private_directory())?;
                at
            }
            None => self.context.at.clone(),
        };
        let append_file = self
            .settings
            .file_name("appendfilename", super::aof::APPEND_FILE);
        if let Some(manifest) = &opened.manifest {
            let path = join(&at, &super::aof::manifest_name(&append_file))?;
            let text = manifest.to_text();
            self.backup
                .add_bytes(&path, private_file(), text.as_bytes())?;
        }
        let last = opened.files.len() - 1;
        let mut files = Vec::new();
        let mut torn_bytes = 0;
        for (number, mut file) in opened.files.into_iter().enumerate() {
            let may_be_torn = number == last && file.kind == AofKind::Incremental;
            let (record, torn) = self.store_aof_file(&at, &mut file, may_be_torn)?;
            files.push(record);
            torn_bytes += torn;
        }
        Ok(AofRecord {
            directory,
            file: append_file,
            as_of,
            files,
            torn_bytes,
        })
    }

    /// Opens a set of files that has the length that the server says.
    fn open_aof(&mut self) -> Result<(OpenAof, Timestamp), CaptureError> {
        let directory = self.directory()?;
        let append_directory = self.append_directory();
        let append_file = self
            .settings
            .file_name("appendfilename", super::aof::APPEND_FILE);
        let mut found = String::new();
        for attempt in 0..TRIES {
            thread::sleep(PAUSE * attempt);
            let before = self.aof_size()?;
            let as_of = Timestamp::now();
            let opened = open(&directory, append_directory.as_deref(), &append_file)
                .map_err(|error| self.server.failed(error))?;
            let after = self.aof_size()?;
            if (before..=after).contains(&opened.bytes()) {
                return Ok((opened, as_of));
            }
            found = format!(
                "its append-only files have {} bytes, and the server says {before} to {after}",
                opened.bytes()
            );
        }
        let path = directory;
        Err(self.server.failed(RedisError::Files { path, what: found }))
    }

    fn aof_size(&mut self) -> Result<u64, CaptureError> {
        let info = self.client.info("persistence");
        let info = info.map_err(|error| self.server.failed(error))?;
        match info.number("aof_current_size") {
            Some(bytes) if info.is("aof_enabled", "1") => Ok(bytes),
            _ => Err(self.server.failed(RedisError::NoAppendOnly)),
        }
    }

    fn store_aof_file(
        &self,
        at: &TreePath,
        file: &mut OpenAofFile,
        may_be_torn: bool,
    ) -> Result<(AofFileRecord, u64), CaptureError> {
        let failed = |error| self.file_failed(&file.path, error);
        let (bytes, torn) = match may_be_torn {
            false => (file.bytes, 0),
            true => {
                let mut part = (&file.file).take(file.bytes);
                let scanned = scan(&mut part, &mut io::sink()).map_err(failed)?;
                (scanned.whole_bytes, scanned.torn_bytes)
            }
        };
        io::Seek::rewind(&mut &file.file).map_err(|error| failed(RdbError::Read(error)))?;
        let mut writer = self.writer(&join(at, &file.name)?);
        let mut part = (&file.file).take(bytes);
        let scanned = scan(&mut part, &mut writer).map_err(failed)?;
        if scanned.whole_bytes != bytes {
            return Err(failed(RdbError::Cut {
                at: scanned.whole_bytes,
            }));
        }
        writer.finish()?;
        let record = AofFileRecord {
            name: file.name.clone(),
            kind: file.kind,
            bytes,
            commands: scanned.commands,
            rdb: scanned.preamble,
        };
        Ok((record, torn))
    }

    fn append_directory(&self) -> Option<String> {
        let default = super::aof::APPEND_DIRECTORY;
        self.version
            .has_append_directory()
            .then(|| self.settings.file_name("appenddirname", default))
    }

    fn directory(&self) -> Result<PathBuf, CaptureError> {
        let found = self.server.directory(self.settings.get("dir"));
        found.map_err(|error| self.server.failed(error))
    }

    fn writer(&self, path: &TreePath) -> FileWriter {
        let node: Node = private_file();
        self.backup
            .file_writer(path.clone(), node, Chunking::ContentDefined)
    }

    /// By how many seconds the server's clock is ahead of ours.
    fn clock_ahead(&mut self) -> Result<i64, CaptureError> {
        let theirs = server_time(&mut self.client).map_err(|error| self.server.failed(error))?;
        Ok(theirs - Timestamp::now().as_second())
    }

    fn rdb_failed(&self, error: RdbError) -> CaptureError {
        match error {
            RdbError::Write(error) => vault_failed(error),
            error => self.server.failed(self.server.stream_failed(error)),
        }
    }

    fn file_failed(&self, path: &Path, error: RdbError) -> CaptureError {
        match error {
            RdbError::Write(error) => vault_failed(error),
            error => self.server.failed(RedisError::Files {
                path: path.to_owned(),
                what: crate::with_causes(&error),
            }),
        }
    }
}

/// What a writer of the vault said through `io::Write`.
pub(super) fn vault_failed(error: io::Error) -> CaptureError {
    match error.downcast::<BackupError>() {
        Ok(error) => error.into(),
        Err(_) => BackupError::Failed.into(),
    }
}

/// When the server forked, by our clock: as it told us, unless the RDB says that it had forked long before, for
/// somebody else.
fn as_of(told: Timestamp, created: Option<i64>, ahead: i64) -> Timestamp {
    let forked = created.and_then(|created| moment(created - ahead));
    match forked {
        Some(forked) if told.as_second() - forked.as_second() > FORK_SECONDS => forked,
        _ => told,
    }
}

fn moment(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_made_for_somebody_else_counts_from_its_own_time() {
        let told = Timestamp::from_second(1000).unwrap();
        assert_eq!(as_of(told, Some(999), 0), told);
        assert_eq!(as_of(told, None, 0), told);
        assert_eq!(as_of(told, Some(900), 0).as_second(), 900);
        // The server's clock is an hour ahead.
        assert_eq!(as_of(told, Some(4599), 3600), told);
        assert_eq!(as_of(told, Some(4500), 3600).as_second(), 900);
    }
}
