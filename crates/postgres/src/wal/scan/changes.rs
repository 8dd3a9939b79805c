//! What single records change.

use super::activity::RowChanges;
use crate::layout::Fork;
use crate::wal::record::{RelationId, fork};
use crate::wal::{Numbers, Record, Rmgr};

/// A change of interest. Source: PostgreSQL's `access/heapam_xlog.h`, `catalog/storage_xlog.h`,
/// `commands/dbcommands_xlog.h`, `storage/standbydefs.h`.
pub(super) enum Change {
    Rows(RelationId, RowChanges),
    /// `INSERT … ON CONFLICT` lost a race against another, and took its row back.
    InsertTakenBack(RelationId),
    Pages(Vec<RelationId>),
    Created(RelationId),
    /// Database and OIDs of the tables.
    Truncated(u32, Vec<u32>),
    DatabaseCreated(u32),
    DatabaseDropped(u32),
    /// A row of a shared catalog was overwritten on the spot.
    MarkedShared,
}

const OPERATION: u8 = 0x70;
/// OID of the tablespace `pg_global`.
const GLOBAL: u32 = 1664;

pub(super) fn change(record: &Record<'_>) -> Option<Change> {
    match record.rmgr() {
        Rmgr::HEAP => heap(record),
        Rmgr::HEAP2 if record.info() & OPERATION == 0x50 => {
            // Flags, padding, number of rows.
            let inserted = record.main_data()?.u16_at(2)?.into();
            rows(
                record,
                RowChanges {
                    inserted,
                    ..RowChanges::default()
                },
            )
        }
        Rmgr::XLOG if record.info() == 0xB0 && record.xid() != 0 => {
            let main = record
                .blocks()
                .filter(|block| block.fork == Some(Fork::Main));
            Some(Change::Pages(main.map(|block| block.relation).collect()))
        }
        Rmgr::STORAGE if record.info() == 0x10 => {
            let data = record.main_data()?;
            let is_main = fork(u8::try_from(data.u32_at(12)?).ok()?) == Some(Fork::Main);
            let relation = RelationId::parse(data)?;
            is_main.then_some(Change::Created(relation))
        }
        Rmgr::DATABASE => database(record),
        _ => None,
    }
}

fn heap(record: &Record<'_>) -> Option<Change> {
    const INSERT: u8 = 0x00;
    const DELETE: u8 = 0x10;
    const UPDATE: u8 = 0x20;
    const TRUNCATE: u8 = 0x30;
    const HOT_UPDATE: u8 = 0x40;
    const IN_PLACE: u8 = 0x70;
    /// Of a delete's flags.
    const TAKES_INSERT_BACK: u8 = 0x08;
    let none = RowChanges::default();
    match record.info() & OPERATION {
        INSERT => rows(
            record,
            RowChanges {
                inserted: 1,
                ..none
            },
        ),
        UPDATE | HOT_UPDATE => rows(record, RowChanges { updated: 1, ..none }),
        DELETE => match record.main_data()?.u8_at(7)? & TAKES_INSERT_BACK {
            0 => rows(record, RowChanges { deleted: 1, ..none }),
            _ => Some(Change::InsertTakenBack(record.blocks().next()?.relation)),
        },
        TRUNCATE => {
            let data = record.main_data()?;
            let count = data.u32_at(4)? as usize;
            let tables = data.get(12..)?.chunks_exact(4).take(count);
            let tables = tables.filter_map(|oid| oid.u32_at(0)).collect();
            Some(Change::Truncated(data.u32_at(0)?, tables))
        }
        IN_PLACE => {
            let relation = record.blocks().next()?.relation;
            (relation.tablespace == GLOBAL).then_some(Change::MarkedShared)
        }
        _ => None,
    }
}

fn rows(record: &Record<'_>, rows: RowChanges) -> Option<Change> {
    // The first block is where the row is now.
    Some(Change::Rows(record.blocks().next()?.relation, rows))
}

/// With 15 came a second way of making a database, and moved the number of removing one.
fn database(record: &Record<'_>) -> Option<Change> {
    let database = record.main_data()?.u32_at(0)?;
    let is_drop = match record.format().major() {
        13 | 14 => record.info() == 0x10,
        _ => record.info() == 0x20,
    };
    match is_drop {
        true => Some(Change::DatabaseDropped(database)),
        false => Some(Change::DatabaseCreated(database)),
    }
}

/// The next transaction number, and the oldest that runs, out of a list of running transactions.
pub(super) fn running(record: &Record<'_>) -> Option<(u32, u32)> {
    if record.info() != 0x10 {
        return None;
    }
    let data = record.main_data()?;
    Some((data.u32_at(12)?, data.u32_at(16)?))
}

/// A relation that a transaction keeps everyone else from.
pub(super) struct Lock {
    pub(super) xid: u32,
    pub(super) database: u32,
    pub(super) relation: u32,
}

/// The locks that a record tells standbys to take.
pub(super) fn locks<'a>(record: &Record<'a>) -> impl Iterator<Item = Lock> + use<'a> {
    let is_locks = record.info() == 0x00;
    let data = record.main_data().filter(|_| is_locks).unwrap_or_default();
    let count = data.u32_at(0).unwrap_or(0) as usize;
    let locks = data
        .get(4..)
        .unwrap_or_default()
        .chunks_exact(12)
        .take(count);
    locks.filter_map(|lock| {
        Some(Lock {
            xid: lock.u32_at(0)?,
            database: lock.u32_at(4)?,
            relation: lock.u32_at(8)?,
        })
    })
}
