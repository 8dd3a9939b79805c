//! `global/pg_control`, read while the server may be writing it.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crc32c::crc32c;

use crate::error::Error;
use crate::layout::{Lsn, RECEIVED_LAST, SegmentSize, Timeline};

/// The file's whole length; the structure takes about 300 bytes of it, zeros the rest.
const FILE_BYTES: usize = 8192;

/// The structure is at most this long, so that its write is atomic on a disk's sector.
const STRUCTURE_MAX: usize = 512;

/// PostgreSQL stores this number to recognise the machine's floating-point format.
const FLOAT_FORMAT: f64 = 1_234_567.0;

/// What a cluster says of itself in `global/pg_control`.
///
/// Source: PostgreSQL's `catalog/pg_control.h`, versions 13 to 18. What differs between the
/// versions lies between fixed landmarks, so the reader needs no table of versions.
#[derive(Clone, Debug)]
pub struct ControlFile {
    /// The file's content, whose CRC holds.
    pub bytes: Vec<u8>,
    /// Tells this cluster and its descendants from all others.
    pub system_identifier: u64,
    /// The version of the file's own format, such as 1300.
    pub control_version: u32,
    /// The version of the system catalogs, which names tablespace directories.
    pub catalog_version: u32,
    /// Where the newest checkpoint's record lies.
    pub checkpoint: Lsn,
    /// Where replay from that checkpoint begins.
    pub redo: Lsn,
    /// The timeline of that checkpoint. Lags a promotion.
    pub timeline: Timeline,
    /// Bytes of a data page.
    pub block_size: u32,
    /// Bytes of a WAL segment.
    pub wal_segment_size: SegmentSize,
    /// Whether data pages carry checksums.
    pub data_checksums: bool,
}

impl ControlFile {
    /// Reads the control file of the data directory `pgdata`, again and again while its CRC does
    /// not hold, because a running server may be in the middle of writing it.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Damaged`] if the CRC never held.
    pub fn read(pgdata: &Path) -> Result<Self, Error> {
        let path = pgdata.join(RECEIVED_LAST);
        let mut last = None;
        for attempt in 0..20 {
            if attempt > 0 {
                thread::sleep(Duration::from_millis(25));
            }
            let bytes = fs::read(&path).map_err(|source| Error::io("read", &path, source))?;
            match Self::parse(bytes) {
                Ok(control) => return Ok(control),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| damaged("it could not be read")))
    }

    /// Reads the content of a control file.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the CRC does not hold or a number is impossible.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Error> {
        if bytes.len() < STRUCTURE_MAX || bytes.len() > FILE_BYTES {
            return Err(damaged("its length is wrong"));
        }
        let end = checked_end(&bytes).ok_or_else(|| damaged("its CRC does not hold"))?;
        let sizes = float_format(&bytes[..end])
            .ok_or_else(|| damaged("it is from another kind of machine"))?
            + 8;
        if sizes + 40 > end {
            return Err(damaged("it is too short"));
        }
        Ok(Self {
            system_identifier: u64_at(&bytes, 0),
            control_version: u32_at(&bytes, 8),
            catalog_version: u32_at(&bytes, 12),
            checkpoint: Lsn::new(u64_at(&bytes, 32)),
            redo: Lsn::new(u64_at(&bytes, 40)),
            timeline: Timeline::new(u32_at(&bytes, 48)),
            // Then: relseg_size, xlog_blcksz, xlog_seg_size, nameDataLen, indexMaxKeys,
            // toast_max_chunk_size, loblksize, float8ByVal, data_checksum_version.
            block_size: u32_at(&bytes, sizes),
            wal_segment_size: SegmentSize::new(u64::from(u32_at(&bytes, sizes + 12)))?,
            data_checksums: u32_at(&bytes, sizes + 36) != 0,
            bytes,
        })
    }
}

/// Where the structure's closing CRC lies. Its offset differs by version, but only at the right one
/// does it match what precedes it, and only zeros follow.
fn checked_end(bytes: &[u8]) -> Option<usize> {
    let candidates = (200..STRUCTURE_MAX - 4).step_by(4);
    let mut matching = candidates.filter(|end| crc32c(&bytes[..*end]) == u32_at(bytes, *end));
    matching.find(|end| bytes[end + 4..].iter().all(|byte| *byte == 0))
}

fn float_format(bytes: &[u8]) -> Option<usize> {
    let wanted = FLOAT_FORMAT.to_ne_bytes();
    bytes
        .chunks_exact(8)
        .position(|chunk| chunk == wanted)
        .map(|at| at * 8)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].try_into().map_or(0, u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].try_into().map_or(0, u64::from_ne_bytes)
}

fn damaged(reason: &str) -> Error {
    Error::Damaged {
        what: RECEIVED_LAST.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Laid out as PostgreSQL 15 does on a 64-bit little-endian machine.
    fn example() -> Vec<u8> {
        let mut bytes = vec![0; FILE_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &7_123_456_789_u64.to_ne_bytes());
        put(8, &1300_u32.to_ne_bytes());
        put(12, &202_209_061_u32.to_ne_bytes());
        put(40, &0x200_0028_u64.to_ne_bytes());
        put(48, &3_u32.to_ne_bytes());
        put(208, &FLOAT_FORMAT.to_ne_bytes());
        put(216, &8192_u32.to_ne_bytes());
        put(228, &(16_u32 << 20).to_ne_bytes());
        put(252, &1_u32.to_ne_bytes());
        let crc = crc32c(&bytes[..288]);
        bytes[288..292].copy_from_slice(&crc.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_control_file_tells_what_the_cluster_is() {
        let control = ControlFile::parse(example()).unwrap();
        assert_eq!(control.system_identifier, 7_123_456_789);
        assert_eq!(control.timeline, Timeline::new(3));
        assert_eq!(
            (control.block_size, control.wal_segment_size),
            (8192, SegmentSize::DEFAULT)
        );
        assert!(control.data_checksums);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        for at in (0..FILE_BYTES).step_by(97).chain([0, 287, 288, 291]) {
            let mut bytes = example();
            bytes[at] ^= 0x10;
            assert!(ControlFile::parse(bytes).is_err(), "byte {at}");
        }
    }
}
