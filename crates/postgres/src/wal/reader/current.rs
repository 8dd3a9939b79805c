//! The segment that is being read.

use super::super::WalFormat;
use super::super::page::{PageHeader, SHORT_HEADER, SegmentHeader};
use super::{Damage, EndReason, Origin, Segment};
use crate::layout::SegmentName;

/// What a page of WAL can measure: `--with-wal-blocksize` of 1 to 64 KiB.
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 1 << 10..=64 << 10;

pub(super) struct Current<B> {
    pub(super) name: SegmentName,
    pub(super) format: WalFormat,
    pub(super) page_bytes: u64,
    system_identifier: u64,
    bytes: B,
}

impl<B: AsRef<[u8]>> Current<B> {
    /// Looks at the header of a segment's first page.
    pub(super) fn open(segment: Segment<B>) -> Result<Self, EndReason> {
        let bytes = segment.bytes.as_ref();
        let page = PageHeader::parse(bytes);
        let (Some(page), Some(header)) = (page, SegmentHeader::parse(bytes)) else {
            return Err(EndReason::CutShort);
        };
        if page.magic == 0 && bytes.iter().all(|byte| *byte == 0) {
            return Err(EndReason::Zeros);
        }
        let Some(format) = WalFormat::of_magic(page.magic) else {
            return Err(EndReason::UnknownFormat { magic: page.magic });
        };
        if page.address != segment.name.start() {
            return Err(EndReason::Recycled {
                found: page.address,
            });
        }
        let is_sound = page.is_long()
            && u64::from(header.segment_bytes) == segment.name.size().bytes()
            && header.page_bytes.is_power_of_two()
            && PAGE_BYTES.contains(&header.page_bytes);
        if !is_sound {
            return Err(EndReason::Damaged(Damage::PageHeader));
        }
        Ok(Self {
            name: segment.name,
            format,
            page_bytes: header.page_bytes.into(),
            system_identifier: header.system_identifier,
            bytes: segment.bytes,
        })
    }

    pub(super) const fn origin(&self) -> Origin {
        Origin {
            system_identifier: self.system_identifier,
            format: self.format,
        }
    }

    /// The segment's bytes, as far as they were given.
    pub(super) fn bytes(&self) -> &[u8] {
        let bytes = self.bytes.as_ref();
        let size = usize::try_from(self.name.size().bytes()).unwrap_or(usize::MAX);
        &bytes[..bytes.len().min(size)]
    }

    /// Where the next segment begins.
    pub(super) fn end(&self) -> u64 {
        self.name.end().offset()
    }

    pub(super) fn offset_of(&self, at: u64) -> usize {
        (at - self.name.start().offset()) as usize
    }

    /// The header of the page that begins at `at`.
    pub(super) fn page(&self, at: u64) -> Result<PageHeader, EndReason> {
        let from = self.offset_of(at);
        let bytes = self.bytes().get(from..).unwrap_or_default();
        let page = PageHeader::parse(bytes).ok_or(EndReason::CutShort)?;
        if page.magic == 0 {
            return Err(self.nothing_at(at));
        }
        let Some(format) = WalFormat::of_magic(page.magic) else {
            return Err(EndReason::Damaged(Damage::PageHeader));
        };
        if page.address.offset() != at {
            return Err(EndReason::Recycled {
                found: page.address,
            });
        }
        let is_sound =
            format == self.format && !page.has_unknown_flags() && page.is_long() == (from == 0);
        if !is_sound {
            return Err(EndReason::Damaged(Damage::PageHeader));
        }
        match bytes.len() >= page.bytes() {
            true => Ok(page),
            false => Err(EndReason::CutShort),
        }
    }

    /// Tells why there is no record at `at`, where a zero stands.
    pub(super) fn nothing_at(&self, at: u64) -> EndReason {
        let bytes = self.bytes();
        let from = self.offset_of(at).min(bytes.len());
        let Some(written) = bytes[from..].iter().position(|byte| *byte != 0) else {
            return EndReason::Zeros;
        };
        // The server zeroes a page before it writes to it, and no further.
        let page = (from + written) as u64 / self.page_bytes * self.page_bytes;
        let header = bytes.get(page as usize..).and_then(PageHeader::parse);
        let old = header.filter(|header| {
            page as usize >= from
                && WalFormat::of_magic(header.magic).is_some()
                && header.address.offset() != self.name.start().offset() + page
        });
        match old {
            Some(header) => EndReason::Recycled {
                found: header.address,
            },
            None => EndReason::Damaged(Damage::Hole),
        }
    }
}

const _: () = assert!(SHORT_HEADER < *PAGE_BYTES.start() as usize);
