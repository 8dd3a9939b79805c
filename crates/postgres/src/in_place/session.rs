//! A server in backup mode.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::PageVerifier;
use super::plan::Plan;
use super::wal::{self, WalFile};
use super::walk;
use crate::client::{Client, quote_literal};
use crate::control_file::ControlFile;
use crate::error::{Doing, Error};
use crate::identity::{ServerIdentity, identity};
use crate::layout::{BackupLabel, Lsn, TablespaceMap};
use crate::wire::wal::slot_name;
use crate::wire::{BackupResult, Tablespace};

/// Start and stop wait for checkpoints, which take long on a busy server with much memory.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(2 * 3600);

/// From this version on the functions are called `pg_backup_start` and `pg_backup_stop`.
const RENAMED_SINCE: u32 = 15;

/// Why a data directory cannot be backed up in place. The way over the wire remains.
#[derive(Debug, thiserror::Error)]
pub enum NotInPlace {
    /// It is not there, or not ours to read.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is the data directory of another cluster than the connection leads to.
    #[error(
        "{path} belongs to another cluster: system identifier {found}, the server has {wanted}"
    )]
    AnotherCluster {
        /// The data directory.
        path: PathBuf,
        /// What its control file says.
        found: u64,
        /// What the server says.
        wanted: u64,
    },
    /// No server, or another one, runs on it: a copy, or another member of a replicated pair.
    #[error("the server does not run on {path}: {reason}")]
    NotTheServers {
        /// The data directory.
        path: PathBuf,
        /// How it was noticed.
        reason: String,
    },
}

/// Why a backup in place did not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory is not within reach; take the backup over the wire.
    #[error(transparent)]
    NotInPlace(#[from] NotInPlace),
    /// The server refused or went away.
    #[error(transparent)]
    Postgres(#[from] Error),
}

/// A server in backup mode. Dropping it without [`Session::stop`] ends the connection, on which the
/// server forgets the backup; no trace remains.
#[derive(Debug)]
pub struct Session {
    client: Client,
    pgdata: PathBuf,
    identity: ServerIdentity,
    tablespace_dir: String,
    label: String,
    start: Lsn,
    start_time: jiff::Timestamp,
    slot: Option<String>,
}

impl Session {
    /// Puts the server behind `client`, an SQL connection, into backup mode, after it was made sure
    /// that it runs on the data directory `pgdata`.
    ///
    /// A temporary replication slot holds back WAL while the session lives. If the role may not
    /// make one, the backup goes on with a warning, and fails in the end if WAL was recycled.
    ///
    /// # Errors
    /// [`StartError::NotInPlace`] before anything was changed; [`StartError::Postgres`] if the
    /// server refuses: the role must be a superuser or be granted the backup functions.
    pub fn start(mut client: Client, pgdata: &Path, label: &str) -> Result<Self, StartError> {
        let start_time = jiff::Timestamp::now();
        let identity = identity(&mut client)?;
        let control = check_cluster(&mut client, pgdata, &identity)?;
        check_tablespaces(pgdata)?;
        prepare(&mut client)?;
        let slot = hold_wal(&mut client)?;
        let start = begin(&mut client, label)?;
        let session = Self {
            client,
            pgdata: pgdata.to_owned(),
            tablespace_dir: format!("PG_{}_{}", identity.major, control.catalog_version),
            identity,
            label: label.to_owned(),
            start,
            start_time,
            slot,
        };
        session.check_checkpoint_is_here()?;
        Ok(session)
    }

    /// The cluster being backed up.
    pub fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// Where replay will begin.
    pub fn start_lsn(&self) -> Lsn {
        self.start
    }

    /// Whether a replication slot keeps the server from recycling the WAL of the backup.
    pub fn is_wal_held(&self) -> bool {
        self.slot.is_some()
    }

    /// Walks the data directory, and says what to copy and where to.
    ///
    /// # Errors
    /// If something that must be there cannot be read.
    pub fn plan(&self) -> Result<Plan, Error> {
        walk::plan(&self.pgdata, &self.tablespace_dir, self.identity.block_size)
            .doing(|| format!("walk the data directory {}", self.pgdata.display()))
    }

    /// Verifies pages of this backup; `None` if the cluster has no checksums.
    pub fn page_verifier(&self) -> Option<PageVerifier> {
        let verifier = PageVerifier::new(self.start, self.identity.block_size);
        self.identity.data_checksums.then_some(verifier)
    }

    /// Reads `global/pg_control`, to be called when everything else has been copied.
    ///
    /// # Errors
    /// As [`ControlFile::read`].
    pub fn control_file(&self) -> Result<ControlFile, Error> {
        ControlFile::read(&self.pgdata)
    }

    /// Ends backup mode. What is returned holds the contents of `backup_label` and
    /// `tablespace_map`, which belong into the tree, and the names of the WAL segments.
    ///
    /// The session holds back WAL until it is dropped: copy [`Self::wal_files`] first. Damaged
    /// pages are the caller's to add to the result.
    ///
    /// # Errors
    /// If the server refuses, for instance because it was promoted during the backup, or if the
    /// connection was lost, on which the server forgot the backup.
    pub fn stop(&mut self, tablespaces: Vec<Tablespace>) -> Result<BackupResult, Error> {
        let (stop_lsn, backup_label, map) = self.end().doing(|| "end backup mode".to_owned())?;
        let label = BackupLabel::parse(&backup_label)?;
        let tablespace_map = TablespaceMap::parse(&map)?.within_tree().to_text();
        let segments =
            self.identity
                .wal_segment_size
                .covering(label.timeline, label.start, stop_lsn);
        Ok(BackupResult {
            identity: self.identity.clone(),
            label: self.label.clone(),
            start_lsn: label.start,
            stop_lsn,
            start_timeline: label.timeline,
            start_time: self.start_time,
            stop_time: jiff::Timestamp::now(),
            tablespaces,
            backup_label,
            tablespace_map: (!tablespace_map.is_empty()).then_some(tablespace_map),
            wal_segments: segments.iter().map(ToString::to_string).collect(),
            checksum_failures: Vec::new(),
        })
    }

    /// The files under `pg_wal` that the backup needs, each checked to be whole and the right one.
    ///
    /// # Errors
    /// [`Error::WalMissing`] if one was recycled, which a held slot prevents.
    pub fn wal_files(&self, backup: &BackupResult) -> Result<Vec<WalFile>, Error> {
        let span = (backup.start_timeline, backup.start_lsn, backup.stop_lsn);
        wal::wal_files(
            &self.pgdata,
            span,
            self.identity.wal_segment_size,
            self.identity.system_identifier,
        )
        .doing(|| "collect the WAL of the backup".to_owned())
    }

    fn end(&mut self) -> Result<(Lsn, String, String), Error> {
        let sql = match self.identity.major >= RENAMED_SINCE {
            true => {
                "SELECT lsn, labelfile, spcmapfile FROM pg_backup_stop(wait_for_archive => false)"
            }
            false => "SELECT lsn, labelfile, spcmapfile FROM pg_stop_backup(false, false)",
        };
        let rows = self.client.query_within(sql, CHECKPOINT_WAIT)?;
        let row = rows.first()?;
        let map = row.text("spcmapfile").unwrap_or_default().to_owned();
        Ok((row.get("lsn")?, row.get("labelfile")?, map))
    }

    /// Backup mode began with a checkpoint, and so did the control file of the server's directory.
    /// In a directory that merely looks the same, it did not.
    fn check_checkpoint_is_here(&self) -> Result<(), StartError> {
        match self.control_file()?.redo >= self.start {
            true => Ok(()),
            false => Err(NotInPlace::NotTheServers {
                path: self.pgdata.clone(),
                reason: "the checkpoint of the backup's start did not arrive there".to_owned(),
            }
            .into()),
        }
    }
}

/// Makes sure that the directory can be read and is the one the server runs on.
fn check_cluster(
    client: &mut Client,
    pgdata: &Path,
    identity: &ServerIdentity,
) -> Result<ControlFile, StartError> {
    let control = match ControlFile::read(pgdata) {
        Err(Error::Io { path, source, .. }) => {
            return Err(NotInPlace::Unreadable {
                path: path.into(),
                source,
            }
            .into());
        }
        control => control?,
    };
    if control.system_identifier != identity.system_identifier {
        let (found, wanted) = (control.system_identifier, identity.system_identifier);
        return Err(NotInPlace::AnotherCluster {
            path: pgdata.to_owned(),
            found,
            wanted,
        }
        .into());
    }
    let not_here = |reason: String| NotInPlace::NotTheServers {
        path: pgdata.to_owned(),
        reason,
    };
    let pid_file = fs::read_to_string(pgdata.join("postmaster.pid"));
    let pid_file = pid_file.map_err(|error| not_here(format!("postmaster.pid: {error}")))?;
    // Process, directory, start, port. The process may live in another namespace.
    let port = pid_file.lines().nth(3).unwrap_or_default().trim();
    let wanted = client.show("port")?;
    if port != wanted {
        return Err(not_here(format!(
            "postmaster.pid names port {port}, the server listens on {wanted}"
        ))
        .into());
    }
    Ok(control)
}

/// Tablespaces outside PGDATA may be out of reach though PGDATA is not, for instance in a container.
fn check_tablespaces(pgdata: &Path) -> Result<(), StartError> {
    let links = pgdata.join("pg_tblspc");
    let unreadable = |path: &Path, source| NotInPlace::Unreadable {
        path: path.to_owned(),
        source,
    };
    for entry in fs::read_dir(&links).map_err(|source| unreadable(&links, source))? {
        let path = entry.map_err(|source| unreadable(&links, source))?.path();
        fs::read_dir(&path).map_err(|source| unreadable(&path, source))?;
    }
    Ok(())
}

/// A session that idles for the length of a backup must not be ended for it.
fn prepare(client: &mut Client) -> Result<(), Error> {
    client.query("SET statement_timeout = 0; SET lock_timeout = 0")?;
    if client.major() >= 14 {
        client.query("SET idle_session_timeout = 0")?;
    }
    Ok(())
}

fn hold_wal(client: &mut Client) -> Result<Option<String>, Error> {
    let slot = slot_name();
    let sql = format!(
        "SELECT pg_create_physical_replication_slot({}, true, true)",
        quote_literal(&slot)
    );
    match client.query(&sql) {
        Ok(_) => Ok(Some(slot)),
        // Asked on the server, which answered: the connection is well, the wish was refused.
        Err(error) if error.server_error().is_some() && !error.is_lost() => {
            tracing::warn!(%error, "WAL is not held back during the backup");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn begin(client: &mut Client, label: &str) -> Result<Lsn, Error> {
    let label = quote_literal(label);
    let sql = match client.major() >= RENAMED_SINCE {
        true => format!("SELECT pg_backup_start({label}, true)"),
        false => format!("SELECT pg_start_backup({label}, true, false)"),
    };
    let rows = client
        .query_within(&sql, CHECKPOINT_WAIT)
        .doing(|| "begin backup mode".to_owned())?;
    rows.single()
}
