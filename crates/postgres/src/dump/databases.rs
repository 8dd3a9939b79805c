//! What there is to dump.

use serde::{Deserialize, Serialize};

use crate::client::{Client, Mode, quote_identifier, quote_literal};
use crate::error::{Doing, Error, ServerError};
use crate::options::ConnectOptions;

/// Which databases are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All that accept connections, without templates.
    All,
    /// Those named.
    Named(Vec<String>),
}

/// A database, with what is needed to make one like it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseInfo {
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// Its encoding, such as `UTF8`.
    pub encoding: String,
    /// Its `LC_COLLATE`.
    pub collate: String,
    /// Its `LC_CTYPE`.
    pub ctype: String,
    /// `c` for the C library's locales, `i` for ICU's, `b` for built-in ones (since 17).
    pub locale_provider: String,
    /// The locale of ICU or built in, where one of them provides it.
    pub locale: Option<String>,
    /// Bytes on disk; 0 if the role may not know.
    pub size_bytes: u64,
}

/// Lists the wanted databases, by name.
///
/// # Errors
/// [`Error::DatabaseMissing`] if one that was named does not exist or accepts no connections.
pub fn databases(client: &mut Client, selection: &Selection) -> Result<Vec<DatabaseInfo>, Error> {
    let all = read_databases(client).doing(|| "list the databases".to_owned())?;
    let Selection::Named(names) = selection else {
        return Ok(all);
    };
    let find = |name: &String| {
        let known = all.iter().find(|database| database.name == *name);
        known.cloned().ok_or_else(|| missing(name))
    };
    names.iter().map(find).collect()
}

fn missing(name: &str) -> Error {
    let message = format!("database \"{name}\" does not exist or accepts no connections");
    let source = ServerError {
        severity: "ERROR".into(),
        sqlstate: "3D000".into(),
        message,
        detail: None,
        hint: None,
    };
    Error::DatabaseMissing {
        source: Box::new(source),
    }
}

fn read_databases(client: &mut Client) -> Result<Vec<DatabaseInfo>, Error> {
    let (provider, locale) = match client.major() {
        ..=14 => ("'c'", "NULL"),
        15 | 16 => ("datlocprovider", "daticulocale"),
        _ => ("datlocprovider", "datlocale"),
    };
    let rows = client.query(&format!(
        "SELECT datname, pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding, \
           datcollate, datctype, {provider} AS provider, {locale} AS locale, \
           CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) ELSE 0 END AS size \
         FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname"
    ))?;
    rows.iter()
        .map(|row| {
            Ok(DatabaseInfo {
                name: row.get("datname")?,
                owner: row.get("owner")?,
                encoding: row.get("encoding")?,
                collate: row.get("datcollate")?,
                ctype: row.get("datctype")?,
                locale_provider: row.get("provider")?,
                locale: row.text("locale").map(str::to_owned),
                size_bytes: row.get("size")?,
            })
        })
        .collect()
}

/// One state of a database, held still for a dump and for counts that are to agree with it.
#[derive(Debug)]
pub struct Snapshot {
    client: Client,
    id: String,
}

impl Snapshot {
    /// Holds the present state of the database at `options` for as long as this lives.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub fn export(options: &ConnectOptions) -> Result<Self, Error> {
        let mut client = Client::connect(options, Mode::Sql)?;
        let begin = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
                     BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        // One by one, because statements sent together are one transaction already.
        for statement in begin.split("; ") {
            client.query(statement)?;
        }
        let id = client
            .query("SELECT pg_export_snapshot()")
            .and_then(|rows| rows.single());
        let id = id.doing(|| "export a snapshot".to_owned())?;
        Ok(Self { client, id })
    }

    /// What `pg_dump --snapshot` calls it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Counts rows as they are in this state.
    ///
    /// # Errors
    /// As [`row_counts`].
    pub fn row_counts(&mut self) -> Result<Vec<TableCount>, Error> {
        row_counts(&mut self.client)
    }
}

/// How many rows a table has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableCount {
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// Its rows, without those of tables that inherit from it.
    pub rows: u64,
}

/// Counts the rows of every table and materialised view outside the system's schemas, by name.
/// Reads all of them.
///
/// # Errors
/// If the role may not read one of them.
pub fn row_counts(client: &mut Client) -> Result<Vec<TableCount>, Error> {
    let outside = "n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'";
    count_where(client, outside)
}

/// Counts the rows of every table in one schema, by name. Reads all of them.
///
/// # Errors
/// If the role may not read one of them.
pub fn row_counts_in(client: &mut Client, schema: &str) -> Result<Vec<TableCount>, Error> {
    count_where(client, &format!("n.nspname = {}", quote_literal(schema)))
}

fn count_where(client: &mut Client, condition: &str) -> Result<Vec<TableCount>, Error> {
    let rows = client.query(&format!(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.relispopulated \
           AND {condition} ORDER BY 1, 2"
    ))?;
    let mut counts = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let (schema, table): (String, String) = (row.get("nspname")?, row.get("relname")?);
        let sql = format!(
            "SELECT count(*) FROM ONLY {}.{}",
            quote_identifier(&schema),
            quote_identifier(&table)
        );
        let rows = client.query_within(&sql, std::time::Duration::from_secs(24 * 3600));
        let rows = rows
            .doing(|| format!("count the rows of {schema}.{table}"))?
            .single()?;
        counts.push(TableCount {
            schema,
            table,
            rows,
        });
    }
    Ok(counts)
}
