//! The record with which a transaction ends.

use jiff::Timestamp;

use super::record::RelationId;
use super::{Numbers, Record, Rmgr, time};

const OPERATION: u8 = 0x70;
const HAS_FLAGS: u8 = 0x80;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// What it did holds.
    Committed,
    /// What it did never was.
    Aborted,
}

/// The end of a transaction. Source: PostgreSQL's `access/xact.h` and `rmgrdesc/xactdesc.c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionEnd {
    /// The transaction; for one that was prepared its own, and not that of who finished it.
    pub xid: u32,
    /// How it ended.
    pub ending: Ending,
    /// When, by the server's clock; commits lie in the WAL nearly, not strictly, in this order.
    pub time: Timestamp,
    /// Whether it had been prepared (`PREPARE TRANSACTION`).
    pub was_prepared: bool,
    /// Its subtransactions that share its fate.
    pub subtransactions: Vec<u32>,
    /// The relations whose files are removed with its end.
    pub unlinked: Vec<RelationId>,
}

impl TransactionEnd {
    /// Reads a record that ends a transaction; `None` for any other, or if it cannot be read.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        let (ending, was_prepared) = kind(record)?;
        let mut fields = Fields(record.main_data()?);
        let time = time::from_postgres(fields.i64()?)?;
        let flags = match record.info() & HAS_FLAGS {
            0 => 0,
            _ => fields.u32()?,
        };
        let has = |bit: u32| flags & 1 << bit != 0;
        if has(0) {
            // Database and its tablespace.
            fields.skip(8)?;
        }
        let subtransactions = fields.list(has(1), 4, |bytes| bytes.u32_at(0))?;
        let unlinked = fields.list(has(2), 12, RelationId::parse)?;
        let xid = match was_prepared {
            false => record.xid(),
            true => {
                if has(8) {
                    // Statistics of what was dropped, since 15; their keys grew with 18.
                    let bytes = if record.format().major() >= 18 {
                        16
                    } else {
                        12
                    };
                    fields.list(true, bytes, |_| Some(()))?;
                }
                // Messages that empty caches.
                fields.list(has(3), 16, |_| Some(()))?;
                has(4).then(|| fields.u32()).flatten()?
            }
        };
        Some(Self {
            xid,
            ending,
            time,
            was_prepared,
            subtransactions,
            unlinked,
        })
    }

    /// Only ending, time and transaction, which is all that a summary of millions wants.
    pub(super) fn glance(record: &Record<'_>) -> Option<(Ending, Timestamp, u32)> {
        let (ending, was_prepared) = kind(record)?;
        let time = time::from_postgres(record.main_data()?.i64_at(0)?)?;
        let xid = match was_prepared {
            true => Self::of(record)?.xid,
            false => record.xid(),
        };
        Some((ending, time, xid))
    }
}

fn kind(record: &Record<'_>) -> Option<(Ending, bool)> {
    if record.rmgr() != Rmgr::TRANSACTION {
        return None;
    }
    match record.info() & OPERATION {
        0x00 => Some((Ending::Committed, false)),
        0x20 => Some((Ending::Aborted, false)),
        0x30 => Some((Ending::Committed, true)),
        0x40 => Some((Ending::Aborted, true)),
        _ => None,
    }
}

/// Takes one field after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn skip(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.skip(4)?.u32_at(0)
    }

    fn i64(&mut self) -> Option<i64> {
        self.skip(8)?.i64_at(0)
    }

    /// A list with its length before it; empty if it is not there.
    fn list<T>(
        &mut self,
        is_there: bool,
        bytes: usize,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Option<Vec<T>> {
        if !is_there {
            return Some(Vec::new());
        }
        let count = self.u32()? as usize;
        let all = self.skip(count.checked_mul(bytes)?)?;
        all.chunks_exact(bytes).map(read).collect()
    }
}
