//! What each transaction did, put together from its records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::changes::{Change, change};
use super::summary::{Commit, commit};
use crate::layout::Lsn;
use crate::wal::{Ending, Record, RelationId, Rmgr, TransactionEnd};

/// Rows of one relation that were changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RowChanges {
    /// Inserted.
    pub inserted: u64,
    /// Updated.
    pub updated: u64,
    /// Deleted.
    pub deleted: u64,
    /// Pages written as a whole, without a word about their rows: by `VACUUM FULL`, by an index
    /// that is built.
    pub pages: u64,
}

impl RowChanges {
    fn add(&mut self, other: &Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.pages += other.pages;
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Rows that there are more (or fewer) than before.
    pub fn net(&self) -> i64 {
        self.inserted.cast_signed() - self.deleted.cast_signed()
    }
}

/// A committed transaction that changed something.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// Its commit.
    pub commit: Commit,
    /// Recovery to here, **exclusive**, is the last moment without it. Usually where its commit
    /// record begins, so that nobody else's work is lost; earlier for what is done before the
    /// commit and cannot be undone, which is the removal of a database.
    pub before: Lsn,
    /// Where the first of its records begins that was read.
    pub first: Lsn,
    /// Whether it may have done more, before the first record that was read.
    pub began_earlier: bool,
    /// Whether it was prepared before it was committed.
    pub was_prepared: bool,
    /// Rows changed, by relation; catalogs, indexes and TOAST tables are among them.
    pub changes: BTreeMap<RelationId, RowChanges>,
    /// Relations whose main file it made, in order.
    pub created: Vec<RelationId>,
    /// Relations whose files went with the commit: they were dropped, or got new files.
    pub unlinked: Vec<RelationId>,
    /// Databases it removed, by OID.
    pub databases_dropped: Vec<u32>,
    /// Databases it made, by OID.
    pub databases_created: Vec<u32>,
    /// Tables that `TRUNCATE` emptied, as (database, OID of the table); told only with
    /// `wal_level = logical`.
    pub truncated: Vec<(u32, u32)>,
    /// Relations that it kept everyone else from (`ACCESS EXCLUSIVE`), as (database, OID): it drops,
    /// truncates, rewrites or alters none without. Unlike a file's number, an OID stays.
    pub locked: BTreeSet<(u32, u32)>,
}

/// Collects what transactions do, record by record.
///
/// Memory is bounded by the transactions that run at the same time and the relations that each of
/// them changes.
#[derive(Debug, Default)]
pub struct Activity {
    open: HashMap<u32, Doing>,
    /// The next transaction number when reading began: what is older may have begun earlier.
    horizon: Option<u32>,
    /// Where a row of a shared catalog was last changed on the spot; `DROP DATABASE` marks the
    /// database like that before it removes it.
    marked: Option<Lsn>,
}

/// What a transaction, or a subtransaction, did so far.
#[derive(Debug)]
struct Doing {
    first: Lsn,
    changes: BTreeMap<RelationId, RowChanges>,
    created: Vec<RelationId>,
    databases_dropped: Vec<u32>,
    databases_created: Vec<u32>,
    truncated: Vec<(u32, u32)>,
    locked: BTreeSet<(u32, u32)>,
    /// Where it did what a rollback does not undo.
    irrevocable: Option<Lsn>,
}

impl Activity {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next record; gives the transaction that it commits, unless that did nothing.
    pub fn add(&mut self, record: &Record<'_>) -> Option<Transaction> {
        match record.rmgr() {
            Rmgr::TRANSACTION => self.end(record),
            Rmgr::STANDBY => {
                self.standby(record);
                None
            }
            _ => {
                if let Some(change) = change(record) {
                    self.change(record, change);
                }
                None
            }
        }
    }

    /// The transactions that have done something and not ended: by number, with the place of their
    /// first record.
    pub fn in_flight(&self) -> impl Iterator<Item = (u32, Lsn)> {
        self.open.iter().map(|(xid, doing)| (*xid, doing.first))
    }

    fn change(&mut self, record: &Record<'_>, change: Change) {
        if let Change::MarkedShared = change {
            self.marked = Some(record.start());
        }
        if record.xid() == 0 {
            return;
        }
        let marked = self.marked;
        let doing = self
            .open
            .entry(record.xid())
            .or_insert_with(|| Doing::new(record.start()));
        match change {
            Change::Rows(relation, rows) => doing.changes.entry(relation).or_default().add(&rows),
            Change::InsertTakenBack(relation) => {
                let rows = doing.changes.entry(relation).or_default();
                rows.inserted = rows.inserted.saturating_sub(1);
            }
            Change::Pages(relations) => {
                for relation in relations {
                    doing.changes.entry(relation).or_default().pages += 1;
                }
            }
            Change::Created(relation) => doing.created.push(relation),
            Change::Truncated(database, tables) => {
                doing
                    .truncated
                    .extend(tables.iter().map(|table| (database, *table)));
            }
            Change::DatabaseCreated(database) => doing.databases_created.push(database),
            Change::DatabaseDropped(database) => {
                doing.databases_dropped.push(database);
                let from = marked.map_or(doing.first, |marked| marked.min(doing.first));
                doing.irrevocable.get_or_insert(from);
            }
            Change::MarkedShared => {}
        }
    }

    fn end(&mut self, record: &Record<'_>) -> Option<Transaction> {
        let end = TransactionEnd::of(record)?;
        let commit = commit(record)?;
        let own = self.open.remove(&end.xid);
        let mut doing = own.unwrap_or_else(|| Doing::new(record.start()));
        for xid in &end.subtransactions {
            if let Some(part) = self.open.remove(xid) {
                doing.absorb(part);
            }
        }
        if end.ending == Ending::Aborted {
            return None;
        }
        doing.changes.retain(|_, rows| !rows.is_empty());
        let transaction = Transaction {
            commit,
            before: doing.irrevocable.unwrap_or(record.start()),
            first: doing.first,
            began_earlier: self.horizon.is_none_or(|next| precedes(end.xid, next)),
            was_prepared: end.was_prepared,
            changes: doing.changes,
            created: doing.created,
            unlinked: end.unlinked,
            databases_dropped: doing.databases_dropped,
            databases_created: doing.databases_created,
            truncated: doing.truncated,
            locked: doing.locked,
        };
        (!transaction.is_empty()).then_some(transaction)
    }

    fn standby(&mut self, record: &Record<'_>) {
        for lock in super::changes::locks(record) {
            let doing = self.open.entry(lock.xid);
            let doing = doing.or_insert_with(|| Doing::new(record.start()));
            doing.locked.insert((lock.database, lock.relation));
        }
        // Transactions that a crash ended have no record of it; the list of those that run tells.
        if let Some((next, oldest)) = super::changes::running(record) {
            self.horizon.get_or_insert(next);
            self.open.retain(|xid, _| !precedes(*xid, oldest));
        }
    }
}

impl Doing {
    const fn new(first: Lsn) -> Self {
        Self {
            first,
            changes: BTreeMap::new(),
            created: Vec::new(),
            databases_dropped: Vec::new(),
            databases_created: Vec::new(),
            truncated: Vec::new(),
            locked: BTreeSet::new(),
            irrevocable: None,
        }
    }

    fn absorb(&mut self, part: Self) {
        self.first = self.first.min(part.first);
        for (relation, rows) in part.changes {
            self.changes.entry(relation).or_default().add(&rows);
        }
        self.created.extend(part.created);
        self.databases_dropped.extend(part.databases_dropped);
        self.databases_created.extend(part.databases_created);
        self.truncated.extend(part.truncated);
        self.locked.extend(part.locked);
        self.irrevocable = self.irrevocable.or(part.irrevocable);
    }
}

impl Transaction {
    fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.created.is_empty()
            && self.unlinked.is_empty()
            && self.databases_dropped.is_empty()
            && self.databases_created.is_empty()
    }
}

/// Whether one transaction number is older than another, on the circle they live on.
const fn precedes(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
}

/// What all transactions of a span did together: after a target it is what recovery to it loses.
#[derive(Clone, Debug, Default)]
pub struct RowTally {
    /// Rows, by relation.
    pub changes: BTreeMap<RelationId, RowChanges>,
    /// How many transactions.
    pub transactions: u64,
}

impl RowTally {
    /// Adds a transaction.
    pub fn add(&mut self, transaction: &Transaction) {
        self.transactions += 1;
        for (relation, rows) in &transaction.changes {
            self.changes.entry(*relation).or_default().add(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_numbers_are_compared_on_their_circle() {
        assert!(precedes(3, 4) && !precedes(4, 3) && !precedes(4, 4));
        assert!(precedes(u32::MAX - 5, 10) && !precedes(10, u32::MAX - 5));
    }
}
