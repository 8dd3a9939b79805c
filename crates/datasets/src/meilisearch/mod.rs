//! MeiliSearch servers, as dumps that a server imports; or as the command that makes the indexes anew.
//!
//! A capture asks the server for a dump and reads it from its dump directory or the service's storage; where neither can
//! be reached, everything is read through the API. A restore in place fills new indexes beside the live ones, and lets
//! them change names in one task of the server's.

mod client;
mod dump;
mod error;
mod in_place;
mod record;
mod server_dump;
mod tasks;
mod through_api;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use jiff::Timestamp;
use rekindle_stack::{self as stack, Secret, ServiceUrl};
use rekindle_vault::{AddedBytes, Backup, Chunking, TreePath};

pub use dump::{DUMP_FILE, stored_gzip::StoredGzip};
pub use error::MeilisearchError;
pub use in_place::{MeilisearchAside, SwappedIndex};
pub use record::{MeilisearchDump, MeilisearchIndex, MeilisearchRecord, MeilisearchWay};

use crate::{
    Aside, CaptureContext, CaptureError, Captured, Dataset, DatasetRecord, InPlaceError,
    InPlaceSteps, Journal, PointSource, RestoredInPlace, Surroundings,
    postgres::{join, private_directory, private_file},
};
use client::Client;

/// Where MeiliSearch listens unless it is told otherwise.
const PORT: u16 = 7700;
/// A dump of many millions of documents takes minutes, and waits for tasks before it.
const TASK_LIMIT: Duration = Duration::from_secs(60 * 60);
/// What a point holds when the indexes are rebuilt: the command, for a person who has nothing but the point.
const REBUILD_FILE: &str = "rebuild.txt";

/// A server to be captured.
pub struct MeilisearchServer {
    url: ServiceUrl,
    at: Option<SocketAddr>,
    key: Option<Secret>,
    dump_directory: Option<PathBuf>,
    task_limit: Duration,
    rebuild: Option<String>,
    surroundings: Surroundings,
}

impl MeilisearchServer {
    /// The server of the configuration. Nothing is asked of it yet.
    ///
    /// # Errors
    /// If its key cannot be read.
    pub fn from_settings(
        settings: &stack::MeilisearchDataset,
        surroundings: &Surroundings,
    ) -> Result<Self, CaptureError> {
        let key = settings.key.as_ref().map(stack::SecretSource::read);
        let limit = settings.task_limit;
        Ok(Self {
            url: settings.url.clone(),
            at: surroundings.address_of(&settings.url, PORT),
            key: key.transpose()?,
            dump_directory: settings.dump_directory.clone(),
            task_limit: limit.map_or(TASK_LIMIT, stack::Period::as_duration),
            rebuild: settings.rebuild.clone(),
            surroundings: surroundings.clone(),
        })
    }

    fn client(&self) -> Result<Client, CaptureError> {
        Client::new(self.url.expose(), self.at, self.key.clone())
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, source: MeilisearchError) -> CaptureError {
        CaptureError::Meilisearch {
            address: self.url.to_string(),
            source: Box::new(source),
        }
    }

    fn capture_command(
        command: &str,
        backup: &Backup,
        context: &CaptureContext<'_>,
    ) -> Result<Captured, CaptureError> {
        let text = format!(
            "Nothing of this MeiliSearch server was captured: its indexes are made anew by\n\n{command}\n"
        );
        let path = join(&context.at, REBUILD_FILE)?;
        backup.add_bytes(&path, private_file(), text.as_bytes())?;
        Ok(captured(MeilisearchRecord {
            server_version: String::new(),
            way: MeilisearchWay::Rebuild,
            dump: None,
            rebuild: Some(command.to_owned()),
        }))
    }

    fn capture_dump(
        &self,
        backup: &Backup,
        context: &CaptureContext<'_>,
    ) -> Result<Captured, CaptureError> {
        let client = self.client()?;
        let version = client.version().map_err(|error| self.failed(error))?;
        let path = join(&context.at, DUMP_FILE)?;
        let mut warnings = Vec::new();
        if let Some(place) = server_dump::Place::find(self, &mut warnings) {
            let captured = place.capture(self, &client, &version, backup, &path, &mut warnings);
            if let Some(mut captured) = captured? {
                captured.warnings = warnings;
                return Ok(captured);
            }
        }
        self.capture_through_api(&client, &version, backup, &path, warnings, context)
    }

    fn capture_through_api(
        &self,
        client: &Client,
        version: &str,
        backup: &Backup,
        path: &TreePath,
        mut warnings: Vec<String>,
        context: &CaptureContext<'_>,
    ) -> Result<Captured, CaptureError> {
        let begun = Timestamp::now();
        let writer = backup.file_writer(path.clone(), private_file(), Chunking::ContentDefined);
        let written = through_api::write_dump(client, version, writer, context.progress);
        let (writer, read) = written.map_err(|error| self.failed(error))?;
        let bytes = writer.bytes();
        writer.finish()?;
        warnings.extend(read.warnings);
        Ok(Captured {
            warnings,
            partly: read.partly,
            // Each index was read at a time of its own, from this moment on.
            as_of: Some(begun),
            ..captured(MeilisearchRecord {
                server_version: version.to_owned(),
                way: MeilisearchWay::Api,
                dump: Some(MeilisearchDump { bytes, ..read.dump }),
                rebuild: None,
            })
        })
    }
}

fn captured(record: MeilisearchRecord) -> Captured {
    Captured {
        record: DatasetRecord::Meilisearch(record),
        warnings: Vec::new(),
        partly: Vec::new(),
        as_of: None,
        beside: AddedBytes::default(),
    }
}

impl Dataset for MeilisearchServer {
    fn kind(&self) -> &'static str {
        "meilisearch"
    }

    fn describe(&self) -> String {
        let url = &self.url;
        match (&self.rebuild, &self.dump_directory) {
            (Some(_), _) => format!("nothing of {url}: its indexes are rebuilt by a command"),
            (None, Some(directory)) => format!("a dump of {url}, read in {}", directory.display()),
            (None, None) => format!(
                "a dump of {url}, read in the storage of its service, or made through the API"
            ),
        }
    }

    fn capture(
        &self,
        backup: &Backup,
        context: &CaptureContext<'_>,
    ) -> Result<Captured, CaptureError> {
        backup.add_node(&context.at, private_directory())?;
        match &self.rebuild {
            Some(command) => Self::capture_command(command, backup, context),
            None => self.capture_dump(backup, context),
        }
    }

    fn plan_in_place(&self, source: &PointSource<'_>) -> Result<InPlaceSteps, InPlaceError> {
        in_place::plan(self, source)
    }

    fn restore_in_place(
        &self,
        source: &PointSource<'_>,
        journal: &mut dyn Journal,
    ) -> Result<RestoredInPlace, InPlaceError> {
        in_place::restore(self, source, journal)
    }

    fn undo_in_place(&self, aside: &Aside) -> Result<Vec<String>, InPlaceError> {
        in_place::undo(self, in_place::own(aside)?)
    }

    fn discard_aside(&self, aside: &Aside) -> Result<Vec<String>, InPlaceError> {
        in_place::discard(self, in_place::own(aside)?)
    }
}
