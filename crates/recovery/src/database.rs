//! Brings one database out of a logical backup into the running server, under a new name.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use rekindle_datasets::postgres::{DUMP, DumpedDatabase, PostgresCluster};
use rekindle_postgres::{
    Client, Mode,
    dump::{
        self, DumpError, Load, LoadSource, TableCount, Tools,
        foreign::{self, DatabaseDump, DumpForm, ForeignDump},
        load_database,
    },
    quote_identifier,
};
use rekindle_stack::{Dataset, Stack};
use rekindle_vault::{BlobKind, Id, Index, Node, Vault};

use crate::{
    PointSummary, RecoveryError,
    find_point::find_point,
    foreign::leave_out,
    guard::{
        DatabaseNeeds, Guard, GuardFinding, GuardOptions, ServerFacts, judge_database, permit,
    },
    in_place,
    manifest::Manifest,
};

/// Which database, and what it shall be called.
pub struct DatabaseRestoreRequest<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// An id, the beginning of one, or `latest`.
    pub point: String,
    /// The service whose server gets it, and whose backup it is out of.
    pub service: String,
    /// The database in the backup.
    pub database: String,
    /// Its new name, which must be free.
    pub new_name: String,
    /// What a person has decided about findings.
    pub guards: GuardOptions,
}

/// A database that was brought back.
#[derive(Clone, Debug)]
pub struct DatabaseRestoreOutcome {
    /// The point.
    pub point: PointSummary,
    /// Tables whose rows were counted and agree with the dump's own snapshot.
    pub tables: usize,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of the dump.
    pub bytes: u64,
    /// From the first look at the vault to the last count.
    pub took: Duration,
    /// What guards found and was overridden, or warned of.
    pub findings: Vec<GuardFinding>,
    /// Roles that were created, without password and without LOGIN.
    pub created_roles: Vec<String>,
    /// What a person does next.
    pub next: Vec<String>,
}

/// Restores a database beside the others; nothing that exists is touched. The rows of every table
/// are counted afterwards and compared with the counts taken in the dump's snapshot.
///
/// # Errors
/// If the point has no such dump, the name is taken, or the server refuses. A database that was
/// only half filled is dropped again.
pub fn restore_database(
    vault: &Vault,
    request: &DatabaseRestoreRequest<'_>,
) -> Result<DatabaseRestoreOutcome, RecoveryError> {
    let clock = Instant::now();
    let cluster = cluster_of(request.stack, &request.service)?;
    let snapshot = find_point(vault, &request.point, Some(&request.service))?;
    let (index, _) = vault.load_readable_index()?;
    let manifest = Manifest::read(vault, &index, &snapshot)?;
    let (path, dumped) = find_dump(request, snapshot.id, &manifest)?;
    let node = vault
        .find_node(&index, &snapshot, &path)?
        .ok_or(RecoveryError::NoManifest {
            point: snapshot.id,
            source: None,
        })?;
    let failed = |source: DumpError| RecoveryError::RestoreDatabase {
        database: request.database.clone(),
        new_name: request.new_name.clone(),
        source: Box::new(source),
    };
    let refused = |error| failed(DumpError::Postgres(error));
    let dump = outline(vault, &index, &node, dumped, &path)?;
    let of_dump = &dump.databases[dumped.section.min(dump.databases.len() - 1)];
    let needs = DatabaseNeeds {
        data_bytes: dumped.bytes,
        ..DatabaseNeeds::of(&dump, of_dump, &request.new_name)
    };
    let mut client = Client::connect(cluster.options(), Mode::Sql).map_err(refused)?;
    // An archive is read by tools at least as new as those that wrote it.
    let newest = client.major().max(tool_major(request, &manifest));
    let tools = Tools::find(cluster.bin_dir(), newest)
        .or_else(|missing| Tools::newest(cluster.bin_dir()).ok_or(missing));
    let facts = ServerFacts {
        tool_major: tools.as_ref().ok().map(Tools::major),
        ..ServerFacts::gather(&mut client, &needs).map_err(refused)?
    };
    drop(client);
    let findings = judge_database(&needs, &facts, &request.guards);
    let what = format!("the restore of database `{}`", request.database);
    let findings = permit(what, findings, &request.guards)?;
    let created_roles = create_missing_roles(&cluster, of_dump, &facts, &request.guards)?;
    let load = Load {
        form: dumped.format,
        section: dumped.section,
        like: Some(dumped.database.clone()),
        tablespace: None,
        creates_public: of_dump.creates_public,
        leave_out: leave_out(of_dump, &facts, &findings),
        origin: format!("recovery point {}", snapshot.id.short()),
    };
    let mut archive = BlobReader::new(vault, &index, &node);
    load_database(
        &tools.map_err(failed)?,
        cluster.options(),
        &request.new_name,
        LoadSource::Content(&mut archive),
        &load,
    )
    .map_err(failed)?;
    let counts = count_rows(&cluster, &request.new_name).map_err(refused)?;
    compare(&request.new_name, &dumped.rows, &counts)?;
    Ok(DatabaseRestoreOutcome {
        point: PointSummary::of(&snapshot),
        findings,
        created_roles,
        tables: counts.len(),
        rows: counts.iter().map(|count| count.rows).sum(),
        bytes: dumped.bytes,
        took: clock.elapsed(),
        next: vec![
            format!("psql -d '{}'", request.new_name.replace('\'', "'\\''")),
            "the original database was not touched".to_owned(),
        ],
    })
}

/// What of a database a recovery point holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseSource {
    /// A dump of it.
    Dump,
    /// No dump of it, but a base backup of its cluster.
    BaseBackup,
    /// Neither.
    Nothing,
}

/// Says what of a database a point holds.
///
/// # Errors
/// If there is no such point, or it has nothing of the service.
pub fn database_source(
    vault: &Vault,
    point: &str,
    service: &str,
    database: &str,
) -> Result<DatabaseSource, RecoveryError> {
    let snapshot = find_point(vault, point, Some(service))?;
    let (index, _) = vault.load_readable_index()?;
    let manifest = Manifest::read(vault, &index, &snapshot)?;
    let (_, record) = manifest.postgres_in(snapshot.id, service)?;
    let mut dumps = record.logical.iter().flat_map(|logical| &logical.databases);
    Ok(match dumps.any(|dumped| dumped.database.name == database) {
        true => DatabaseSource::Dump,
        false if record.physical.is_some() => DatabaseSource::BaseBackup,
        false => DatabaseSource::Nothing,
    })
}

/// The services with a PostgreSQL dataset.
#[must_use]
pub fn services_with_postgres(stack: &Stack) -> Vec<String> {
    let is_postgres = |dataset: &Dataset| matches!(dataset, Dataset::Postgres(_));
    let services = stack.services.iter();
    services
        .filter(|service| service.datasets.iter().any(is_postgres))
        .map(|service| service.name.to_string())
        .collect()
}

/// The PostgreSQL cluster of a service.
pub(crate) fn cluster_of(stack: &Stack, service: &str) -> Result<PostgresCluster, RecoveryError> {
    let (_, cluster) = in_place::postgres_of(stack, service)?;
    Ok(cluster)
}

/// What a stored dump needs of a server. Archives say it at their beginning; of other forms all is
/// read.
fn outline(
    vault: &Vault,
    index: &Index,
    node: &Node,
    dumped: &DumpedDatabase,
    path: &str,
) -> Result<ForeignDump, RecoveryError> {
    let content = BlobReader::new(vault, index, node);
    let found = match dumped.format {
        DumpForm::Custom => foreign::outline(content, path.as_ref()),
        DumpForm::Directory => {
            return Err(RecoveryError::NotInDump {
                from: path.to_owned(),
                what: "the files of a directory archive, which lie in several files".to_owned(),
                instead: format!(
                    "`rekindle restore --path {path} --to DIR`, then `rekindle restore --from DIR`"
                ),
            });
        }
        _ => foreign::inspect_content(content, path.as_ref()),
    };
    let found = found?;
    if found.databases.is_empty() {
        return Err(RecoveryError::NotInDump {
            from: path.to_owned(),
            what: "no databases".to_owned(),
            instead: "`rekindle points show POINT` tells what is in it".to_owned(),
        });
    }
    Ok(found)
}

/// Creates the roles of a dump that the server lacks, if that is wanted: without password, without
/// LOGIN. Returns their names.
pub(crate) fn create_missing_roles(
    cluster: &PostgresCluster,
    dump: &DatabaseDump,
    server: &ServerFacts,
    options: &GuardOptions,
) -> Result<Vec<String>, RecoveryError> {
    let creates = options.create_missing && !options.forces(Guard::MissingRole);
    let missing = dump
        .roles
        .iter()
        .filter(|role| creates && !server.roles.contains(*role));
    let missing: Vec<String> = missing.cloned().collect();
    create_roles(cluster, &missing)?;
    Ok(missing)
}

/// Creates roles without password and without LOGIN.
pub(crate) fn create_roles(
    cluster: &PostgresCluster,
    roles: &[String],
) -> Result<(), RecoveryError> {
    if roles.is_empty() {
        return Ok(());
    }
    let failed = |source| RecoveryError::Server {
        doing: "create the missing roles".to_owned(),
        address: cluster.options().redacted(),
        source: Box::new(source),
    };
    let mut client = Client::connect(cluster.options(), Mode::Sql).map_err(failed)?;
    for role in roles {
        let sql = format!("CREATE ROLE {} NOLOGIN", quote_identifier(role));
        client.query(&sql).map_err(failed)?;
        tracing::info!(%role, "role created");
    }
    Ok(())
}

fn find_dump<'a>(
    request: &DatabaseRestoreRequest<'_>,
    point: Id,
    manifest: &'a Manifest,
) -> Result<(String, &'a DumpedDatabase), RecoveryError> {
    let (entry, record) = manifest.postgres(&request.service).ok_or_else(|| {
        let (service, known) = (request.service.clone(), manifest.services());
        RecoveryError::ServiceNotInPoint {
            point,
            service,
            known,
        }
    })?;
    let databases = record
        .logical
        .as_ref()
        .map_or(&[][..], |logical| &logical.databases);
    let found = databases
        .iter()
        .find(|dumped| dumped.database.name == request.database);
    let dumped = found.ok_or_else(|| {
        let names: Vec<_> = databases
            .iter()
            .map(|d| format!("`{}`", d.database.name))
            .collect();
        RecoveryError::DatabaseNotInPoint {
            point,
            service: request.service.clone(),
            database: request.database.clone(),
            known: if names.is_empty() {
                "no dumps".to_owned()
            } else {
                names.join(", ")
            },
        }
    })?;
    Ok((format!("{}/{DUMP}/{}", entry.path, dumped.file), dumped))
}

fn tool_major(request: &DatabaseRestoreRequest<'_>, manifest: &Manifest) -> u32 {
    let record = manifest.postgres(&request.service);
    let logical = record.and_then(|(_, record)| record.logical.as_ref());
    logical.map_or(0, |logical| logical.tool_major)
}

fn count_rows(
    cluster: &PostgresCluster,
    database: &str,
) -> Result<Vec<TableCount>, rekindle_postgres::Error> {
    let options = cluster.options().within(database);
    dump::row_counts(&mut Client::connect(&options, Mode::Sql)?)
}

/// Every table of the dump must be there with as many rows.
fn compare(
    new_name: &str,
    expected: &[TableCount],
    found: &[TableCount],
) -> Result<(), RecoveryError> {
    let differs = |table: &&TableCount| !found.contains(table);
    let differences: Vec<_> = expected
        .iter()
        .filter(differs)
        .map(|wanted| {
            let same = |t: &&TableCount| t.schema == wanted.schema && t.table == wanted.table;
            let rows = found
                .iter()
                .find(same)
                .map_or("none".to_owned(), |t| t.rows.to_string());
            format!(
                "{}.{} has {rows} of {} rows",
                wanted.schema, wanted.table, wanted.rows
            )
        })
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    let new_name = new_name.to_owned();
    Err(RecoveryError::RowsDiffer {
        new_name,
        differences: differences.join(", "),
    })
}

/// Reads a file out of the vault, blob by blob.
struct BlobReader<'a> {
    vault: &'a Vault,
    index: &'a Index,
    content: std::slice::Iter<'a, Id>,
    blob: io::Cursor<Vec<u8>>,
}

impl<'a> BlobReader<'a> {
    fn new(vault: &'a Vault, index: &'a Index, node: &'a Node) -> Self {
        let content = node.content.as_deref().unwrap_or_default().iter();
        Self {
            vault,
            index,
            content,
            blob: io::Cursor::default(),
        }
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.blob.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(id) = self.content.next() else {
                return Ok(0);
            };
            let blob = self.vault.read_blob(self.index, BlobKind::Data, id);
            self.blob = io::Cursor::new(blob.map_err(io::Error::other)?);
        }
    }
}
