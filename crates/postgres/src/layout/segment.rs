//! Names and sizes of WAL segment files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Lsn, ParseLayoutError, Timeline};

/// How many bytes one WAL segment file holds: a power of two from 1 MiB to 1 GiB, chosen by
/// `initdb --wal-segsize`. Source: PostgreSQL manual, "WAL Internals".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct SegmentSize(u64);

impl SegmentSize {
    /// 16 MiB, what `initdb` takes unless told otherwise.
    pub const DEFAULT: Self = Self(16 << 20);

    /// # Errors
    /// If PostgreSQL could not have segments of that size.
    pub fn new(bytes: u64) -> Result<Self, ParseLayoutError> {
        let allowed = bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes);
        match allowed {
            true => Ok(Self(bytes)),
            false => Err(ParseLayoutError::new(
                "WAL segment size",
                &bytes.to_string(),
            )),
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of the segment that holds the byte at `lsn`.
    pub const fn number_of(self, lsn: Lsn) -> u64 {
        lsn.offset() / self.0
    }

    /// Where segment `number` begins.
    pub const fn start_of(self, number: u64) -> Lsn {
        Lsn::new(number * self.0)
    }

    /// Where the segment that holds `lsn` begins.
    pub const fn floor(self, lsn: Lsn) -> Lsn {
        Lsn::new(lsn.offset() & !(self.0 - 1))
    }

    /// Names the segments that hold the bytes from `start` up to, not including, `stop`.
    pub fn covering(self, timeline: Timeline, start: Lsn, stop: Lsn) -> Vec<SegmentName> {
        let last = self
            .number_of(Lsn::new(stop.offset().saturating_sub(1)))
            .max(self.number_of(start));
        (self.number_of(start)..=last)
            .map(|number| SegmentName {
                timeline,
                number,
                size: self,
            })
            .collect()
    }
}

impl TryFrom<u64> for SegmentSize {
    type Error = ParseLayoutError;

    fn try_from(bytes: u64) -> Result<Self, Self::Error> {
        Self::new(bytes)
    }
}

impl From<SegmentSize> for u64 {
    fn from(size: SegmentSize) -> Self {
        size.0
    }
}

/// One WAL segment. Written as its file's name, `000000010000001600000003`. Ordered by timeline, then
/// by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    timeline: Timeline,
    number: u64,
    size: SegmentSize,
}

impl SegmentName {
    /// The segment of `timeline` that holds the byte at `lsn`.
    pub const fn at(timeline: Timeline, lsn: Lsn, size: SegmentSize) -> Self {
        Self {
            timeline,
            number: size.number_of(lsn),
            size,
        }
    }

    /// Reads a file name; `size` says how to turn it into a place.
    ///
    /// # Errors
    /// If it is not 24 hexadecimal digits, or no segment of that size can have this name.
    pub fn parse(name: &str, size: SegmentSize) -> Result<Self, ParseLayoutError> {
        let refuse = || ParseLayoutError::new("WAL segment name", name);
        let digits = name.len() == 24
            && name
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
        if !digits {
            return Err(refuse());
        }
        let part =
            |from: usize| u32::from_str_radix(&name[from..from + 8], 16).map_err(|_| refuse());
        let (timeline, log, segment) = (part(0)?, u64::from(part(8)?), u64::from(part(16)?));
        let per_log = (1 << 32) / size.bytes();
        if timeline == 0 || segment >= per_log {
            return Err(refuse());
        }
        Ok(Self {
            timeline: Timeline::new(timeline),
            number: log * per_log + segment,
            size,
        })
    }

    /// Segment `number` of `timeline`.
    pub const fn numbered(timeline: Timeline, number: u64, size: SegmentSize) -> Self {
        Self {
            timeline,
            number,
            size,
        }
    }

    /// Its number, counted from the beginning of the log.
    pub const fn number(self) -> u64 {
        self.number
    }

    /// The timeline in the name.
    pub const fn timeline(self) -> Timeline {
        self.timeline
    }

    /// How many bytes it holds when it is whole.
    pub const fn size(self) -> SegmentSize {
        self.size
    }

    /// Where the segment begins.
    pub const fn start(self) -> Lsn {
        self.size.start_of(self.number)
    }

    /// Where the next segment begins.
    pub const fn end(self) -> Lsn {
        self.size.start_of(self.number + 1)
    }

    /// The segment after this one, on the same timeline.
    pub const fn next(self) -> Self {
        Self {
            timeline: self.timeline,
            number: self.number + 1,
            size: self.size,
        }
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_log = (1 << 32) / self.size.bytes();
        let (log, segment) = (self.number / per_log, self.number % per_log);
        write!(f, "{:08X}{log:08X}{segment:08X}", self.timeline.number())
    }
}

/// What kind of WAL file a name in `pg_wal` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalFileKind {
    /// A segment, `000000010000001600000003`.
    Segment,
    /// A segment that was not finished when its timeline ended, `….partial`.
    Partial,
    /// A timeline's ancestry, `00000002.history`.
    History,
    /// The record of a finished base backup, `….00000028.backup`.
    BackupHistory,
}

impl FromStr for WalFileKind {
    type Err = ParseLayoutError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let hex = |part: &str, digits: usize| {
            part.len() == digits
                && part
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
        };
        let mut parts = name.split('.');
        match (
            parts.next().unwrap_or_default(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            (segment, None, None, None) if hex(segment, 24) => Ok(Self::Segment),
            (segment, Some("partial"), None, None) if hex(segment, 24) => Ok(Self::Partial),
            (timeline, Some("history"), None, None) if hex(timeline, 8) => Ok(Self::History),
            (segment, Some(offset), Some("backup"), None) if hex(segment, 24) && hex(offset, 8) => {
                Ok(Self::BackupHistory)
            }
            _ => Err(ParseLayoutError::new("WAL file name", name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_agree_with_pg_walfile_name() {
        let lsn: Lsn = "16/B374D848".parse().unwrap();
        let name = |bytes| {
            SegmentName::at(Timeline::FIRST, lsn, SegmentSize::new(bytes).unwrap()).to_string()
        };
        assert_eq!(name(16 << 20), "0000000100000016000000B3");
        assert_eq!(name(1 << 20), "000000010000001600000B37");
        assert_eq!(name(1 << 30), "000000010000001600000002");
    }

    #[test]
    fn every_size_reads_back_its_own_names() {
        for shift in 20..=30 {
            let size = SegmentSize::new(1 << shift).unwrap();
            for offset in [0, 1 << 30, (1 << 32) - 1, 1 << 32, 0x16_B374_D848] {
                let name = SegmentName::at(Timeline::new(7), Lsn::new(offset), size);
                assert_eq!(SegmentName::parse(&name.to_string(), size).unwrap(), name);
            }
        }
    }

    #[test]
    fn a_stop_on_a_boundary_does_not_need_the_next_segment() {
        let size = SegmentSize::DEFAULT;
        let names = |start, stop| {
            size.covering(Timeline::FIRST, Lsn::new(start), Lsn::new(stop))
                .len()
        };
        assert_eq!(names(0x100_0028, 0x200_0000), 1);
        assert_eq!(names(0x100_0028, 0x200_0001), 2);
        assert_eq!(names(0x100_0028, 0x400_0000), 3);
    }

    #[test]
    fn impossible_sizes_and_names_are_refused() {
        for bytes in [0, 1, 1 << 19, 3 << 20, 1 << 31] {
            assert!(SegmentSize::new(bytes).is_err(), "{bytes}");
        }
        for name in [
            "",
            "00000001000000160000010",
            "000000010000001600000100",
            "0000000100000016000000b3",
        ] {
            assert!(
                SegmentName::parse(name, SegmentSize::DEFAULT).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn kinds_are_told_by_their_names() {
        let kind = |name: &str| name.parse::<WalFileKind>().ok();
        assert_eq!(kind("000000010000001600000003"), Some(WalFileKind::Segment));
        assert_eq!(
            kind("000000010000001600000003.partial"),
            Some(WalFileKind::Partial)
        );
        assert_eq!(kind("00000002.history"), Some(WalFileKind::History));
        assert_eq!(
            kind("000000010000001600000003.00000028.backup"),
            Some(WalFileKind::BackupHistory)
        );
        assert_eq!(kind("archive_status"), None);
        assert_eq!(kind("000000010000001600000003.partial.x"), None);
    }
}
