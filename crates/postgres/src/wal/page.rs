//! Headers of WAL pages, and the one with which a segment begins.

use super::Numbers;
use crate::layout::{Lsn, SegmentName, SegmentSize, Timeline};

/// Bytes of the header of every page but a segment's first.
pub(super) const SHORT_HEADER: usize = 24;
/// Bytes of the header with which a segment begins.
pub const SEGMENT_HEADER_BYTES: usize = 40;

const FIRST_IS_CONTRECORD: u16 = 0x01;
const LONG: u16 = 0x02;
const FIRST_IS_OVERWRITE_CONTRECORD: u16 = 0x08;
const ALL_FLAGS: u16 = 0x0F;

/// With what a page begins. Source: PostgreSQL's `access/xlog_internal.h`, `XLogPageHeaderData`
/// and `XLogLongPageHeaderData`.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageHeader {
    pub(super) magic: u16,
    info: u16,
    pub(super) timeline: Timeline,
    pub(super) address: Lsn,
    /// Bytes of the record that began on an earlier page and goes on here.
    pub(super) remaining: u32,
}

/// What only a segment's first page says.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentHeader {
    pub(super) system_identifier: u64,
    pub(super) segment_bytes: u32,
    pub(super) page_bytes: u32,
}

impl PageHeader {
    /// Reads a page's header; `None` if the bytes are too few.
    pub(super) fn parse(page: &[u8]) -> Option<Self> {
        let header = page.first_chunk::<SHORT_HEADER>()?.as_slice();
        Some(Self {
            magic: header.u16_at(0)?,
            info: header.u16_at(2)?,
            timeline: Timeline::new(header.u32_at(4)?),
            address: Lsn::new(header.u64_at(8)?),
            remaining: header.u32_at(16)?,
        })
    }

    pub(super) const fn bytes(&self) -> usize {
        match self.is_long() {
            true => SEGMENT_HEADER_BYTES,
            false => SHORT_HEADER,
        }
    }

    pub(super) const fn is_long(&self) -> bool {
        self.info & LONG != 0
    }

    /// Whether the page begins with the rest of a record.
    pub(super) const fn continues(&self) -> bool {
        self.info & FIRST_IS_CONTRECORD != 0
    }

    /// Whether the server gave up the record that should have gone on here: its rest was lost in a
    /// crash.
    pub(super) const fn overwrites(&self) -> bool {
        self.info & FIRST_IS_OVERWRITE_CONTRECORD != 0
    }

    pub(super) const fn has_unknown_flags(&self) -> bool {
        self.info & !ALL_FLAGS != 0
    }
}

impl SegmentHeader {
    /// Reads what follows the page header in a segment's first page.
    pub(super) fn parse(page: &[u8]) -> Option<Self> {
        Some(Self {
            system_identifier: page.u64_at(24)?,
            segment_bytes: page.u32_at(32)?,
            page_bytes: page.u32_at(36)?,
        })
    }
}

/// Why bytes are not the segment they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentHeaderError {
    /// No long page header: zeros, or something else altogether.
    #[error("it does not begin as a segment does")]
    NotASegment,
    /// Another system identifier.
    #[error("it is another cluster's ({found}, not {expected})")]
    AnotherCluster {
        /// The cluster in its header.
        found: u64,
        /// The cluster it should be of.
        expected: u64,
    },
    /// It is a segment, of another place: a recycled file, or one under a wrong name.
    #[error("it holds {found} and not {expected}")]
    AnotherPlace {
        /// Where its header says it begins.
        found: Lsn,
        /// Where its name says.
        expected: Lsn,
    },
    /// Its header tells another segment size.
    #[error("its segment size is {found} and not {expected} bytes")]
    AnotherSize {
        /// The size in its header.
        found: u64,
        /// The cluster's.
        expected: u64,
    },
    /// It was written on a later timeline than its name says, or on none.
    #[error("it is of timeline {found}")]
    AnotherTimeline {
        /// The timeline in its header.
        found: Timeline,
    },
}

/// Holds a segment's first [`SEGMENT_HEADER_BYTES`] against what it should be.
///
/// The timeline in the header may be an earlier one than in the name: the first segment of a
/// timeline begins with a copy from the one before.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check_segment_header(
    bytes: &[u8],
    segment: SegmentName,
    size: SegmentSize,
    system_identifier: u64,
) -> Result<(), SegmentHeaderError> {
    let page = PageHeader::parse(bytes).filter(PageHeader::is_long);
    let (Some(page), Some(header)) = (page, SegmentHeader::parse(bytes)) else {
        return Err(SegmentHeaderError::NotASegment);
    };
    if header.system_identifier != system_identifier {
        return Err(SegmentHeaderError::AnotherCluster {
            found: header.system_identifier,
            expected: system_identifier,
        });
    }
    if page.address != segment.start() {
        return Err(SegmentHeaderError::AnotherPlace {
            found: page.address,
            expected: segment.start(),
        });
    }
    if u64::from(header.segment_bytes) != size.bytes() {
        return Err(SegmentHeaderError::AnotherSize {
            found: header.segment_bytes.into(),
            expected: size.bytes(),
        });
    }
    match (Timeline::FIRST..=segment.timeline()).contains(&page.timeline) {
        true => Ok(()),
        false => Err(SegmentHeaderError::AnotherTimeline {
            found: page.timeline,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> SegmentName {
        SegmentName::at(Timeline::new(2), Lsn::new(0x300_0000), SegmentSize::DEFAULT)
    }

    fn header() -> [u8; SEGMENT_HEADER_BYTES] {
        let mut header = [0; SEGMENT_HEADER_BYTES];
        let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
        put(2, &LONG.to_le_bytes());
        put(4, &2_u32.to_le_bytes());
        put(8, &0x300_0000_u64.to_le_bytes());
        put(24, &42_u64.to_le_bytes());
        put(32, &(16_u32 << 20).to_le_bytes());
        header
    }

    #[test]
    fn a_segment_is_taken_only_for_what_its_header_says() {
        let check =
            |header: &[u8]| check_segment_header(header, segment(), SegmentSize::DEFAULT, 42);
        assert_eq!(check(&header()), Ok(()));
        // Information, timeline, place, cluster, size.
        for at in [2, 5, 11, 24, 35] {
            let mut other = header();
            other[at] ^= 2;
            assert!(check(&other).is_err(), "byte {at}");
        }
        assert_eq!(check(&header()[..39]), Err(SegmentHeaderError::NotASegment));
        assert_eq!(check(&[]), Err(SegmentHeaderError::NotASegment));
    }
}
