//! A transaction in words that a person knows.

use jiff::Timestamp;
use rekindle_postgres::{
    Lsn,
    wal::{
        RelationId,
        catalog::{Catalog, Relation, TableEvent, TableFate},
        scan::{RowChanges, Transaction},
    },
};
use serde::Serialize;

/// Numbers below this belong to what a new cluster has already.
const FIRST_OF_USERS: u32 = 16_384;

/// A committed transaction, and what it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Happening {
    /// When it was committed, by the server's clock.
    pub time: Timestamp,
    /// Its number.
    pub xid: u32,
    /// Where its commit record begins.
    pub lsn: Lsn,
    /// Where that record ends.
    pub lsn_end: Lsn,
    /// The last moment without it is recovery to this place, exclusive.
    pub before: Lsn,
    /// Whether more of it may lie before the WAL that was read.
    pub began_earlier: bool,
    /// Databases that it removed.
    pub databases_dropped: Vec<String>,
    /// What it did to tables.
    pub tables: Vec<TableHappening>,
}

/// What a transaction did to one table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableHappening {
    /// The database; its OID where nobody knows its name.
    pub database: String,
    /// Its schema; `None` if nobody knows.
    pub schema: Option<String>,
    /// Its name; `None` if nobody knows, because it was made after the base backup and is gone.
    pub name: Option<String>,
    /// Its OID, where that is known.
    pub oid: Option<u32>,
    /// The file of its rows, as `tablespace/database/number`.
    pub file: Option<String>,
    /// What happened to it as a whole.
    pub fate: Option<TableFate>,
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// About how many rows it had before; `None` if nobody counted.
    pub rows_before: Option<u64>,
}

impl Happening {
    /// The rows that a transaction changed. `is_past`: it was before the catalog was read, which
    /// knows nothing of how many rows there were then.
    pub(super) fn of(catalog: &Catalog, transaction: &Transaction, is_past: bool) -> Self {
        let dropped = transaction.databases_dropped.iter();
        let mut happening = Self {
            time: transaction.commit.time,
            xid: transaction.commit.xid,
            lsn: transaction.commit.lsn,
            lsn_end: transaction.commit.lsn_end,
            before: transaction.before,
            began_earlier: transaction.began_earlier,
            databases_dropped: dropped.map(|oid| database(catalog, *oid)).collect(),
            tables: changed(catalog, transaction),
        };
        if is_past {
            for table in &mut happening.tables {
                table.rows_before = None;
            }
        }
        happening
    }

    /// Adds what became of a whole table.
    pub(super) fn add(&mut self, catalog: &Catalog, transaction: &Transaction, event: TableEvent) {
        if event.table.as_ref().is_some_and(Relation::is_systems) {
            return;
        }
        let name = database(catalog, event.database);
        let file = event.file.map(|file| file.to_string());
        let is_it = |table: &&mut TableHappening| {
            table.database == name
                && ((table.oid.is_some() && table.oid == event.oid)
                    || (table.file.is_some() && table.file == file))
        };
        let happening = match self.tables.iter_mut().find(is_it) {
            Some(known) => known,
            None => {
                let new = named(catalog, event.database, event.table.as_ref());
                self.tables.push(TableHappening {
                    file,
                    oid: event.oid,
                    ..new
                });
                let Some(new) = self.tables.last_mut() else {
                    return;
                };
                new
            }
        };
        happening.oid = happening.oid.or(event.oid);
        happening.fate = Some(event.fate);
        if event.fate == TableFate::Replaced {
            // What it holds now is what came with its new file.
            let new = transaction
                .created
                .iter()
                .filter(|id| id.database == event.database);
            let rows = new.filter_map(|id| transaction.changes.get(id));
            happening.inserted = rows.map(|rows| rows.inserted).max().unwrap_or(0);
        }
    }

    /// Whether something in it has no name yet.
    pub(super) fn has_strangers(&self) -> bool {
        self.tables.iter().any(|table| table.name.is_none())
    }

    /// Whether it is likely to be what somebody looks for: something was dropped or emptied, or at
    /// least `min_rows` rows, or half of a table, were deleted or updated.
    #[must_use]
    pub fn stands_out(&self, min_rows: u64) -> bool {
        !self.databases_dropped.is_empty()
            || self.tables.iter().any(|table| table.stands_out(min_rows))
    }

    /// Whether it did something to the table `name`: `orders`, `public.orders` or
    /// `shop.public.orders`.
    #[must_use]
    pub fn concerns(&self, name: &str) -> bool {
        self.tables.iter().any(|table| table.is_called(name))
    }
}

impl TableHappening {
    /// `shop.public.orders`, or what else there is to call it.
    #[must_use]
    pub fn full_name(&self) -> String {
        let database = &self.database;
        match (&self.schema, &self.name, self.oid, &self.file) {
            (Some(schema), Some(name), _, _) => format!("{database}.{schema}.{name}"),
            (_, _, Some(oid), _) => format!("{database}: a table with OID {oid}"),
            (_, _, None, Some(file)) => format!("{database}: a table in file {file}"),
            _ => format!("{database}: a table"),
        }
    }

    /// Whether this is the table; see [`Happening::concerns`].
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let (Some(schema), Some(own)) = (&self.schema, &self.name) else {
            return false;
        };
        name == own
            || name == format!("{schema}.{own}")
            || name == format!("{}.{schema}.{own}", self.database)
    }

    /// Whether it lost rows in a way that somebody may regret; see [`Happening::stands_out`].
    #[must_use]
    pub fn stands_out(&self, min_rows: u64) -> bool {
        const FEW: u64 = 20;
        let touched = self.deleted + self.updated;
        let half = self
            .rows_before
            .is_some_and(|rows| rows >= FEW && touched >= rows / 2);
        let is_lost = match self.fate {
            Some(TableFate::Dropped | TableFate::Truncated) => true,
            // What was made anew and holds as much is what a migration does.
            Some(TableFate::Replaced) => {
                self.rows_before.is_none_or(|rows| self.inserted < rows / 2)
            }
            Some(TableFate::Rewritten) | None => false,
        };
        is_lost || touched >= min_rows.max(1) || half
    }
}

fn database(catalog: &Catalog, oid: u32) -> String {
    let name = catalog.database(oid).map(str::to_owned);
    name.unwrap_or_else(|| format!("database {oid}"))
}

/// The tables whose rows were changed; the server's own, indexes and TOAST left out.
fn changed(catalog: &Catalog, transaction: &Transaction) -> Vec<TableHappening> {
    let mut tables = Vec::new();
    for (id, rows) in &transaction.changes {
        let known = catalog.relation(*id);
        let is_of_interest = match known {
            Some(relation) => relation.kind.has_rows() && !relation.is_systems(),
            None => id.node >= FIRST_OF_USERS && has_rows(rows) && !is_new(transaction, id),
        };
        if !is_of_interest {
            continue;
        }
        tables.push(TableHappening {
            file: Some(id.to_string()),
            inserted: rows.inserted,
            updated: rows.updated,
            deleted: rows.deleted,
            ..named(catalog, id.database, known)
        });
    }
    tables
}

const fn has_rows(rows: &RowChanges) -> bool {
    rows.inserted + rows.updated + rows.deleted > 0
}

/// The new file of a table that is written anew tells nothing that its story does not.
fn is_new(transaction: &Transaction, id: &RelationId) -> bool {
    transaction.created.contains(id) && !transaction.unlinked.is_empty()
}

fn named(catalog: &Catalog, oid: u32, table: Option<&Relation>) -> TableHappening {
    TableHappening {
        database: database(catalog, oid),
        schema: table.map(|table| table.schema.clone()),
        name: table.map(|table| table.name.clone()),
        oid: table.map(|table| table.oid),
        file: None,
        fate: None,
        inserted: 0,
        updated: 0,
        deleted: 0,
        rows_before: table.and_then(|table| table.rows),
    }
}
