//! A base backup over a replication connection.

use bytes::Bytes;
use rekindle_postgres::{
    EntryMeta, PgdataSink,
    layout::relation_file,
    wire::{self, BackupRequest},
};
use rekindle_vault::{AddedBytes, Backup, BackupError, Chunking, FileWriter, NodeKind, TreePath};

use super::{Base, PhysicalMethod, PostgresCluster, in_place::node};
use crate::CaptureError;

/// Receives the cluster and the WAL that makes it consistent.
pub(super) fn capture(
    cluster: &PostgresCluster,
    backup: &Backup,
    at: &TreePath,
    label: &str,
    page_chunk_bytes: u32,
) -> Result<Base, CaptureError> {
    let request = BackupRequest {
        // It costs the server a walk over all files; the sizes of tablespaces do as well.
        estimate_size: false,
        ..BackupRequest::new(label)
    };
    let mut base = VaultSink::new(backup, at, page_chunk_bytes);
    let mut wal = VaultSink::new(backup, at, page_chunk_bytes);
    let taken = wire::take(cluster.options(), &request, &mut base, &mut wal);
    let result = taken.map_err(|error| match error {
        wire::BackupError::Postgres(error) => cluster.failed(error),
        wire::BackupError::Sink(error) => error.into(),
    })?;
    Ok(Base {
        result,
        method: PhysicalMethod::Wire,
        page_chunk_bytes,
        bytes: base.bytes,
        // It comes beside the data, and ends in zeros.
        beside: AddedBytes::default(),
        owner: base.owner,
    })
}

/// Puts a data directory into a backup as it arrives.
struct VaultSink<'a> {
    backup: &'a Backup,
    at: &'a TreePath,
    page_chunk_bytes: u32,
    file: Option<FileWriter>,
    bytes: u64,
    owner: Option<(u32, u32)>,
}

impl<'a> VaultSink<'a> {
    fn new(backup: &'a Backup, at: &'a TreePath, page_chunk_bytes: u32) -> Self {
        Self {
            backup,
            at,
            page_chunk_bytes,
            file: None,
            bytes: 0,
            owner: None,
        }
    }

    fn path(&self, path: &str) -> Result<TreePath, BackupError> {
        Ok(self.at.append(&TreePath::new(path)?))
    }
}

impl PgdataSink for VaultSink<'_> {
    type Error = BackupError;

    fn directory(&mut self, path: &str, meta: &EntryMeta) -> Result<(), BackupError> {
        self.backup
            .add_node(&self.path(path)?, node(NodeKind::Dir, meta))
    }

    fn symlink(&mut self, path: &str, target: &str, meta: &EntryMeta) -> Result<(), BackupError> {
        let mut node = node(NodeKind::Symlink, meta);
        node.set_link_target(target.as_bytes());
        self.backup.add_node(&self.path(path)?, node)
    }

    fn begin_file(&mut self, path: &str, size: u64, meta: &EntryMeta) -> Result<(), BackupError> {
        // PostgreSQL never runs as root, so 0 means that nobody said.
        if meta.uid != 0 {
            self.owner = Some((meta.uid, meta.gid));
        }
        let chunking = match relation_file(path) {
            Some(_) => Chunking::Fixed {
                bytes: self.page_chunk_bytes,
            },
            None => Chunking::ContentDefined,
        };
        let node = node(NodeKind::File, meta);
        self.file = Some(
            self.backup
                .file_writer_sized(self.path(path)?, node, chunking, size),
        );
        self.bytes += size;
        Ok(())
    }

    fn data(&mut self, bytes: Bytes) -> Result<(), BackupError> {
        self.file.as_mut().map_or(Ok(()), |file| file.write(&bytes))
    }

    fn end_file(&mut self) -> Result<(), BackupError> {
        self.file.take().map_or(Ok(()), FileWriter::finish)
    }
}
