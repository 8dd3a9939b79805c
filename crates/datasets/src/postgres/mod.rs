//! PostgreSQL clusters: physically as a PGDATA that starts, logically as dumps.

mod import;
mod in_place;
mod logical;
mod record;
mod wire;

use std::{ffi::OsString, path::PathBuf};

use rekindle_postgres::{
    self as pg, Client, ConnectOptions, Mode,
    dump::{DumpError, Selection, Tools},
    in_place::{NotInPlace, Session, StartError},
    wire::BackupResult,
};
use rekindle_stack as stack;
use rekindle_vault::{AddedBytes, Backup, Node, NodeKind, TreePath};

pub use import::{DumpToStore, ImportedDump, imported_database, store_dump};
pub use logical::dump_file_name;
pub use record::{DumpedDatabase, LogicalRecord, PhysicalMethod, PhysicalRecord, PostgresRecord};

use crate::{
    CaptureContext, CaptureError, Captured, Dataset, DatasetRecord, chunking::page_chunk_bytes,
    with_causes,
};

/// Where PostgreSQL listens unless it is told otherwise.
pub const PORT: u16 = 5432;
/// Where the physical backup lies below the dataset.
pub const BASE: &str = "base";
/// Where the dumps lie below the dataset.
pub const DUMP: &str = "dump";
/// What a restore must name last: without it no server starts.
pub const NAMED_LAST: &str = "global/pg_control";

/// A cluster to be captured.
#[derive(Debug)]
pub struct PostgresCluster {
    options: ConnectOptions,
    physical: Option<stack::CaptureMethod>,
    logical: Option<Selection>,
    data_directory: Option<PathBuf>,
    bin_dir: Option<PathBuf>,
    /// Words that make a command line run where the server runs.
    there: Option<Vec<OsString>>,
}

impl PostgresCluster {
    /// The cluster of the configuration.
    ///
    /// # Errors
    /// If the URL does not parse or the password cannot be read.
    pub fn from_settings(settings: &stack::PostgresDataset) -> Result<Self, CaptureError> {
        let url = settings.url.expose();
        let parsed = ConnectOptions::parse(url).map_err(|source| CaptureError::Postgres {
            address: settings.url.to_string(),
            source,
        })?;
        let options = match settings.read_password()? {
            Some(password) => parsed.with_password(password.expose()),
            None => parsed,
        };
        Ok(Self {
            options,
            physical: settings.physical.then_some(settings.method),
            logical: match &settings.logical {
                stack::LogicalDump::None => None,
                stack::LogicalDump::All => Some(Selection::All),
                stack::LogicalDump::Databases(names) => Some(Selection::Named(names.clone())),
            },
            data_directory: settings.data_directory.clone(),
            bin_dir: settings.bin_dir.clone(),
            there: None,
        })
    }

    /// The same cluster, whose tools may also be used where it runs: `prefix` are the words that make a command line run
    /// there.
    #[must_use]
    pub fn with_tools_there(self, prefix: Option<Vec<OsString>>) -> Self {
        Self {
            there: prefix,
            ..self
        }
    }

    /// Tools that dump a server of this major version: those of this machine, else those beside the server.
    ///
    /// # Errors
    /// [`DumpError::NoTools`] with every place that was looked at.
    pub fn dump_tools(&self, major: u32) -> Result<Tools, DumpError> {
        let here = Tools::find(self.bin_dir(), major);
        match (here, &self.there) {
            (Err(DumpError::NoTools { wanted, looked_at }), Some(prefix)) => {
                Tools::elsewhere(prefix.clone(), major).map_err(|error| match error {
                    DumpError::NoTools {
                        looked_at: there, ..
                    } => DumpError::NoTools {
                        wanted,
                        looked_at: looked_at.into_iter().chain(there).collect(),
                    },
                    other => other,
                })
            }
            (here, _) => here,
        }
    }

    /// How to connect.
    #[must_use]
    pub const fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Where the data directory is as seen from here, if the configuration says so.
    #[must_use]
    pub fn data_directory(&self) -> Option<&std::path::Path> {
        self.data_directory.as_deref()
    }

    /// Where the client tools are, if the configuration says so.
    #[must_use]
    pub fn bin_dir(&self) -> Option<&std::path::Path> {
        self.bin_dir.as_deref()
    }

    /// Which databases are dumped; `None` if none are.
    #[must_use]
    pub const fn logical(&self) -> Option<&Selection> {
        self.logical.as_ref()
    }

    /// How the cluster is to be captured physically; `None` if it is not.
    #[must_use]
    pub const fn physical(&self) -> Option<stack::CaptureMethod> {
        self.physical
    }

    fn failed(&self, source: pg::Error) -> CaptureError {
        CaptureError::Postgres {
            address: self.options.redacted(),
            source,
        }
    }

    /// Begins a backup in place, if that is wanted and can be: otherwise says why not.
    ///
    /// # Errors
    /// If the server cannot be reached, or in place is demanded and impossible.
    pub fn start_in_place(&self, label: &str) -> Result<Result<Session, String>, CaptureError> {
        let demanded = match self.physical {
            Some(stack::CaptureMethod::Wire) => return Ok(Err("`method: wire`".to_owned())),
            Some(stack::CaptureMethod::InPlace) => true,
            _ => false,
        };
        let mut client =
            Client::connect(&self.options, Mode::Sql).map_err(|error| self.failed(error))?;
        let identity = pg::identity(&mut client).map_err(|error| self.failed(error))?;
        let Some(directory) = self.data_directory.clone().or(identity.data_directory) else {
            let reason = "the role may not ask where the data directory is".to_owned();
            return if demanded {
                Err(CaptureError::NotInPlace(NotInPlace::NotTheServers {
                    path: PathBuf::new(),
                    reason,
                }))
            } else {
                Ok(Err(reason))
            };
        };
        match Session::start(client, &directory, label) {
            Ok(session) => Ok(Ok(session)),
            Err(StartError::NotInPlace(error)) if demanded => Err(CaptureError::NotInPlace(error)),
            Err(StartError::NotInPlace(error)) => Ok(Err(with_causes(&error))),
            Err(StartError::Postgres(error))
                if !demanded && matches!(error.root(), pg::Error::NotPermitted { .. }) =>
            {
                Ok(Err(with_causes(&error)))
            }
            Err(StartError::Postgres(error)) => Err(self.failed(error)),
        }
    }

    fn capture_physical(
        &self,
        backup: &Backup,
        context: &CaptureContext<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<(pg::ServerIdentity, PhysicalRecord, AddedBytes), CaptureError> {
        let previous = previous(context).and_then(|record| record.physical.as_ref());
        let previous_chunk = previous.map(|physical| physical.page_chunk_bytes);
        let at = join(&context.at, BASE)?;
        let base = match self.start_in_place(&context.label)? {
            Ok(session) => {
                let progress = context.progress;
                in_place::capture(
                    self,
                    session,
                    backup,
                    &at,
                    progress,
                    previous_chunk,
                    warnings,
                )?
            }
            Err(reason) => {
                tracing::info!(%reason, "backing up over the wire");
                let size = self.cluster_bytes();
                context.progress.expect_bytes(size.unwrap_or(0));
                let chunk = page_chunk_bytes(size.unwrap_or(0), previous_chunk);
                wire::capture(self, backup, &at, &context.label, chunk)?
            }
        };
        backup.add_node(&at, private_directory())?;
        self.add_portable_config(backup, &at, warnings)?;
        backup.wait_for_files()?;
        if let Some((uid, gid)) = base.owner {
            // So that a server may start on it wherever any tool restores it.
            let mut owner = private_directory();
            owner.set_owner(uid, gid);
            backup.own_unowned(&at, &owner);
        }
        for failure in &base.result.checksum_failures {
            warnings.push(format!("a damaged page on the source: {}", failure.message));
        }
        let record = PhysicalRecord::new(&base);
        Ok((base.result.identity.clone(), record, base.beside))
    }

    /// Bytes of all tablespaces; `None` if the role may not know, which only costs the progress.
    fn cluster_bytes(&self) -> Option<u64> {
        let sql = "SELECT sum(pg_tablespace_size(oid))::bigint FROM pg_tablespace";
        let mut client = Client::connect(&self.options, Mode::Sql).ok()?;
        client.query(sql).and_then(|rows| rows.single()).ok()
    }

    /// Configuration that lies outside PGDATA, as on Debian: without it the restored directory
    /// would not start.
    fn add_portable_config(
        &self,
        backup: &Backup,
        at: &TreePath,
        warnings: &mut Vec<String>,
    ) -> Result<(), CaptureError> {
        let config = Client::connect(&self.options, Mode::Sql)
            .and_then(|mut client| pg::portable_config(&mut client));
        let config = match config {
            Ok(config) => config,
            Err(error) => {
                let why = with_causes(&error);
                warnings.push(format!(
                    "the server's configuration could not be read ({why}); if it lies outside the \
                     data directory, a restored one needs a postgresql.conf before it starts"
                ));
                return Ok(());
            }
        };
        let files = [
            ("postgresql.conf", config.postgresql_conf),
            ("pg_hba.conf", config.pg_hba_conf),
            ("pg_ident.conf", config.pg_ident_conf),
        ];
        for (name, content) in files {
            if let Some(content) = content {
                backup.add_bytes(&join(at, name)?, private_file(), content.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl Dataset for PostgresCluster {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn describe(&self) -> String {
        let physical = self.physical.map(|method| match method {
            stack::CaptureMethod::InPlace => "base backup in place".to_owned(),
            stack::CaptureMethod::Wire => "base backup over the wire".to_owned(),
            _ => "base backup (in place if the data directory can be read, else over the wire)"
                .to_owned(),
        });
        let logical = self.logical.as_ref().map(|selection| match selection {
            Selection::All => "dumps of all databases and the globals".to_owned(),
            Selection::Named(names) => format!("dumps of {} and the globals", names.join(", ")),
        });
        let parts: Vec<_> = physical.into_iter().chain(logical).collect();
        format!("{} of {}", parts.join("; "), self.options.redacted())
    }

    fn capture(
        &self,
        backup: &Backup,
        context: &CaptureContext<'_>,
    ) -> Result<Captured, CaptureError> {
        let mut warnings = Vec::new();
        // Dumps first: they fail on more, and then nothing was copied in vain. And what the dumps
        // hold is never newer than what the base backup reaches.
        let logical = match &self.logical {
            Some(selection) => Some(logical::capture(self, selection, backup, context)?),
            None => None,
        };
        let mut beside = AddedBytes::default();
        let (identity, physical) = if self.physical.is_some() {
            let (identity, physical, wal) =
                self.capture_physical(backup, context, &mut warnings)?;
            beside = wal;
            (identity, Some(physical))
        } else {
            let mut client =
                Client::connect(&self.options, Mode::Sql).map_err(|error| self.failed(error))?;
            (
                pg::identity(&mut client).map_err(|error| self.failed(error))?,
                None,
            )
        };
        let record = PostgresRecord {
            identity,
            physical,
            logical,
            imported: Vec::new(),
        };
        let as_of = record.physical.as_ref().map(|physical| physical.stop_time);
        Ok(Captured {
            record: DatasetRecord::Postgres(record),
            warnings,
            partly: Vec::new(),
            as_of,
            beside,
        })
    }
}

/// A captured base backup.
pub(crate) struct Base {
    result: BackupResult,
    method: PhysicalMethod,
    page_chunk_bytes: u32,
    /// Bytes of the cluster's files.
    bytes: u64,
    /// What was stored of WAL, where that can be told apart.
    beside: AddedBytes,
    /// User and group of the server's files, where they are known.
    owner: Option<(u32, u32)>,
}

fn previous<'a>(context: &CaptureContext<'a>) -> Option<&'a PostgresRecord> {
    context.previous.and_then(DatasetRecord::postgres)
}

/// The path of a name or of several below this one.
pub(crate) fn join(at: &TreePath, below: &str) -> Result<TreePath, CaptureError> {
    let below = TreePath::new(below).map_err(rekindle_vault::BackupError::from)?;
    Ok(at.append(&below))
}

/// A file that only its owner reads, for content of ours.
pub(crate) fn private_file() -> Node {
    Node {
        mode: Node::go_mode(NodeKind::File, 0o600),
        mtime: jiff::Timestamp::now(),
        ..Node::default()
    }
}

/// A directory that only its owner reads.
pub(crate) fn private_directory() -> Node {
    Node {
        kind: NodeKind::Dir,
        mode: Node::go_mode(NodeKind::Dir, 0o700),
        mtime: jiff::Timestamp::now(),
        ..Node::default()
    }
}
