//! Why reading ended.

use std::fmt;

use crate::layout::{Lsn, SegmentName};

/// Where the records end, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Where the next record would begin, or where one begins of which the rest is missing. Up to
    /// here everything is whole and checked.
    pub at: Lsn,
    /// Why it goes on no further.
    pub reason: EndReason,
}

/// Why records end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// No further segment was given, and none is begun.
    NoMoreSegments,
    /// A record begins at [`End::at`] whose rest was not given.
    Unfinished {
        /// How many of its bytes are there.
        found: u64,
        /// How many it has.
        total: u64,
    },
    /// The bytes of the last segment given end before the segment does, between two records.
    CutShort,
    /// Nothing was written after this: zeros up to the segment's end.
    Zeros,
    /// What follows was written in an earlier life of the file, which the server used again.
    Recycled {
        /// What place the old page says it holds.
        found: Lsn,
    },
    /// The next segment that was given is not the next.
    Gap {
        /// The one that was given.
        found: SegmentName,
    },
    /// Written by a version of PostgreSQL that is not one of 13 to 18, or no WAL at all.
    UnknownFormat {
        /// The number with which the page begins.
        magic: u16,
    },
    /// Something is there, and it is not right.
    Damaged(Damage),
}

impl EndReason {
    /// Whether WAL that is in order may end like this: where a server stopped writing, or where the
    /// caller stopped giving.
    pub const fn is_ordinary(&self) -> bool {
        match self {
            Self::NoMoreSegments
            | Self::Unfinished { .. }
            | Self::CutShort
            | Self::Zeros
            | Self::Recycled { .. } => true,
            Self::Gap { .. } | Self::UnknownFormat { .. } | Self::Damaged(_) => false,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMoreSegments => f.write_str("no further segment"),
            Self::Unfinished { found, total } => {
                write!(f, "a record has {found} of its {total} bytes")
            }
            Self::CutShort => f.write_str("the file ends"),
            Self::Zeros => f.write_str("nothing was written after this"),
            Self::Recycled { found } => {
                write!(f, "what follows is old: it belongs to {found}")
            }
            Self::Gap { found } => write!(f, "segment {found} is not the next"),
            Self::UnknownFormat { magic } => {
                write!(
                    f,
                    "not WAL of PostgreSQL 13 to 18 (it begins with {magic:04X})"
                )
            }
            Self::Damaged(damage) => damage.fmt(f),
        }
    }
}

/// What is wrong with WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// A segment of another cluster or version than the one before it.
    Origin,
    /// A page header that contradicts itself or its neighbours.
    PageHeader,
    /// A page written on an earlier timeline than the one before it, or on a later than its segment.
    Timeline,
    /// A page goes on with a record that did not begin before it, or does not go on with one that did.
    Continuation,
    /// A record that is too short, or of nobody.
    RecordHeader,
    /// A record that does not name the one before it.
    Chain,
    /// A record whose CRC does not hold.
    Crc,
    /// Zeros where a record is due, and WAL of the right place behind them.
    Hole,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Origin => "a segment is another cluster's than the one before it",
            Self::PageHeader => "a page header is damaged",
            Self::Timeline => "a page is of the wrong timeline",
            Self::Continuation => "a record does not go on where it should",
            Self::RecordHeader => "a record's header is damaged",
            Self::Chain => "a record does not follow the one before it",
            Self::Crc => "a record's CRC does not hold",
            Self::Hole => "there are zeros in the midst of WAL",
        })
    }
}
