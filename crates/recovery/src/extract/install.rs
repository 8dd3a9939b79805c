//! Puts what was prepared into the live server: into a schema of its own first, and from there, in
//! one transaction and only when its rows were counted, to where it belongs.

use std::io::Read;

use rekindle_postgres::{
    Client, ConnectOptions, Mode,
    dump::{self, RestoreOptions, TableCount, Tools, row_counts_in},
    quote_identifier, quote_literal,
};

use super::{
    ExtractError,
    error::Doing,
    names::{FreeNames, qualified},
    prepare::Prepared,
};

/// Names are resolved in full, and shown in full.
pub(super) fn without_search_path(mut client: Client) -> Result<Client, rekindle_postgres::Error> {
    client.query("SET search_path = pg_catalog")?;
    Ok(client)
}

/// The live database, and where the table goes in it.
pub(super) struct Destination {
    pub options: ConnectOptions,
    pub client: Client,
    pub schema: String,
    pub name: String,
}

impl Destination {
    pub(super) fn connect(
        options: ConnectOptions,
        schema: &str,
        name: &str,
    ) -> Result<Self, ExtractError> {
        let client = Client::connect(&options, Mode::Sql).and_then(without_search_path);
        let client = client.doing(format!(
            "log in to the live database `{}`",
            options.database
        ))?;
        Ok(Self {
            options,
            client,
            schema: schema.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The names of the schema, which may not exist yet.
    ///
    /// # Errors
    /// [`ExtractError::NameTaken`] if the wanted one is among them.
    pub(super) fn free_names(&mut self) -> Result<FreeNames, ExtractError> {
        let schema = quote_literal(&self.schema);
        let sql = format!(
            "SELECT c.relname AS name FROM pg_class c WHERE c.relnamespace = \
               (SELECT oid FROM pg_namespace WHERE nspname = {schema}) \
             UNION SELECT t.typname FROM pg_type t WHERE t.typnamespace = \
               (SELECT oid FROM pg_namespace WHERE nspname = {schema})"
        );
        let rows = self
            .client
            .query(&sql)
            .doing("list names of the live server")?;
        let names = rows
            .iter()
            .filter_map(|row| row.text("name").map(str::to_owned));
        let free = FreeNames::new(names);
        match free.is_free(&self.name) {
            true => Ok(free),
            false => Err(ExtractError::NameTaken {
                what: format!("{} in the live server", qualified(&self.schema, &self.name)),
            }),
        }
    }

    /// Those of `roles` that the live server does not have.
    pub(super) fn missing_roles(&mut self, roles: &[&str]) -> Result<Vec<String>, ExtractError> {
        let rows = self.client.query("SELECT rolname FROM pg_roles");
        let rows = rows.doing("list the live server's roles")?;
        let known: Vec<_> = rows.iter().filter_map(|row| row.text("rolname")).collect();
        let missing = roles.iter().filter(|role| !known.contains(role));
        Ok(missing.map(|role| (*role).to_owned()).collect())
    }

    /// Restores the dump into the staging schema, counts, and moves.
    pub(super) fn install(
        &mut self,
        tools: &Tools,
        archive: impl Read,
        restore: &RestoreOptions,
        staging: &str,
        prepared: &Prepared,
        expected: &[TableCount],
    ) -> Result<(), ExtractError> {
        let filled = dump::restore_into(tools, &self.options, archive, restore);
        filled.doing("restore the table into the live server")?;
        let moved = self
            .compare(staging, expected)
            .and_then(|()| self.move_from(staging, prepared));
        if moved.is_err() {
            self.drop_staging(staging);
        }
        moved
    }

    fn compare(&mut self, staging: &str, expected: &[TableCount]) -> Result<(), ExtractError> {
        let found = row_counts_in(&mut self.client, staging);
        let found = found.doing("count the rows that arrived")?;
        if found == expected {
            return Ok(());
        }
        let words = |counts: &[TableCount]| {
            let words: Vec<_> = counts
                .iter()
                .map(|count| format!("{} has {}", count.table, count.rows))
                .collect();
            words.join(", ")
        };
        Err(ExtractError::RowsDiffer {
            differences: format!("sent: {}; arrived: {}", words(expected), words(&found)),
        })
    }

    fn move_from(&mut self, staging: &str, prepared: &Prepared) -> Result<(), ExtractError> {
        let to = quote_identifier(&self.schema);
        let mut sql = format!("CREATE SCHEMA IF NOT EXISTS {to}");
        for (what, names) in [("TYPE", &prepared.types), ("TABLE", &prepared.tables)] {
            for name in names {
                let from = qualified(staging, name);
                sql.push_str(&format!("; ALTER {what} {from} SET SCHEMA {to}"));
            }
        }
        // Without CASCADE: if anything was forgotten there, nothing is moved at all. Statements that
        // are sent together are one transaction.
        sql.push_str(&format!("; DROP SCHEMA {}", quote_identifier(staging)));
        let moved = self.client.query(&sql);
        moved
            .doing("move the restored table to its place")
            .map(drop)
    }

    /// The schema is ours: its name holds a moment and this process's number.
    fn drop_staging(&mut self, staging: &str) {
        let sql = format!(
            "DROP SCHEMA IF EXISTS {} CASCADE",
            quote_identifier(staging)
        );
        if let Err(error) = self.client.query(&sql) {
            tracing::error!(schema = staging, %error, "the half-restored schema could not be dropped");
        }
    }
}
