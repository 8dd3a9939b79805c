//! Rows out of heap pages, without a server.

use std::collections::HashMap;

use super::super::Numbers;

const PAGE_HEADER: usize = 24;
const TUPLE_HEADER: usize = 23;
/// Bits of a line pointer's flags: it leads to a row.
const NORMAL: u32 = 1;

/// A version of a row: its fixed fields, and how likely it is the one in force.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// What follows the header: the columns, in order.
    pub(super) fields: &'a [u8],
    pub(super) standing: Standing,
}

/// How a version of a row stands; later is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Never came to be.
    Aborted,
    /// Was, and was replaced or deleted.
    Past,
    /// In force, with the number of the transaction that made it.
    Live,
}

/// All rows that line pointers lead to, page by page; what is no page or no row is passed over.
///
/// Source: PostgreSQL's `storage/bufpage.h`, `storage/itemid.h`, `access/htup_details.h`.
pub(super) fn rows<'a>(
    file: &'a [u8],
    page_bytes: usize,
    fates: &'a Fates,
) -> impl Iterator<Item = Row<'a>> {
    file.chunks_exact(page_bytes)
        .flat_map(move |page| lines(page).filter_map(move |line| row(page, line, fates)))
}

fn lines(page: &[u8]) -> impl Iterator<Item = u32> {
    let lower = page.u16_at(12).map_or(0, usize::from);
    let lines = page.get(PAGE_HEADER..lower).unwrap_or_default();
    lines.chunks_exact(4).filter_map(|line| line.u32_at(0))
}

fn row<'a>(page: &'a [u8], line: u32, fates: &Fates) -> Option<Row<'a>> {
    if line >> 15 & 3 != NORMAL {
        return None;
    }
    let (at, length) = ((line & 0x7FFF) as usize, (line >> 17) as usize);
    let tuple = page.get(at..at + length)?;
    let header = usize::from(tuple.u8_at(22)?);
    (header >= TUPLE_HEADER).then_some(())?;
    Some(Row {
        fields: tuple.get(header..)?,
        standing: standing(tuple, fates)?,
    })
}

fn standing(tuple: &[u8], fates: &Fates) -> Option<Standing> {
    const XMIN_COMMITTED: u16 = 0x0100;
    const XMIN_INVALID: u16 = 0x0200;
    const XMAX_COMMITTED: u16 = 0x0400;
    const XMAX_INVALID: u16 = 0x0800;
    const XMAX_ONLY_LOCKS: u16 = 0x0080;
    const XMAX_IS_MULTI: u16 = 0x1000;
    let (xmin, xmax, mask) = (tuple.u32_at(0)?, tuple.u32_at(4)?, tuple.u16_at(20)?);
    let has = |bits: u16| mask & bits != 0;
    let came = match (has(XMIN_COMMITTED), has(XMIN_INVALID)) {
        (true, _) => true,
        (false, true) => false,
        (false, false) => fates.committed(xmin),
    };
    if !came {
        return Some(Standing::Aborted);
    }
    let stays = xmax == 0 || has(XMAX_INVALID | XMAX_ONLY_LOCKS | XMAX_IS_MULTI);
    let gone = !stays && (has(XMAX_COMMITTED) || fates.committed(xmax));
    Some(match gone {
        true => Standing::Past,
        false => Standing::Live,
    })
}

/// Which transactions committed, out of `pg_xact`. Source: PostgreSQL's `access/transam/clog.c`.
#[derive(Default)]
pub(super) struct Fates {
    /// Content of the files, by their number.
    files: HashMap<u32, Vec<u8>>,
}

impl Fates {
    /// Transactions in a file: 32 pages of 8 KiB with two bits each.
    const PER_FILE: u32 = 32 * 8192 * 4;

    pub(super) const fn file_of(xid: u32) -> u32 {
        xid / Self::PER_FILE
    }

    pub(super) fn add(&mut self, file: u32, content: Vec<u8>) {
        self.files.insert(file, content);
    }

    /// Whether it committed; what `pg_xact` does not say is taken for true, because a row of a
    /// transaction that nobody asked about yet is far more often there than not.
    fn committed(&self, xid: u32) -> bool {
        const FIRST_NORMAL: u32 = 3;
        const COMMITTED: u8 = 1;
        const SUBCOMMITTED: u8 = 3;
        if xid < FIRST_NORMAL {
            return true;
        }
        let within = xid % Self::PER_FILE;
        let byte = self
            .files
            .get(&Self::file_of(xid))
            .and_then(|file| file.get(within as usize / 4));
        byte.is_none_or(|byte| matches!(byte >> (within % 4 * 2) & 3, COMMITTED | SUBCOMMITTED))
    }
}

/// The transactions whose fate decides how the rows of `file` stand and is not noted in them.
pub(super) fn undecided(file: &[u8], page_bytes: usize) -> impl Iterator<Item = u32> {
    const XMIN_KNOWN: u16 = 0x0300;
    const XMAX_KNOWN: u16 = 0x0C00;
    file.chunks_exact(page_bytes).flat_map(|page| {
        lines(page).flat_map(|line| {
            let tuple = page.get((line & 0x7FFF) as usize..).unwrap_or_default();
            let mask = tuple.u16_at(20).unwrap_or(XMIN_KNOWN | XMAX_KNOWN);
            let xid =
                |at: usize, known: u16| (mask & known == 0).then(|| tuple.u32_at(at)).flatten();
            let both = [xid(0, XMIN_KNOWN), xid(4, XMAX_KNOWN)];
            both.into_iter().flatten().filter(|xid| *xid != 0)
        })
    })
}
