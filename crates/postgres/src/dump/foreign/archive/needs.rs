//! What an archive's table of contents says of the server that can take it.

use super::super::plain::statement::{self, Tokens};
use super::super::report::{Creation, DatabaseDump, DumpForm, ForeignDump};
use super::Contents;
use super::data::Measured;
use super::toc::Entry;

pub(super) fn of_database(contents: &Contents) -> DatabaseDump {
    let mut database = DatabaseDump {
        name: contents.head.database.clone(),
        ..DatabaseDump::default()
    };
    for entry in &contents.entries {
        look_at(entry, &mut database);
    }
    database
}

fn look_at(entry: &Entry, database: &mut DatabaseDump) {
    // These are written for the whole database, and `pg_restore` leaves them out unless it is to
    // create that database under its own name.
    if matches!(entry.kind.as_str(), "DATABASE" | "DATABASE PROPERTIES") {
        if entry.kind == "DATABASE" {
            database.creation = creation(&entry.definition);
        }
        return;
    }
    if entry.kind == "ACL" && entry.name.starts_with("DATABASE ") {
        return;
    }
    if !entry.owner.is_empty() {
        database.roles.push(entry.owner.clone());
    }
    if !entry.tablespace.is_empty() {
        database.tablespaces.push(entry.tablespace.clone());
    }
    match entry.kind.as_str() {
        "ENCODING" => {
            let tokens = Tokens::of(&entry.definition);
            database.client_encoding = tokens.value_of_set("client_encoding");
        }
        "EXTENSION" => database.extensions.push(entry.name.clone()),
        "ACL" | "DEFAULT ACL" | "POLICY" => {
            for tokens in statement::split(&entry.definition) {
                database.roles.extend(tokens.roles());
            }
        }
        "ROW SECURITY" => {
            let table = format!("{}.{}", entry.schema, entry.name);
            database.row_security_tables.push(table);
        }
        "SCHEMA" if entry.name == "public" => {
            database.creates_public |= entry.definition.contains("CREATE SCHEMA");
        }
        _ => {}
    }
}

fn creation(definition: &str) -> Option<Creation> {
    let statements = statement::split(definition);
    statements
        .iter()
        .find_map(Tokens::creation)
        .map(|(_, creation)| creation)
}

pub(super) fn add_rows(database: &mut DatabaseDump, entry: &Entry, measured: Measured) {
    // With `--load-via-partition-root` the rows of a partition go to another table.
    let target = entry
        .copy
        .as_ref()
        .and_then(|copy| Tokens::of(copy).copy_target());
    let (schema, table) = target.unwrap_or_else(|| (None, entry.name.clone()));
    let schema = schema.unwrap_or_else(|| entry.schema.clone());
    let rows = entry.copy.is_some().then_some(measured.rows);
    database.add_rows(&schema, &table, rows);
}

pub(super) fn report(
    form: DumpForm,
    contents: &Contents,
    mut database: DatabaseDump,
    plain_bytes: u64,
) -> ForeignDump {
    let head = &contents.head;
    database.finish();
    ForeignDump {
        form,
        compression: None,
        file_bytes: 0,
        plain_bytes,
        archive_version: Some(format!("{}.{}", head.version.0, head.version.1)),
        server_version: head.server_version.clone(),
        tool_version: head.tool_version.clone(),
        made_at_local_time: Some(head.made_at.clone()),
        databases: vec![database],
        defined_roles: Vec::new(),
        is_under_row_security: false,
        meta_commands: Vec::new(),
        reaching_statements: Vec::new(),
    }
}
