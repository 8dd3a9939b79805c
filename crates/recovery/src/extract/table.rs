//! What a table consists of, in the scratch server.

use rekindle_postgres::{Client, Row, quote_literal};

use super::{ExtractError, TableName, error::Doing, names::qualified};

/// A message lists at most so many tables.
const LISTED: usize = 20;

/// A relation of the scratch server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// PostgreSQL's letter for its kind.
    pub kind: String,
    pub owner: String,
}

impl Relation {
    fn read(row: Row<'_>) -> Result<Self, rekindle_postgres::Error> {
        Ok(Self {
            oid: row.get("oid")?,
            schema: row.get("nspname")?,
            name: row.get("relname")?,
            kind: row.get("relkind")?,
            owner: row.get("owner")?,
        })
    }

    pub(super) fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }
}

/// A table, and its partitions if it has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub root: Relation,
    /// The root and everything below it, parents first.
    pub members: Vec<Relation>,
}

const COLUMNS: &str = "c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, \
     pg_get_userbyid(c.relowner) AS owner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace";

impl Table {
    /// Finds it by its name.
    pub(super) fn find(
        client: &mut Client,
        wanted: &TableName,
        database: &str,
    ) -> Result<Self, ExtractError> {
        let doing = || format!("look for table {wanted} in the scratch server");
        let schema = wanted.schema.as_ref().map_or_else(
            || "n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'".to_owned(),
            |schema| format!("n.nspname = {}", quote_literal(schema)),
        );
        let name = quote_literal(&wanted.table);
        let sql = format!(
            "SELECT {COLUMNS} WHERE {schema} AND c.relname = {name} \
             AND c.relkind IN ('r', 'p', 'm', 'v', 'f') ORDER BY 2"
        );
        let rows = client.query(&sql).doing(doing())?;
        let found: Result<Vec<(Relation, String)>, rekindle_postgres::Error> = rows
            .iter()
            .map(|row| Ok((Relation::read(row)?, row.get::<String>("relpersistence")?)))
            .collect();
        let mut found = found.doing(doing())?;
        let (root, persistence) = match (found.pop(), found.is_empty()) {
            (Some(only), true) => only,
            (None, _) => return Err(missing(client, wanted, database)),
            (Some(last), false) => {
                found.push(last);
                let found = found
                    .iter()
                    .map(|(relation, _)| relation.qualified())
                    .collect();
                return Err(ExtractError::Ambiguous { found });
            }
        };
        supported(&root, &persistence)?;
        let members = members(client, &root).doing(doing())?;
        if let Some(foreign) = members.iter().find(|member| member.kind == "f") {
            return Err(unsupported(
                &root,
                format!(
                    "its partition {} lies in another server",
                    foreign.qualified()
                ),
            ));
        }
        Ok(Self { root, members })
    }

    /// The members' numbers, as an SQL list.
    pub(super) fn oids(&self) -> String {
        let oids: Vec<_> = self.members.iter().map(|m| m.oid.to_string()).collect();
        oids.join(", ")
    }

    /// All roles that own a member.
    pub(super) fn owners(&self) -> Vec<&str> {
        let mut owners: Vec<_> = self.members.iter().map(|m| &*m.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }
}

fn supported(root: &Relation, persistence: &str) -> Result<(), ExtractError> {
    let reason = match (&*root.kind, persistence) {
        ("m", _) => "it is a materialised view, and would be computed anew from today's tables",
        ("v", _) => "it is a view and has no rows",
        ("f", _) => "it is a foreign table: its rows lie in another server",
        (_, "u") => "it is unlogged, and no physical backup has its rows",
        _ => return Ok(()),
    };
    Err(unsupported(root, reason))
}

fn unsupported(root: &Relation, reason: impl Into<String>) -> ExtractError {
    ExtractError::Unsupported {
        what: root.qualified(),
        reason: reason.into(),
    }
}

fn members(
    client: &mut Client,
    root: &Relation,
) -> Result<Vec<Relation>, rekindle_postgres::Error> {
    // Only partitions belong to their parent; a table that merely inherits stands by itself.
    let sql = format!(
        "WITH RECURSIVE tree(oid, level) AS (SELECT {oid}::oid, 0 UNION ALL \
           SELECT i.inhrelid, level + 1 FROM pg_inherits i JOIN tree t ON i.inhparent = t.oid \
           JOIN pg_class k ON k.oid = i.inhrelid AND k.relispartition) \
         SELECT {COLUMNS} JOIN tree t ON t.oid = c.oid ORDER BY t.level, 2, 3",
        oid = root.oid
    );
    client.query(&sql)?.iter().map(Relation::read).collect()
}

fn missing(client: &mut Client, wanted: &TableName, database: &str) -> ExtractError {
    let sql = "SELECT n.nspname || '.' || c.relname AS name FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') \
         AND NOT c.relispartition AND n.nspname <> 'information_schema' \
         AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1";
    let names: Vec<String> = client.query(sql).map_or_else(
        |_| Vec::new(),
        |rows| {
            let names = rows.iter().filter_map(|row| row.text("name"));
            names.map(str::to_owned).collect()
        },
    );
    let more = match names.len().checked_sub(LISTED) {
        Some(more @ 1..) => format!(" and {more} more"),
        _ => String::new(),
    };
    let known = match names.is_empty() {
        true => "none".to_owned(),
        false => names[..names.len().min(LISTED)].join(", ") + &more,
    };
    ExtractError::NoTable {
        table: wanted.to_string(),
        database: database.to_owned(),
        known,
    }
}
