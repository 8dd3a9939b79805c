//! One record: its header, the pages it touches, its main data.

use std::fmt;

use super::{Numbers, Rmgr, WalFormat};
use crate::layout::{Fork, Lsn};

/// Bytes of a record's header.
pub(super) const HEADER: usize = 24;
/// The header without the CRC at its end, which is not part of what is summed up.
const HEADER_WITHOUT_CRC: usize = 20;
const MAX_BLOCK_ID: u8 = 32;
const DATA_SHORT: u8 = 255;
const DATA_LONG: u8 = 254;
const ORIGIN: u8 = 253;
const TOPLEVEL_XID: u8 = 252;

/// Which relation file, by the numbers that WAL knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationId {
    /// OID of the tablespace; 1663 is `pg_default`, 1664 `pg_global`.
    pub tablespace: u32,
    /// OID of the database; zero for what all databases share.
    pub database: u32,
    /// The number in the file's name, which is not always the relation's OID.
    pub node: u32,
}

/// As `pg_waldump` writes it, `1663/5/16384`.
impl fmt::Display for RelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tablespace, self.database, self.node)
    }
}

impl RelationId {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            tablespace: bytes.u32_at(0)?,
            database: bytes.u32_at(4)?,
            node: bytes.u32_at(8)?,
        })
    }
}

/// A page that a record touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// The number that the record's own rules know it by.
    pub id: u8,
    /// Which relation.
    pub relation: RelationId,
    /// Which part of it; `None` for one that this program does not know.
    pub fork: Option<Fork>,
    /// Which page of that part.
    pub block: u32,
    /// Whether the record holds the page's image.
    pub has_image: bool,
}

/// One record of WAL. Source: PostgreSQL's `access/xlogrecord.h`.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub(super) start: Lsn,
    pub(super) end: Lsn,
    pub(super) header: RecordHeader,
    pub(super) format: WalFormat,
    /// The record's beginning, headers of blocks and main data included; all of it unless it is large.
    pub(super) head: &'a [u8],
    /// The main data, where it was kept apart from `head`.
    pub(super) main: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// Where it begins. Recovery compares `recovery_target_lsn` with this: with
    /// `recovery_target_inclusive = off` and this place it stops just before the record, with `on`
    /// just after it.
    pub const fn start(&self) -> Lsn {
        self.start
    }

    /// Where the next one may begin: the end, aligned; after a segment switch the segment's end.
    pub const fn end(&self) -> Lsn {
        self.end
    }

    /// Its length in bytes, without the page headers in between.
    pub const fn bytes(&self) -> u32 {
        self.header.total
    }

    /// The transaction that wrote it, a subtransaction perhaps; zero for none.
    pub const fn xid(&self) -> u32 {
        self.header.xid
    }

    /// Where the record before it begins.
    pub const fn previous(&self) -> Lsn {
        self.header.previous
    }

    /// Whose record it is.
    pub const fn rmgr(&self) -> Rmgr {
        self.header.rmgr
    }

    /// What kind of record, in the upper four bits.
    pub const fn info(&self) -> u8 {
        self.header.info & 0xF0
    }

    /// The format it is written in.
    pub const fn format(&self) -> WalFormat {
        self.format
    }

    /// The pages it touches, in order.
    pub fn blocks(&self) -> impl Iterator<Item = BlockRef> + use<'a> {
        self.parts().filter_map(|part| match part {
            Part::Block(block) => Some(block),
            _ => None,
        })
    }

    /// What its resource manager wrote besides changes of pages.
    ///
    /// `None` if it is not at hand: of records above [`WHOLE_RECORD_BYTES`] it is kept only where
    /// it is short, or a transaction's end.
    ///
    /// [`WHOLE_RECORD_BYTES`]: super::reader::WHOLE_RECORD_BYTES
    pub fn main_data(&self) -> Option<&'a [u8]> {
        if self.main.is_some() {
            return self.main;
        }
        if self.head.len() < self.header.total as usize {
            return None;
        }
        let length = main_bytes(self.head, self.header.total, self.format)?;
        self.head.get(self.head.len() - length..)
    }

    fn parts(&self) -> Parts<'a> {
        Parts::new(self.head, self.header.total, self.format)
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("start", &self.start)
            .field("end", &self.end)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// The fixed beginning of a record, `XLogRecord`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHeader {
    pub(super) total: u32,
    pub(super) xid: u32,
    pub(super) previous: Lsn,
    pub(super) info: u8,
    pub(super) rmgr: Rmgr,
    pub(super) crc: u32,
}

impl RecordHeader {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER>()?.as_slice();
        Some(Self {
            total: header.u32_at(0)?,
            xid: header.u32_at(4)?,
            previous: Lsn::new(header.u64_at(8)?),
            info: header.u8_at(16)?,
            rmgr: Rmgr::new(header.u8_at(17)?),
            crc: header.u32_at(20)?,
        })
    }

    /// Whether the CRC of a record holds: of what follows the header, then of the header itself.
    pub(super) fn crc_holds(&self, crc_of_rest: u32, head: &[u8]) -> bool {
        let header = &head[..HEADER_WITHOUT_CRC.min(head.len())];
        crc32c::crc32c_append(crc_of_rest, header) == self.crc
    }
}

/// How long the main data is, out of the headers in a record's `head`; `None` if they are cut off or
/// contradict the record's length.
pub(super) fn main_bytes(head: &[u8], total: u32, format: WalFormat) -> Option<usize> {
    let mut parts = Parts::new(head, total, format);
    let main = parts.by_ref().find_map(|part| match part {
        Part::MainData { bytes } => Some(bytes),
        _ => None,
    });
    match (main, parts.is_sound()) {
        (Some(bytes), true) => Some(bytes),
        (None, true) => Some(0),
        (_, false) => None,
    }
}

enum Part {
    Block(BlockRef),
    MainData { bytes: usize },
    Other,
}

/// Walks the headers between a record's header and its data.
struct Parts<'a> {
    head: &'a [u8],
    format: WalFormat,
    at: usize,
    total: usize,
    /// Bytes of data that the headers so far have announced.
    announced: usize,
    relation: Option<RelationId>,
    broken: bool,
}

impl<'a> Parts<'a> {
    fn new(head: &'a [u8], total: u32, format: WalFormat) -> Self {
        Self {
            head,
            format,
            at: HEADER,
            total: total as usize,
            announced: 0,
            relation: None,
            broken: false,
        }
    }

    fn left(&self) -> usize {
        self.total.saturating_sub(self.at)
    }

    /// Whether the headers, all read, announce just what follows them.
    fn is_sound(&self) -> bool {
        !self.broken && self.left() == self.announced
    }

    fn part(&mut self) -> Option<Part> {
        let head = self.head;
        let id = head.u8_at(self.at)?;
        let rest = head.get(self.at + 1..)?;
        let (part, length, announces) = match id {
            DATA_SHORT => {
                let bytes = usize::from(rest.u8_at(0)?);
                (Part::MainData { bytes }, 1, bytes)
            }
            DATA_LONG => {
                let bytes = rest.u32_at(0)? as usize;
                (Part::MainData { bytes }, 4, bytes)
            }
            ORIGIN => (Part::Other, 2, 0),
            TOPLEVEL_XID => (Part::Other, 4, 0),
            0..=MAX_BLOCK_ID => self.block(id, rest)?,
            _ => return None,
        };
        self.at += 1 + length;
        self.announced = self.announced.checked_add(announces)?;
        Some(part)
    }

    /// A block's header: the part, its length after the id, and the data it announces.
    fn block(&mut self, id: u8, rest: &[u8]) -> Option<(Part, usize, usize)> {
        const HAS_IMAGE: u8 = 0x10;
        const SAME_RELATION: u8 = 0x80;
        const HAS_HOLE: u8 = 0x01;
        let flags = rest.u8_at(0)?;
        let mut announces = usize::from(rest.u16_at(1)?);
        let mut at = 3;
        if flags & HAS_IMAGE != 0 {
            announces += usize::from(rest.u16_at(at)?);
            let image = rest.u8_at(at + 4)?;
            at += 5;
            if image & HAS_HOLE != 0 && image & self.format.compressed_bits() != 0 {
                at += 2;
            }
        }
        if flags & SAME_RELATION == 0 {
            self.relation = Some(RelationId::parse(rest.get(at..)?)?);
            at += 12;
        }
        let block = BlockRef {
            id,
            relation: self.relation?,
            fork: fork(flags & 0x0F),
            block: rest.u32_at(at)?,
            has_image: flags & HAS_IMAGE != 0,
        };
        Some((Part::Block(block), at + 4, announces))
    }
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        if self.broken || self.left() <= self.announced {
            return None;
        }
        let part = self.part();
        self.broken = part.is_none();
        part
    }
}

/// Source: PostgreSQL's `common/relpath.h`, `ForkNumber`.
pub(super) const fn fork(number: u8) -> Option<Fork> {
    match number {
        0 => Some(Fork::Main),
        1 => Some(Fork::FreeSpaceMap),
        2 => Some(Fork::VisibilityMap),
        3 => Some(Fork::Init),
        _ => None,
    }
}
