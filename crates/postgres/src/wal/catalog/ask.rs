//! Names out of a server that runs.

use super::{Catalog, Relation, RelationKind};
use crate::client::{Client, Mode, Row};
use crate::error::Error;
use crate::options::ConnectOptions;
use crate::wal::RelationId;

const DATABASES: &str = "select oid, datname, datallowconn from pg_catalog.pg_database";

const RELATIONS: &str = "select c.oid, n.nspname, c.relname, c.relkind::text,
        c.relisshared, d.oid as database,
        coalesce(nullif(c.reltablespace, 0), d.dattablespace) as tablespace,
        pg_catalog.pg_relation_filenode(c.oid) as node
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_database d on d.datname = pg_catalog.current_database()
    where pg_catalog.pg_relation_filenode(c.oid) is not null";

impl Catalog {
    /// Asks a running server for its names, database by database. How many rows tables have now says
    /// nothing about then, so it is left open.
    ///
    /// # Errors
    /// As the server cannot be asked. Single databases that refuse are left out.
    pub fn ask(options: &ConnectOptions) -> Result<Self, Error> {
        let mut catalog = Self::new();
        let mut client = Client::connect(options, Mode::Sql)?;
        let rows = client.query(DATABASES)?;
        for row in rows.iter() {
            let name: String = row.get("datname")?;
            if row.truth("datallowconn")?
                && let Err(error) = catalog.ask_database(&options.clone().with_database(&name))
            {
                tracing::warn!(database = %name, %error, "its tables cannot be asked for");
            }
            catalog.add_database(row.get("oid")?, name);
        }
        Ok(catalog)
    }

    fn ask_database(&mut self, options: &ConnectOptions) -> Result<(), Error> {
        let mut client = Client::connect(options, Mode::Sql)?;
        let rows = client.query(RELATIONS)?;
        rows.iter().try_for_each(|row| {
            let (id, relation) = relation(&row)?;
            self.add_relation(id, relation);
            Ok(())
        })
    }
}

fn relation(row: &Row<'_>) -> Result<(RelationId, Relation), Error> {
    let is_shared = row.truth("relisshared")?;
    let id = RelationId {
        tablespace: row.get("tablespace")?,
        database: if is_shared { 0 } else { row.get("database")? },
        node: row.get("node")?,
    };
    let kind = row.text("relkind").and_then(|kind| kind.bytes().next());
    let relation = Relation {
        oid: row.get("oid")?,
        schema: row.get("nspname")?,
        name: row.get("relname")?,
        kind: RelationKind::of(kind.unwrap_or_default()),
        rows: None,
    };
    Ok((id, relation))
}
