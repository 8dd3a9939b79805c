//! Redis and Valkey: an RDB over the replication protocol or from the server's files, and the append-only files.
//!
//! Start at [`RedisServer`]. Into a running server data comes back as it comes to a replica: for a moment we are its
//! master; one that does not run has its files replaced. [`prepare_directory`] makes files that a server loads whatever its settings.

mod address;
mod aof;
mod bgsave;
mod by_files;
mod capture;
mod check;
mod client;
mod cluster;
mod error;
mod import;
mod info;
mod link;
mod live;
mod load;
mod master;
mod prepare;
mod rdb;
mod record;
mod settings;
mod stream;
mod sync;
mod tls;
mod undoing;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rekindle_stack::{self as stack, RedisPart};
use rekindle_vault::{AddedBytes, Backup};

pub use address::{DEFAULT_PORT, Endpoint, RedisOptions};
pub use aof::AofKind;
pub use capture::DUMP_FILE;
pub use check::{check_rdb, open_rdb};
pub use cluster::{ClusterRecord, ShardRecord, SlotRange};
pub use error::RedisError;
pub use import::store_rdb;
pub use info::ServerVersion;
pub use prepare::{FileNames, prepare_directory, prepare_point};
pub use rdb::{DatabaseKeys, RdbError, RdbFamily, RdbSummary, RdbVersion, read_rdb};
pub use record::{
    AofFileRecord, AofRecord, LiveAside, LivePhase, RdbRecord, RdbWay, RedisAside, RedisRecord,
};
pub use tls::Identity;

use crate::{
    Aside, Candidate, CaptureContext, CaptureError, Captured, Dataset, DatasetRecord, InPlaceError,
    InPlaceSteps, Journal, PointSource, RestoredInPlace, Surroundings,
};
use capture::Capture;
use client::Client;
use settings::Settings;
use stream::is_timeout;

/// A server to be captured.
#[derive(Clone)]
pub struct RedisServer {
    options: RedisOptions,
    include: Vec<RedisPart>,
    data_directory: Option<PathBuf>,
    surroundings: Surroundings,
    /// Where copies of what a restore replaced are kept.
    state_directory: PathBuf,
}

impl RedisServer {
    /// The server of the configuration.
    ///
    /// # Errors
    /// If the password cannot be read.
    pub fn from_settings(
        settings: &stack::RedisDataset,
        surroundings: &Surroundings,
    ) -> Result<Self, CaptureError> {
        let mut settings = settings.clone();
        let host = settings.url.hosts().first().map(|(host, _)| host.clone());
        settings.url = surroundings.reachable(&settings.url, DEFAULT_PORT);
        let mut options = RedisOptions::from_settings(&settings)?;
        // Its certificate is for the name that it was called by.
        options.tls_name = host;
        Ok(Self {
            options,
            include: settings.include,
            data_directory: settings.data_directory,
            surroundings: surroundings.clone(),
            state_directory: state_directory().join("redis"),
        })
    }

    /// Keeps copies of what a restore in place replaces there, instead of in `/var/lib/rekindle/redis` or where else
    /// this user's programs keep their state.
    #[must_use]
    pub fn with_state_directory(mut self, directory: PathBuf) -> Self {
        self.state_directory = directory;
        self
    }

    /// Waits so long for the server's next byte, instead of a minute.
    #[must_use]
    pub fn with_quiet_limit(mut self, limit: Duration) -> Self {
        self.options.quiet_limit = limit;
        self
    }

    fn connect(&self) -> Result<Client, CaptureError> {
        Client::connect(&self.options).map_err(|error| self.failed(error))
    }

    fn failed(&self, source: RedisError) -> CaptureError {
        CaptureError::Redis {
            address: self.options.shown.clone(),
            source,
        }
    }

    /// What a stream from the server said through `io::Read`.
    fn stream_failed(&self, error: RdbError) -> RedisError {
        let doing = "receiving the RDB".to_owned();
        match error {
            RdbError::Read(source) if is_timeout(&source) => RedisError::Silent {
                doing,
                after: self.options.quiet_limit,
            },
            RdbError::Read(source) => RedisError::Gone { doing, source },
            other => other.into(),
        }
    }

    /// Where the server's `dir` is seen from here.
    fn directory(&self, dir: Option<&str>) -> Result<PathBuf, RedisError> {
        if let Some(directory) = &self.data_directory {
            return Ok(directory.clone());
        }
        let Some(dir) = dir.map(Path::new) else {
            let why = "the server does not say where they are (`CONFIG GET dir`)";
            return Err(RedisError::NoDirectory(why.to_owned()));
        };
        if let Some(here) = self.storage_of(dir) {
            return Ok(here);
        }
        match dir.is_dir() {
            true => Ok(dir.to_owned()),
            false => Err(RedisError::NoDirectory(format!(
                "the server has them in {}, and that is no directory of this machine",
                dir.display()
            ))),
        }
    }

    /// Where the runtime says that this directory of the service is.
    fn storage_of(&self, dir: &Path) -> Option<PathBuf> {
        let runtime = self.surroundings.runtime.as_ref()?;
        let storages = runtime.storage(&self.surroundings.service);
        let storages = storages
            .inspect_err(
                |error| tracing::warn!(%error, "where the service keeps its files is not known"),
            )
            .ok()?;
        storages.iter().find_map(|storage| {
            let below = dir.strip_prefix(&storage.inside).ok()?;
            storage.here.as_ref().map(|here| here.join(below))
        })
    }
}

impl Dataset for RedisServer {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn describe(&self) -> String {
        let parts: Vec<_> = self
            .include
            .iter()
            .map(|part| match part {
                RedisPart::Aof => "append-only files",
                _ => "RDB",
            })
            .collect();
        format!("{} of {}", parts.join(" and "), self.options.shown)
    }

    fn capture(
        &self,
        backup: &Backup,
        context: &CaptureContext<'_>,
    ) -> Result<Captured, CaptureError> {
        let mut client = self.connect()?;
        let info = client.info("server").map_err(|error| self.failed(error))?;
        let settings = Settings::read(&mut client).map_err(|error| self.failed(error))?;
        let version = ServerVersion::of(&info);
        let replication = client.info("replication");
        let replication = replication.map_err(|error| self.failed(error))?;
        let mut record = RedisRecord {
            server: version.name.clone(),
            version: version.version.clone(),
            settings: settings.clone().into_map(),
            role: replication.role(),
            ..RedisRecord::default()
        };
        let wants = |part| self.include.contains(&part);
        let is_node = cluster::is_node(&mut client).map_err(|error| self.failed(error))?;
        if is_node && wants(RedisPart::Aof) {
            return Err(self.failed(RedisError::NoFilesOfClusters));
        }
        if is_node {
            record.cluster = Some(self.capture_cluster(&mut client, backup, context)?);
        } else {
            let mut capture = Capture {
                server: self,
                backup,
                context,
                client,
                version,
                settings,
            };
            if wants(RedisPart::Rdb) {
                record.rdb = Some(capture.rdb()?);
            }
            if wants(RedisPart::Aof) {
                record.aof = Some(capture.aof()?);
            }
        }
        backup.wait_for_files()?;
        let as_of = record.as_of();
        let mut warnings = record.remarks();
        warnings.extend(record.role_change(context.previous));
        Ok(Captured {
            warnings,
            partly: record
                .cluster
                .iter()
                .flat_map(ClusterRecord::partly)
                .collect(),
            as_of,
            beside: AddedBytes::default(),
            record: DatasetRecord::Redis(record),
        })
    }

    fn plan_in_place(&self, source: &PointSource<'_>) -> Result<InPlaceSteps, InPlaceError> {
        ensure_whole(source)?;
        match self.is_down() {
            true => self.plan_files(source.record),
            false => self.plan_live(source.record),
        }
    }

    /// A server that runs is given the data as it is; files are built for one that does not.
    fn prepare_in_place(
        &self,
        source: &PointSource<'_>,
        journal: &mut dyn Journal,
    ) -> Result<Option<Box<dyn Candidate>>, InPlaceError> {
        ensure_whole(source)?;
        match self.is_down() {
            true => self.prepare_files(source, journal).map(Some),
            false => Ok(None),
        }
    }

    fn restore_in_place(
        &self,
        source: &PointSource<'_>,
        journal: &mut dyn Journal,
    ) -> Result<RestoredInPlace, InPlaceError> {
        ensure_whole(source)?;
        match self.prepare_in_place(source, journal)? {
            Some(candidate) => candidate.swap(journal),
            None => self.restore_live(source, journal),
        }
    }

    fn undo_in_place(&self, aside: &Aside) -> Result<Vec<String>, InPlaceError> {
        match own(aside)? {
            RedisAside::Live(live) => self.undo_live(live),
            RedisAside::Files(files) => self.undo_files(files),
        }
    }

    fn discard_aside(&self, aside: &Aside) -> Result<Vec<String>, InPlaceError> {
        match own(aside)? {
            RedisAside::Live(live) => self.discard_live(live),
            RedisAside::Files(files) => crate::files::in_place::discard(files),
        }
    }
}

fn own(aside: &Aside) -> Result<&RedisAside, InPlaceError> {
    match aside {
        Aside::Redis(aside) => Ok(aside),
        _ => Err(InPlaceError::Unsupported { kind: "redis" }),
    }
}

/// Refuses what cannot be restored in place: a part of the data, and a whole cluster.
fn ensure_whole(source: &PointSource<'_>) -> Result<(), InPlaceError> {
    if let DatasetRecord::Redis(record) = source.record
        && let Some(cluster) = &record.cluster
    {
        return Err(InPlaceError::Refused {
            reason: format!(
                "the point holds the {} shards of a cluster, and a cluster is not restored in place",
                cluster.shards.len()
            ),
            hint: Some(
                "`restore --to DIR` makes a directory of each shard that a node of a new cluster starts on, with its slots, and \
                 shows the commands"
                    .to_owned(),
            ),
        });
    }
    match &source.part {
        None => Ok(()),
        Some(part) => Err(InPlaceError::Refused {
            reason: format!(
                "`{part}` alone cannot be restored: a server takes all of its data or nothing"
            ),
            hint: None,
        }),
    }
}

/// Where this machine keeps what is not configuration: `$STATE_DIRECTORY` (as systemd sets it), for root
/// `/var/lib/rekindle`, else `rekindle` in `$XDG_STATE_HOME` or `~/.local/state`. Source: systemd.exec(5); the XDG Base
/// Directory Specification.
fn state_directory() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(directories) = set("STATE_DIRECTORY")
        && let Some(first) = std::env::split_paths(&directories).next()
    {
        return first;
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/rekindle");
    }
    let home = || Some(PathBuf::from(set("HOME")?).join(".local/state"));
    let state = set("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    state.unwrap_or_else(std::env::temp_dir).join("rekindle")
}
