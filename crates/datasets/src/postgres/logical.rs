//! Dumps of databases, streamed into the vault.

use std::{fmt::Write, io::Read};

use rekindle_postgres::{
    self as pg, Client, ConnectOptions, Mode,
    dump::{
        DatabaseInfo, Dump, DumpError, GlobalsOptions, Selection, Snapshot, Tools, databases,
        foreign::DumpForm,
    },
};
use rekindle_vault::{Backup, Chunking, TreePath};

use super::{
    DUMP, DumpedDatabase, LogicalRecord, PostgresCluster, join, private_directory, private_file,
};
use crate::{CaptureContext, CaptureError};

const COPY_BYTES: usize = 256 << 10;

/// Dumps the globals and each database; all of them, or an error.
pub(super) fn capture(
    cluster: &PostgresCluster,
    selection: &Selection,
    backup: &Backup,
    context: &CaptureContext<'_>,
) -> Result<LogicalRecord, CaptureError> {
    let options = cluster.options();
    let failed = |source: DumpError| CaptureError::Dump {
        address: options.redacted(),
        source,
    };
    let refused = |error: pg::Error| cluster.failed(error);
    let mut client = Client::connect(options, Mode::Sql).map_err(refused)?;
    let tools = cluster.dump_tools(client.major()).map_err(failed)?;
    let wanted = databases(&mut client, selection).map_err(refused)?;
    let role_passwords = may_read_passwords(&mut client).map_err(refused)?;
    drop(client);
    context
        .progress
        .expect_bytes(wanted.iter().map(|database| database.size_bytes).sum());
    let at = join(&context.at, DUMP)?;
    backup.add_node(&at, private_directory())?;
    let globals =
        Dump::globals(&tools, options, GlobalsOptions { role_passwords }).map_err(failed)?;
    store(backup, join(&at, "globals.sql")?, globals, "globals")
        .and_then(|end| end.map_err(failed))?;
    let mut dumped = Vec::new();
    for database in wanted {
        dumped.push(dump_database(cluster, &tools, backup, &at, database)?);
    }
    Ok(LogicalRecord {
        tool_major: tools.major(),
        databases: dumped,
    })
}

fn dump_database(
    cluster: &PostgresCluster,
    tools: &Tools,
    backup: &Backup,
    at: &TreePath,
    database: DatabaseInfo,
) -> Result<DumpedDatabase, CaptureError> {
    let options = cluster.options();
    let failed = |source: DumpError| CaptureError::Dump {
        address: options.redacted(),
        source,
    };
    let refused = |error: pg::Error| cluster.failed(error);
    let within = of_database(options, &database.name);
    let mut snapshot = Snapshot::export(&within).map_err(refused)?;
    let dump = Dump::database(tools, options, &database.name, Some(&snapshot)).map_err(failed)?;
    let file = dump_file_name(&database.name);
    let bytes = store(backup, join(at, &file)?, dump, &database.name)?.map_err(failed)?;
    let rows = snapshot.row_counts().map_err(refused)?;
    Ok(DumpedDatabase {
        database,
        file,
        bytes,
        rows,
        format: DumpForm::Custom,
        section: 0,
    })
}

/// The same server, another database.
fn of_database(options: &ConnectOptions, name: &str) -> ConnectOptions {
    let password = options.password();
    let other = options.clone().with_database(name);
    match password {
        Some(password) => other.with_password(password.as_str()),
        None => other,
    }
}

/// Copies a dump to its end. Its file is in the recovery point only if it is whole: otherwise the
/// writer is dropped unfinished, and the whole backup with it.
fn store(
    backup: &Backup,
    path: TreePath,
    mut dump: Dump,
    database: &str,
) -> Result<Result<u64, DumpError>, CaptureError> {
    let mut writer = backup.file_writer(path, private_file(), Chunking::ContentDefined);
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let length = dump
            .read(&mut buffer)
            .map_err(|source| CaptureError::ReadDump {
                database: database.to_owned(),
                source,
            })?;
        if length == 0 {
            break;
        }
        writer.write(&buffer[..length])?;
    }
    match dump.finish() {
        Ok(bytes) => {
            writer.finish()?;
            Ok(Ok(bytes))
        }
        Err(error) => Ok(Err(error)),
    }
}

/// Only superusers may read password hashes; others get the roles without them.
fn may_read_passwords(client: &mut Client) -> Result<bool, pg::Error> {
    let rows = client.query("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")?;
    rows.first()?.truth("rolsuper")
}

/// The archive's name for a database: its own, with what file names cannot hold as `%XX`.
#[must_use]
pub fn dump_file_name(database: &str) -> String {
    let mut name = String::with_capacity(database.len() + 5);
    for c in database.chars() {
        match c {
            '/' | '%' | '\\' | '\0'..='\x1f' => {
                // Writing to a `String` cannot fail.
                write!(name, "%{:02X}", u32::from(c)).unwrap_or_default();
            }
            c => name.push(c),
        }
    }
    name + ".dump"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_database_has_a_file_name_of_its_own() {
        assert_eq!(dump_file_name("nchat"), "nchat.dump");
        assert_eq!(dump_file_name("a/b%2F"), "a%2Fb%252F.dump");
        assert_eq!(dump_file_name(".."), "...dump");
        assert!(TreePath::new(dump_file_name("../../x\0\n")).is_ok());
    }
}
