//! SQL text of `pg_dump` and `pg_dumpall`.

pub(in crate::dump) mod items;
mod lexer;
pub(in crate::dump) mod marks;
pub(in crate::dump) mod statement;

use std::io::BufRead;

use super::error::Fault;
use super::report::{DatabaseDump, DumpForm, ForeignDump, Suspect};
use items::{Item, Items, Statement};
use marks::{Mark, Marks};

/// More suspects than anyone reads.
const MAX_SUSPECTS: usize = 100;

/// Reads a text to its end. It is whole if every dump that begins in it ends in it, with the line
/// that is written last.
pub(super) fn inspect_plain(reader: impl BufRead) -> Result<ForeignDump, Fault> {
    let mut items = Items::new(reader);
    let (mut raw, mut scan) = (Vec::new(), Scan::default());
    while let Some(item) = items.next(&mut raw)? {
        scan.plain_bytes += raw.len() as u64;
        scan.look_at(item, items.line_number())?;
    }
    scan.finish(items.line_number())
}

#[derive(Default)]
struct Scan {
    marks: Marks,
    databases: Vec<DatabaseDump>,
    connected_to: Option<String>,
    schema: String,
    copy: Option<(String, String, u64)>,
    server_version: Option<String>,
    tool_version: Option<String>,
    defined_roles: Vec<String>,
    is_under_row_security: bool,
    meta_commands: Vec<Suspect>,
    reaching_statements: Vec<Suspect>,
    restricted_by: Option<String>,
    plain_bytes: u64,
}

impl Scan {
    fn look_at(&mut self, item: Item, line: u64) -> Result<(), Fault> {
        match item {
            Item::Blank => Ok(()),
            Item::Comment(text) => self.comment(&text),
            Item::Meta(text) => {
                self.meta(&text, line);
                Ok(())
            }
            Item::Statement(statement) => self.statement(&statement, line),
            Item::CopyData { rows } => {
                if let Some((_, _, counted)) = &mut self.copy {
                    *counted += rows;
                }
                Ok(())
            }
            Item::CopyEnd => {
                if let (Some((schema, table, rows)), Some(database)) =
                    (self.copy.take(), self.databases.last_mut())
                {
                    database.add_rows(&schema, &table, Some(rows));
                }
                Ok(())
            }
        }
    }

    fn comment(&mut self, text: &str) -> Result<(), Fault> {
        if let Some(version) = text.strip_prefix("Dumped from database version ") {
            self.server_version
                .get_or_insert_with(|| version.to_owned());
        } else if let Some(version) = text.strip_prefix("Dumped by pg_dump version ") {
            self.tool_version.get_or_insert_with(|| version.to_owned());
        }
        if self.marks.comment(text)? == Some(Mark::DatabaseBegins) {
            self.schema.clear();
            self.databases.push(DatabaseDump {
                name: self.connected_to.take(),
                ..DatabaseDump::default()
            });
        }
        Ok(())
    }

    fn meta(&mut self, text: &str, line: u64) {
        let (command, argument) = marks::command(text);
        match command {
            "\\restrict" => self.restricted_by = Some(argument.to_owned()),
            // Another key ends nothing: the line was cut, or somebody wants to get out.
            "\\unrestrict" if self.restricted_by.as_deref() == Some(argument) => {
                self.restricted_by = None;
            }
            "\\unrestrict" => {}
            // Written before \connect, so that a name of odd bytes arrives as it is.
            "\\encoding" => {}
            "\\connect" | "\\c" => {
                let name = marks::connected_database(argument);
                match self
                    .databases
                    .last_mut()
                    .filter(|_| self.marks.is_in_database())
                {
                    Some(database) => database.name = name,
                    None => self.connected_to = name,
                }
            }
            _ => suspect(&mut self.meta_commands, text, line),
        }
    }

    fn statement(&mut self, statement: &Statement, line: u64) -> Result<(), Fault> {
        let tokens = &statement.tokens;
        self.marks.statement(line)?;
        if let Some(meta) = &statement.meta {
            suspect(&mut self.meta_commands, meta, line);
        }
        if tokens.is_reaching_out() {
            suspect(&mut self.reaching_statements, &tokens.words(), line);
        }
        if tokens
            .value_of_set("row_security")
            .is_some_and(|value| value == "on")
        {
            self.is_under_row_security = true;
        }
        if !self.marks.is_in_database() {
            let name = tokens
                .name_after(&["create", "role"])
                .or_else(|| tokens.name_after(&["create", "user"]));
            self.defined_roles.extend(name);
            return Ok(());
        }
        if let Some(schema) = tokens.search_path() {
            self.schema = schema;
        }
        if let Some((schema, table)) = tokens.copy_target() {
            let schema = schema.unwrap_or_else(|| self.schema.clone());
            self.copy = Some((schema, table, 0));
        }
        if let Some(database) = self.databases.last_mut() {
            look_at_statement(statement, &self.schema, database);
        }
        Ok(())
    }

    fn finish(mut self, lines: u64) -> Result<ForeignDump, Fault> {
        let form = self.marks.finish(lines)?;
        if self.restricted_by.is_some() {
            return Err(Fault::not_whole(
                "its last line, \\unrestrict, is missing or cut",
            ));
        }
        if form == DumpForm::Plain && self.databases.len() > 1 {
            return Err(Fault::Unsupported {
                reason: format!("it is {} dumps in one file", self.databases.len()),
                instead: "divide it where a dump begins".to_owned(),
            });
        }
        self.databases.iter_mut().for_each(DatabaseDump::finish);
        Ok(ForeignDump {
            form,
            compression: None,
            file_bytes: 0,
            plain_bytes: self.plain_bytes,
            archive_version: None,
            server_version: self.server_version,
            tool_version: self.tool_version,
            made_at_local_time: None,
            databases: self.databases,
            defined_roles: self.defined_roles,
            is_under_row_security: self.is_under_row_security,
            meta_commands: self.meta_commands,
            reaching_statements: self.reaching_statements,
        })
    }
}

fn suspect(suspects: &mut Vec<Suspect>, text: &str, line: u64) {
    if suspects.len() < MAX_SUSPECTS {
        let text = text.chars().take(80).collect();
        suspects.push(Suspect { line, text });
    }
}

fn look_at_statement(statement: &Statement, schema: &str, database: &mut DatabaseDump) {
    let tokens = &statement.tokens;
    if let Some((name, creation)) = tokens.creation() {
        database.name.get_or_insert(name);
        database.creation = Some(creation);
        return;
    }
    if tokens.is_about_a_database() {
        return;
    }
    if let Some(encoding) = tokens.value_of_set("client_encoding") {
        database.client_encoding = Some(encoding);
    }
    if let Some(space) = tokens.value_of_set("default_tablespace") {
        database
            .tablespaces
            .extend((!space.is_empty()).then_some(space));
    }
    if tokens
        .name_after(&["create", "schema"])
        .is_some_and(|name| name == "public")
    {
        database.creates_public = true;
    }
    if let Some(table) = tokens.inserted_table() {
        let own = table.0.unwrap_or_else(|| schema.to_owned());
        database.add_rows(&own, &table.1, None);
    }
    database
        .row_security_tables
        .extend(tokens.row_security_table());
    database
        .extensions
        .extend(tokens.name_after(&["create", "extension"]));
    database.roles.extend(tokens.roles());
    let lo = tokens.begins(&["select"]) && tokens.has("lo_open");
    database.large_objects += u64::from(lo);
    // So that a dump of many small statements does not keep each name a million times.
    if database.roles.len() > 4096 {
        database.roles.sort();
        database.roles.dedup();
    }
}
