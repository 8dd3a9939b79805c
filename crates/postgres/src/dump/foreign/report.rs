//! What a dump turned out to be.

use serde::{Deserialize, Serialize};

use super::Compression;

/// How a dump is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DumpForm {
    /// SQL text of one database (`pg_dump`).
    Plain,
    /// SQL text of roles and databases (`pg_dumpall`).
    PlainCluster,
    /// `pg_dump -Fc`.
    Custom,
    /// `pg_dump -Fd`.
    Directory,
    /// `pg_dump -Ft`.
    Tar,
}

impl DumpForm {
    /// Whether it is read by `pg_restore`, not by `psql`.
    #[must_use]
    pub const fn is_archive(self) -> bool {
        matches!(self, Self::Custom | Self::Directory | Self::Tar)
    }
}

/// A dump that was read to its end and is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForeignDump {
    /// How it is written.
    pub form: DumpForm,
    /// What was wrapped around it.
    pub compression: Option<Compression>,
    /// Bytes on disk.
    pub file_bytes: u64,
    /// Bytes without any compression, also that within an archive.
    pub plain_bytes: u64,
    /// The version of the archive's format, such as `1.15`.
    pub archive_version: Option<String>,
    /// The server's version, in its own words.
    pub server_version: Option<String>,
    /// The dumping tool's version.
    pub tool_version: Option<String>,
    /// When it was made, by the clock of the machine that made it and without a zone:
    /// `2026-11-21 09:00:31`. Only archives say so.
    pub made_at_local_time: Option<String>,
    /// What it holds. Empty if there are only globals in it.
    pub databases: Vec<DatabaseDump>,
    /// Roles that it creates (`pg_dumpall`). Their password hashes are nowhere in this report.
    pub defined_roles: Vec<String>,
    /// Whether it was made under `--enable-row-security`, so that rows may be missing.
    pub is_under_row_security: bool,
    /// Commands of psql's in it that `pg_dump` does not write.
    pub meta_commands: Vec<Suspect>,
    /// Statements in it that `pg_dump` does not write and that reach beyond the database.
    pub reaching_statements: Vec<Suspect>,
}

/// Something in a dump that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suspect {
    /// The line, from 1.
    pub line: u64,
    /// Its beginning.
    pub text: String,
}

/// A database in a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DatabaseDump {
    /// Its name, if the dump tells it.
    pub name: Option<String>,
    /// Encoding and locale, if the dump tells how to create it.
    pub creation: Option<Creation>,
    /// The encoding of the dump's text.
    pub client_encoding: Option<String>,
    /// Extensions that it creates.
    pub extensions: Vec<String>,
    /// Roles that own something in it, or are given rights.
    pub roles: Vec<String>,
    /// Tablespaces that it names.
    pub tablespaces: Vec<String>,
    /// Tables with data, by name.
    pub tables: Vec<TableData>,
    /// Whether it creates the schema `public` itself.
    pub creates_public: bool,
    /// Tables with row security.
    pub row_security_tables: Vec<String>,
    /// Large objects with data.
    pub large_objects: u64,
}

/// How a database was created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Creation {
    /// Such as `UTF8`.
    pub encoding: Option<String>,
    /// `LC_COLLATE`.
    pub collate: Option<String>,
    /// `LC_CTYPE`.
    pub ctype: Option<String>,
    /// `c`, `i` or `b`, as in [`DatabaseInfo`](crate::dump::DatabaseInfo).
    pub locale_provider: Option<String>,
    /// The locale of ICU or built in.
    pub locale: Option<String>,
}

/// A table's data in a dump.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TableData {
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// Rows, counted while reading; `None` if they are written as INSERTs.
    pub rows: Option<u64>,
}

impl DatabaseDump {
    /// Adds rows to a table: its data may come in parts, as of partitions through their root.
    pub(super) fn add_rows(&mut self, schema: &str, table: &str, rows: Option<u64>) {
        let same = |data: &&mut TableData| data.schema == schema && data.table == table;
        match self.tables.iter_mut().find(same) {
            Some(data) => data.rows = data.rows.zip(rows).map(|(before, more)| before + more),
            None => self.tables.push(TableData {
                schema: schema.to_owned(),
                table: table.to_owned(),
                rows,
            }),
        }
    }

    pub(super) fn finish(&mut self) {
        for names in [&mut self.extensions, &mut self.roles, &mut self.tablespaces] {
            names.sort();
            names.dedup();
        }
        self.tables.sort();
        self.row_security_tables.sort();
    }
}

impl ForeignDump {
    /// The server's major version.
    #[must_use]
    pub fn server_major(&self) -> Option<u32> {
        major(self.server_version.as_deref()?)
    }

    /// The dumping tool's major version.
    #[must_use]
    pub fn tool_major(&self) -> Option<u32> {
        major(self.tool_version.as_deref()?)
    }

    /// Rows of all tables whose rows are known.
    #[must_use]
    pub fn known_rows(&self) -> u64 {
        let tables = self.databases.iter().flat_map(|database| &database.tables);
        tables.filter_map(|table| table.rows).sum()
    }
}

/// `15.18 (Debian …)`, `18beta1`, and `9.6.24`, which counts as 9.
fn major(version: &str) -> Option<u32> {
    let end = version.find(|c: char| !c.is_ascii_digit());
    version[..end.unwrap_or(version.len())].parse().ok()
}
