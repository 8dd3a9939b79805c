//! The write-ahead log, read.
//!
//! Start at [`reader::Reader`], which turns segments into records, or at [`scan`], which turns
//! records into what a person asks: when was what committed.
//!
//! [`receive`] takes WAL from a running server; nothing else here needs a server or its programs. Layouts are facts of PostgreSQL's sources, versions
//! 13 to 18: `access/xlog_internal.h`, `access/xlogrecord.h`, `access/xlogreader.c`,
//! `access/rmgrlist.h`, `access/xact.h`, `access/heapam_xlog.h`, `catalog/pg_control.h`. They are
//! read as little-endian machines write them.

pub mod catalog;
mod format;
mod page;
pub mod reader;
pub mod receive;
mod record;
mod rmgr;
pub mod scan;
mod time;
mod transaction;

pub use format::WalFormat;
pub use page::{SEGMENT_HEADER_BYTES, SegmentHeaderError, check_segment_header};
pub use record::{BlockRef, Record, RelationId};
pub use rmgr::Rmgr;
pub use transaction::{Ending, TransactionEnd};

/// Records begin at multiples of this, PostgreSQL's `MAXALIGN`.
const ALIGNMENT: u64 = 8;

const fn aligned(bytes: u64) -> u64 {
    (bytes + ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

/// Reads numbers out of bytes that may be too short for them.
pub(crate) trait Numbers {
    fn u8_at(&self, at: usize) -> Option<u8>;
    fn u16_at(&self, at: usize) -> Option<u16>;
    fn u32_at(&self, at: usize) -> Option<u32>;
    fn u64_at(&self, at: usize) -> Option<u64>;
    fn i64_at(&self, at: usize) -> Option<i64>;
}

impl Numbers for [u8] {
    fn u8_at(&self, at: usize) -> Option<u8> {
        self.get(at).copied()
    }

    fn u16_at(&self, at: usize) -> Option<u16> {
        let bytes = self.get(at..)?.first_chunk()?;
        Some(u16::from_le_bytes(*bytes))
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        let bytes = self.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }

    fn u64_at(&self, at: usize) -> Option<u64> {
        let bytes = self.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    fn i64_at(&self, at: usize) -> Option<i64> {
        let bytes = self.get(at..)?.first_chunk()?;
        Some(i64::from_le_bytes(*bytes))
    }
}
