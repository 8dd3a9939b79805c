//! What became of tables, and where their rows are now.

use std::collections::BTreeSet;

use super::{Catalog, Relation};
use crate::wal::RelationId;
use crate::wal::scan::{RowChanges, Transaction};

const PG_CLASS: u32 = 1259;

/// What a transaction did to a table as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct TableEvent {
    /// The database's OID.
    pub database: u32,
    /// The table as it was before; `None` for one that was made after the catalog was read.
    pub table: Option<Relation>,
    /// Its OID, where it is known.
    pub oid: Option<u32>,
    /// The file that it had until then, where that is known or can be told from the order in which
    /// files were given up.
    pub file: Option<RelationId>,
    /// What happened.
    pub fate: TableFate,
}

/// What happened to a table as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableFate {
    /// It is gone.
    Dropped,
    /// It is empty.
    Truncated,
    /// It was dropped and made again, or emptied and filled again.
    Replaced,
    /// Its rows were written anew: `VACUUM FULL`, `CLUSTER`, `ALTER TABLE`. Nothing is lost.
    Rewritten,
}

impl Catalog {
    /// Says what `transaction` did to whole tables, and follows them to their new files; keeps the
    /// numbers of rows up to date. To be called with every transaction, in order.
    ///
    /// WAL does not hold the statement. What is told apart here: files went and none came, and rows
    /// of `pg_class` with them (dropped); files went and as many came, and `pg_class` kept its rows
    /// (truncated); `pg_class` lost and got as many rows (written anew, or dropped and made again).
    pub fn follow(&mut self, transaction: &Transaction) -> Vec<TableEvent> {
        self.count_rows(transaction);
        let events = self.found(transaction);
        for (event, successor) in &events {
            self.succeed(event, *successor, transaction);
        }
        events.into_iter().map(|(event, _)| event).collect()
    }

    /// As [`Catalog::follow`], of a transaction from before the catalog was read: it is followed
    /// nowhere, because the catalog is there already.
    pub fn look_back(&self, transaction: &Transaction) -> Vec<TableEvent> {
        let found = self.found(transaction).into_iter();
        found.map(|(event, _)| event).collect()
    }

    fn found(&self, transaction: &Transaction) -> Vec<Found> {
        let databases: BTreeSet<u32> = transaction.unlinked.iter().map(|id| id.database).collect();
        let in_database = |database| Scene::new(self, transaction, database).events();
        databases.into_iter().flat_map(in_database).collect()
    }

    fn count_rows(&mut self, transaction: &Transaction) {
        for (id, rows) in &transaction.changes {
            if let Some(known) = self.relations.get_mut(id).and_then(|it| it.rows.as_mut()) {
                *known = known.saturating_add_signed(rows.net());
            }
        }
    }

    fn succeed(
        &mut self,
        event: &TableEvent,
        successor: Option<RelationId>,
        transaction: &Transaction,
    ) {
        let (Some(successor), Some(table)) = (successor, &event.table) else {
            return;
        };
        let written = transaction
            .changes
            .get(&successor)
            .copied()
            .unwrap_or_default();
        let rows = match (event.fate, written.pages) {
            (TableFate::Rewritten, 1..) => table.rows,
            _ => Some(written.inserted.saturating_sub(written.deleted)),
        };
        self.add_relation(
            successor,
            Relation {
                rows,
                ..table.clone()
            },
        );
    }

    /// The table of this OID, where its name is known.
    fn table(&self, database: u32, oid: u32) -> Option<&Relation> {
        let id = self.newest.get(&(database, oid))?;
        self.relations.get(id)
    }
}

type Found = (TableEvent, Option<RelationId>);

/// What there is to see of a transaction in one database.
struct Scene<'a> {
    catalog: &'a Catalog,
    transaction: &'a Transaction,
    database: u32,
    /// Files that went, in the order in which they were given up.
    gone: Vec<RelationId>,
    /// Files that came and stayed.
    born: Vec<RelationId>,
    classes: RowChanges,
}

impl<'a> Scene<'a> {
    fn new(catalog: &'a Catalog, transaction: &'a Transaction, database: u32) -> Self {
        let here = |id: &&RelationId| id.database == database;
        let unlinked: BTreeSet<&RelationId> = transaction.unlinked.iter().collect();
        let created: BTreeSet<&RelationId> = transaction.created.iter().collect();
        // The server notes what is to be removed with the last first.
        let gone = transaction.unlinked.iter().rev().filter(here);
        let born = transaction.created.iter().filter(here);
        let classes = transaction.changes.iter().find(|(id, _)| {
            let is_pg_class = |relation: &Relation| relation.oid == PG_CLASS;
            id.database == database
                && catalog
                    .relation(**id)
                    .map_or(id.node == PG_CLASS, is_pg_class)
        });
        Self {
            catalog,
            transaction,
            database,
            gone: gone.filter(|id| !created.contains(id)).copied().collect(),
            born: born.filter(|id| !unlinked.contains(id)).copied().collect(),
            classes: classes.map(|(_, rows)| *rows).unwrap_or_default(),
        }
    }

    fn events(&self) -> Vec<Found> {
        let RowChanges {
            inserted, deleted, ..
        } = self.classes;
        if inserted > 0 && inserted == deleted {
            self.replaced()
        } else if inserted == 0 && deleted == 0 && !self.born.is_empty() {
            self.truncated()
        } else {
            self.dropped()
        }
    }

    fn dropped(&self) -> Vec<Found> {
        let mut events = self.events_by_file(TableFate::Dropped);
        let unknown = self.unknown_files();
        let candidates = self.tables_by_lock();
        // Indexes and TOAST tables account for files, too.
        let others = self
            .locked()
            .filter(|oid| self.is_no_table_of(*oid))
            .count();
        // A table is given up after what hangs on it.
        let file = self.gone.last().copied();
        if unknown > others {
            events.extend(self.events_by_lock(candidates, TableFate::Dropped, file));
        } else if events.is_empty() && unknown > 0 && candidates.is_empty() {
            events.push(self.stranger(TableFate::Dropped, file));
        }
        events.into_iter().map(|event| (event, None)).collect()
    }

    fn truncated(&self) -> Vec<Found> {
        let is_aligned = self.gone.len() == self.born.len();
        let successor_of = |event: &TableEvent| {
            let position = self.gone.iter().position(|id| Some(*id) == event.file)?;
            is_aligned.then(|| self.born[position])
        };
        let mut events = self.events_by_file(TableFate::Truncated);
        // A table is given up before what hangs on it.
        let file = self.gone.first().copied();
        if self.unknown_files() > 0 {
            let candidates = self.tables_by_lock();
            // An index that is built anew has pages at once.
            let is_untouched = |id: &RelationId| !self.transaction.changes.contains_key(id);
            if events.is_empty() && candidates.is_empty() && self.born.iter().any(is_untouched) {
                events.push(self.stranger(TableFate::Truncated, file));
            }
            events.extend(self.events_by_lock(candidates, TableFate::Truncated, file));
        }
        events
            .into_iter()
            .map(|event| {
                let successor = successor_of(&event);
                (event, successor)
            })
            .collect()
    }

    fn replaced(&self) -> Vec<Found> {
        let mut events = self.events_by_file(TableFate::Replaced);
        if events.is_empty() {
            let file = self.gone.last().copied();
            events = self.events_by_lock(self.tables_by_lock(), TableFate::Replaced, file);
        }
        let only = events.len() == 1;
        let successor = self.born.first().copied().filter(|_| only);
        // Exchanging two relations' files changes the rows of both.
        let exchanged = self.classes.updated >= 2 * self.classes.deleted;
        let written = successor.and_then(|id| self.transaction.changes.get(&id));
        let has_rows = written.is_some_and(|rows| rows.pages > 0 || rows.inserted > 0);
        let is_harmless = exchanged && (has_rows || !only || self.born.is_empty());
        for event in &mut events {
            let was_empty = event
                .table
                .as_ref()
                .is_some_and(|table| table.rows == Some(0));
            if is_harmless || was_empty {
                event.fate = TableFate::Rewritten;
            }
        }
        events.into_iter().map(|event| (event, successor)).collect()
    }

    fn events_by_file(&self, fate: TableFate) -> Vec<TableEvent> {
        let event = |id: &RelationId| {
            let table = self.catalog.relation(*id).filter(|it| it.kind.has_rows())?;
            Some(self.event(table, fate, Some(*id)))
        };
        self.gone.iter().filter_map(event).collect()
    }

    /// `file` is that of the only table.
    fn events_by_lock(
        &self,
        tables: Vec<&Relation>,
        fate: TableFate,
        file: Option<RelationId>,
    ) -> Vec<TableEvent> {
        let is_only = tables.len() == 1 && self.unknown_files() == self.gone.len();
        let file = file.filter(|_| is_only);
        let event = |table: &Relation| self.event(table, fate, file);
        tables.into_iter().map(event).collect()
    }

    fn event(&self, table: &Relation, fate: TableFate, file: Option<RelationId>) -> TableEvent {
        TableEvent {
            database: self.database,
            table: Some(table.clone()),
            oid: Some(table.oid),
            file,
            fate,
        }
    }

    /// A table that was made after the catalog was read. It is older than its indexes.
    fn stranger(&self, fate: TableFate, file: Option<RelationId>) -> TableEvent {
        TableEvent {
            database: self.database,
            table: None,
            oid: self.locked().min(),
            file,
            fate,
        }
    }

    /// Tables that were locked and whose file, as far as it is known, stayed: it may have changed
    /// since the catalog was read.
    fn tables_by_lock(&self) -> Vec<&'a Relation> {
        let known = self.gone.iter().filter_map(|id| self.catalog.relation(*id));
        let by_file: BTreeSet<u32> = known.map(|table| table.oid).collect();
        let known = self
            .locked()
            .filter_map(|oid| self.catalog.table(self.database, oid));
        known
            .filter(|table| table.kind.has_rows() && !by_file.contains(&table.oid))
            .collect()
    }

    fn is_no_table_of(&self, oid: u32) -> bool {
        let known = self.catalog.newest.get(&(self.database, oid));
        let Some(id) = known else { return true };
        let has_rows = self
            .catalog
            .relation(*id)
            .is_some_and(|it| it.kind.has_rows());
        !has_rows && !self.gone.contains(id)
    }

    fn unknown_files(&self) -> usize {
        self.gone
            .iter()
            .filter(|id| self.catalog.relation(**id).is_none())
            .count()
    }

    fn locked(&self) -> impl Iterator<Item = u32> + use<'a> {
        let database = self.database;
        let locked = self.transaction.locked.iter();
        locked
            .filter(move |lock| lock.0 == database)
            .map(|lock| lock.1)
    }
}
