//! Reading a file of `pg_wal`, and making sure that it is what its name says.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use rekindle_postgres::{
    layout::{SegmentName, SegmentSize, TimelineHistory, WalFileKind},
    wal::check_segment_header,
};
use rekindle_vault::WalFile;

use super::{PushError, identity::FileIdentity};
use crate::wal::{names::WalName, place::Cluster};

/// Larger than any history or backup label that a server writes.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// The part of a segment's header that says of which cluster it is. Source: PostgreSQL's
/// `access/xlog_internal.h`, `XLogLongPageHeaderData`.
const HEADER_BYTES: usize = 40;

/// A file that may go into the archive; its content is in the reader's buffer.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) file: WalFile,
    pub(crate) identity: FileIdentity,
}

/// Reads the file `name` in `pg_wal` into `content` and holds it against its name and cluster.
///
/// Without a control file the segment's own header has to say of which cluster it is.
pub(crate) fn examine(
    pg_wal: &Path,
    name: &WalName,
    cluster: Option<Cluster>,
    content: &mut Vec<u8>,
) -> Result<Examined, PushError> {
    let path = pg_wal.join(&name.text);
    let identity = read(&path, content).map_err(PushError::io("read", &path))?;
    let unsound = |reason: String| PushError::Unsound {
        path: path.display().to_string(),
        reason,
    };
    let cluster = match (cluster, name.kind) {
        (Some(cluster), _) => cluster,
        (None, WalFileKind::Segment | WalFileKind::Partial) => {
            of_header(content).ok_or_else(|| unsound("it has no segment's header".to_owned()))?
        }
        (None, _) => {
            return Err(PushError::WhichCluster {
                path: path.display().to_string(),
            });
        }
    };
    look(name, content, cluster).map_err(unsound)?;
    Ok(Examined {
        file: name.of_system(cluster.system),
        identity,
    })
}

fn read(path: &Path, content: &mut Vec<u8>) -> io::Result<FileIdentity> {
    let file = File::open(path)?;
    let before = file.metadata()?;
    let length = before.len().min(1 << 30);
    content.clear();
    content.reserve_exact(usize::try_from(length).unwrap_or(0) + 1);
    (&file).take(length + 1).read_to_end(content)?;
    let (before, after) = (
        FileIdentity::of(&before),
        FileIdentity::of(&file.metadata()?),
    );
    if before != after {
        return Err(io::Error::other("it changed while it was read"));
    }
    Ok(after)
}

fn of_header(content: &[u8]) -> Option<Cluster> {
    let header = content.get(..HEADER_BYTES)?;
    let system = u64::from_ne_bytes(header[24..32].try_into().ok()?);
    let bytes = u32::from_ne_bytes(header[32..36].try_into().ok()?);
    let segment_size = SegmentSize::new(bytes.into()).ok()?;
    Some(Cluster {
        system,
        segment_size,
    })
}

fn look(name: &WalName, content: &[u8], cluster: Cluster) -> Result<(), String> {
    let text = || match content.len() as u64 {
        0 => Err("it is empty".to_owned()),
        1..=MAX_TEXT_BYTES => std::str::from_utf8(content).map_err(|error| error.to_string()),
        bytes => Err(format!("it has {bytes} bytes")),
    };
    match name.kind {
        WalFileKind::Segment | WalFileKind::Partial => check_segment(name, content, cluster),
        WalFileKind::History => TimelineHistory::parse(name.timeline, text()?)
            .map(drop)
            .map_err(|error| error.to_string()),
        WalFileKind::BackupHistory => text().map(drop),
    }
}

/// Whether `content` is the whole segment `name` of the cluster.
pub(crate) fn check_segment(
    name: &WalName,
    content: &[u8],
    cluster: Cluster,
) -> Result<(), String> {
    let Cluster {
        system,
        segment_size,
    } = cluster;
    if content.len() as u64 != segment_size.bytes() {
        let due = segment_size.bytes();
        return Err(format!(
            "it has {} bytes where {due} are due",
            content.len()
        ));
    }
    let segment = SegmentName::parse(name.segment().unwrap_or_default(), segment_size)
        .map_err(|error| error.to_string())?;
    check_segment_header(content, segment, segment_size, system).map_err(|error| error.to_string())
}
