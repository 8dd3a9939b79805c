//! WAL segments in the server's own directory.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::layout::{Lsn, SegmentName, SegmentSize, Timeline};

/// The long header with which a segment begins, for every byte order and version. Source:
/// PostgreSQL's `access/xlog_internal.h`.
const HEADER_BYTES: usize = 40;

/// Bit of `xlp_info` that says the long header is there.
const LONG_HEADER: u16 = 2;

/// A file under `pg_wal` that the backup needs.
#[derive(Clone, Debug)]
pub struct WalFile {
    /// Where it lies in the tree of the backup, `pg_wal/<name>`.
    pub tree_path: String,
    /// Where it is read from.
    pub source: PathBuf,
    /// Its length in bytes.
    pub size: u64,
}

/// The segments from `start` to `stop`, each looked at: whole, of this cluster, and in its place.
pub(super) fn wal_files(
    pgdata: &Path,
    (timeline, start, stop): (Timeline, Lsn, Lsn),
    size: SegmentSize,
    system_identifier: u64,
) -> Result<Vec<WalFile>, Error> {
    let directory = pgdata.join("pg_wal");
    let mut files = Vec::new();
    if timeline > Timeline::FIRST {
        files.extend(history(&directory, timeline));
    }
    for segment in size.covering(timeline, start, stop) {
        let source = directory.join(segment.to_string());
        check_segment(&source, segment, size, system_identifier)?;
        files.push(WalFile {
            tree_path: format!("pg_wal/{segment}"),
            source,
            size: size.bytes(),
        });
    }
    Ok(files)
}

/// A server started from the backup does not need its ancestry to become consistent, so a lost
/// history file is no reason to have no backup.
fn history(directory: &Path, timeline: Timeline) -> Option<WalFile> {
    let name = timeline.history_file_name();
    let source = directory.join(&name);
    match source.metadata() {
        Ok(metadata) => Some(WalFile {
            tree_path: format!("pg_wal/{name}"),
            source,
            size: metadata.len(),
        }),
        Err(error) => {
            tracing::warn!(%timeline, %error, "the timeline's history file cannot be had");
            None
        }
    }
}

fn check_segment(
    path: &Path,
    segment: SegmentName,
    size: SegmentSize,
    system_identifier: u64,
) -> Result<(), Error> {
    let missing = |reason: String| Error::WalMissing {
        reason: format!("{}: {reason}", path.display()),
    };
    let mut file = File::open(path).map_err(|error| missing(error.to_string()))?;
    let length = file
        .metadata()
        .map_err(|error| missing(error.to_string()))?
        .len();
    if length != size.bytes() {
        return Err(missing(format!(
            "{length} bytes where {} are due",
            size.bytes()
        )));
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)
        .map_err(|error| missing(error.to_string()))?;
    check_header(&header, segment, size, system_identifier).map_err(missing)
}

fn check_header(
    header: &[u8; HEADER_BYTES],
    segment: SegmentName,
    size: SegmentSize,
    system_identifier: u64,
) -> Result<(), String> {
    let u32_at = |at: usize| {
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let u64_at = |at: usize| header[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
    let info = u16::from_ne_bytes([header[2], header[3]]);
    if info & LONG_HEADER == 0 {
        return Err("it does not begin as a segment does".to_owned());
    }
    if u64_at(24) != system_identifier {
        return Err("it is another cluster's".to_owned());
    }
    if u64_at(8) != segment.start().offset() {
        return Err(format!(
            "it holds {} and not {}",
            Lsn::new(u64_at(8)),
            segment.start()
        ));
    }
    if u64::from(u32_at(32)) != size.bytes() {
        return Err("its segment size is another".to_owned());
    }
    // The first segment of a timeline begins with a copy from the one before.
    let timeline = Timeline::new(u32_at(4));
    match timeline <= segment.timeline() && timeline >= Timeline::FIRST {
        true => Ok(()),
        false => Err(format!("it is of timeline {timeline}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> SegmentName {
        SegmentName::at(Timeline::new(2), Lsn::new(0x300_0000), SegmentSize::DEFAULT)
    }

    fn header() -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
        put(2, &LONG_HEADER.to_ne_bytes());
        put(4, &2_u32.to_ne_bytes());
        put(8, &0x300_0000_u64.to_ne_bytes());
        put(24, &42_u64.to_ne_bytes());
        put(32, &(16_u32 << 20).to_ne_bytes());
        header
    }

    #[test]
    fn a_segment_is_taken_only_for_what_its_header_says() {
        let check =
            |header: &[u8; HEADER_BYTES]| check_header(header, segment(), SegmentSize::DEFAULT, 42);
        assert_eq!(check(&header()), Ok(()));
        // Information, timeline, place, cluster, size.
        for at in [2, 5, 11, 24, 35] {
            let mut other = header();
            other[at] ^= 2;
            assert!(check(&other).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_short_segment_is_missing_wal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(segment().to_string());
        File::create(&path).unwrap().set_len(1 << 20).unwrap();
        let error = check_segment(&path, segment(), SegmentSize::DEFAULT, 42).unwrap_err();
        assert!(matches!(error, Error::WalMissing { .. }));
    }
}
