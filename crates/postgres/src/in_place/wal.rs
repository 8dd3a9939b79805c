//! WAL segments in the server's own directory.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::layout::{Lsn, SegmentName, SegmentSize, Timeline};
use crate::wal::{SEGMENT_HEADER_BYTES, check_segment_header};

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
    let mut header = [0; SEGMENT_HEADER_BYTES];
    file.read_exact(&mut header)
        .map_err(|error| missing(error.to_string()))?;
    check_segment_header(&header, segment, size, system_identifier)
        .map_err(|error| missing(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> SegmentName {
        SegmentName::at(Timeline::new(2), Lsn::new(0x300_0000), SegmentSize::DEFAULT)
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
