//! A dump that the server itself writes, read from wherever it put it.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::read::GzDecoder;
use jiff::Timestamp;
use rekindle_runtimes::{Runtime, Storage};
use rekindle_vault::{Backup, Chunking, FileWriter, TreePath};

use super::{
    DUMP_FILE, MeilisearchError, MeilisearchRecord, MeilisearchServer, MeilisearchWay, StoredGzip,
    captured, client::Client, dump::read::walk_tar, record::Tally, tasks,
};
use crate::{CaptureError, Captured, postgres::private_file, with_causes};

/// Where the official image puts dumps, below what it keeps, and where a server that is told its directory may.
const BELOW: [&str; 3] = ["dumps", "", "meili_data/dumps"];

/// Where dumps can be read.
pub(super) enum Place {
    /// In a directory of this machine.
    Directory(PathBuf),
    /// In what the service keeps.
    Storage {
        runtime: Arc<dyn Runtime>,
        storage: Vec<Storage>,
    },
}

impl Place {
    /// The place of the configuration, else the service's storage; `None` if there is neither.
    pub(super) fn find(server: &MeilisearchServer, warnings: &mut Vec<String>) -> Option<Self> {
        if let Some(directory) = &server.dump_directory {
            return Some(Self::Directory(directory.clone()));
        }
        let surroundings = &server.surroundings;
        let runtime = surroundings.runtime.as_ref()?;
        match runtime.storage(&surroundings.service) {
            Ok(storage) if storage.is_empty() => None,
            Ok(storage) => Some(Self::Storage {
                runtime: Arc::clone(runtime),
                storage,
            }),
            Err(error) => {
                let why = with_causes(&error);
                warnings.push(format!("the service's storage cannot be told: {why}"));
                None
            }
        }
    }

    /// Lets the server write a dump and stores it; `None` if it is in none of the places where it could be read.
    pub(super) fn capture(
        &self,
        server: &MeilisearchServer,
        client: &Client,
        version: &str,
        backup: &Backup,
        path: &TreePath,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Captured>, CaptureError> {
        let task = match client.make_dump() {
            Ok(task) => task,
            // Whoever names the directory wants the server's own dumps.
            Err(MeilisearchError::Refused {
                status: 403,
                message,
                ..
            }) if matches!(self, Self::Storage { .. }) => {
                warnings.push(format!(
                    "the key of the configuration may not make dumps (`dumps.create`): {message}"
                ));
                return Ok(None);
            }
            Err(error) => return Err(server.failed(error)),
        };
        let task = tasks::wait_for(client, &task, server.task_limit)
            .map_err(|error| server.failed(error))?;
        let name = task.details.as_ref().and_then(|d| d["dumpUid"].as_str());
        let is_name = |name: &&str| name.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let Some(name) = name.filter(is_name) else {
            let what = format!("what task {} says that it wrote", task.uid);
            let reason = "the server does not name it".to_owned();
            return Err(server.failed(MeilisearchError::NotADump { what, reason }));
        };
        let as_of = task
            .started_at
            .as_deref()
            .and_then(|text| text.parse().ok());
        let file = format!("{name}.dump");
        let taking = Taking {
            server,
            backup,
            path,
            file: &file,
        };
        let (dump, way) = match self {
            Self::Directory(directory) => {
                let found = directory.join(&file);
                (
                    taking.local(&found, warnings)?,
                    MeilisearchWay::DumpDirectory,
                )
            }
            Self::Storage { runtime, storage } => {
                match taking.of_storage(&**runtime, storage, warnings)? {
                    Some(dump) => (dump, MeilisearchWay::Storage),
                    None => {
                        warnings.push(format!(
                            "the server wrote {file}, and it is not in what its service keeps: name its directory as \
                             `dump_directory`"
                        ));
                        return Ok(None);
                    }
                }
            }
        };
        Ok(Some(Captured {
            as_of: Some(as_of.unwrap_or_else(Timestamp::now)),
            ..captured(MeilisearchRecord {
                server_version: version.to_owned(),
                way,
                dump: Some(dump),
                rebuild: None,
            })
        }))
    }
}

/// A dump on its way into the vault.
struct Taking<'a> {
    server: &'a MeilisearchServer,
    backup: &'a Backup,
    path: &'a TreePath,
    file: &'a str,
}

impl Taking<'_> {
    /// Stores a file of this machine, and removes it: the server keeps every dump it ever wrote, and this one was made
    /// for us.
    fn local(
        &self,
        found: &Path,
        warnings: &mut Vec<String>,
    ) -> Result<super::MeilisearchDump, CaptureError> {
        let opened = File::open(found).map_err(|source| {
            let path = found.to_owned();
            self.server
                .failed(MeilisearchError::ReadDump { path, source })
        })?;
        let dump = self.store(opened, &found.display().to_string())?;
        if let Err(error) = fs::remove_file(found) {
            warnings.push(format!(
                "the server's dump {} stays where it is, as it could not be removed: {error}",
                found.display()
            ));
        }
        Ok(dump)
    }

    /// Looks for the dump in all that the service keeps.
    fn of_storage(
        &self,
        runtime: &dyn Runtime,
        storage: &[Storage],
        warnings: &mut Vec<String>,
    ) -> Result<Option<super::MeilisearchDump>, CaptureError> {
        for kept in storage {
            for below in BELOW {
                let relative = Path::new(below).join(self.file);
                if let Some(here) = &kept.here {
                    let found = here.join(&relative);
                    if found.is_file() {
                        return self.local(&found, warnings).map(Some);
                    }
                    continue;
                }
                let Ok(mut access) = runtime.open_storage(&self.server.surroundings.service, kept)
                else {
                    continue;
                };
                let Ok(stream) = access.read(&relative) else {
                    continue;
                };
                let mut archive = tar::Archive::new(stream);
                let Some(Ok(entry)) = archive.entries().ok().and_then(|mut all| all.next()) else {
                    continue;
                };
                let inside = kept.inside.join(&relative);
                let dump = self.store(entry, &inside.display().to_string())?;
                warnings.push(format!(
                    "the server's dump {} stays where it is; remove old ones from time to time",
                    inside.display()
                ));
                return Ok(Some(dump));
            }
        }
        Ok(None)
    }

    /// What the server compressed is stored as it was before, inside gzip again.
    fn store(
        &self,
        content: impl Read,
        what: &str,
    ) -> Result<super::MeilisearchDump, CaptureError> {
        let path = self.path.clone();
        let writer = self
            .backup
            .file_writer(path, private_file(), Chunking::ContentDefined);
        let failed = |error: io::Error| {
            self.server.failed(MeilisearchError::NotADump {
                what: what.to_owned(),
                reason: error.to_string(),
            })
        };
        let mut tee = Tee {
            content: GzDecoder::new(content),
            out: StoredGzip::new(writer).map_err(failed)?,
        };
        let mut tally = Tally::default();
        walk_tar(&mut tee, what, &mut |part| tally.count(part))
            .map_err(|error| self.server.failed(error))?;
        let writer: FileWriter = tee.out.finish().map_err(failed)?;
        let dump = tally.finish(what, DUMP_FILE, writer.bytes());
        let dump = dump.map_err(|error| self.server.failed(error))?;
        writer.finish()?;
        Ok(dump)
    }
}

/// Writes what is read of it.
struct Tee<R, W: Write> {
    content: R,
    out: StoredGzip<W>,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.out.write_all(&buffer[..count])?;
        Ok(count)
    }
}
