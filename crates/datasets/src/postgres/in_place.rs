//! A base backup of a data directory within reach.

use std::{
    collections::HashMap,
    fs, io,
    sync::{Arc, Mutex},
};

use rekindle_postgres::{
    EntryMeta,
    in_place::{FileKind, PageVerdict, PageVerifier, Plan, PlannedFile, Session},
    wire::ChecksumFailure,
};
use rekindle_vault::{
    Backup, BackupError, Chunking, Inspect, Inspected, LocalFile, Node, NodeKind, Progress,
    TreePath, WhenMissing,
};

use super::{Base, PhysicalMethod, PostgresCluster, join, private_file};
use crate::{CaptureError, chunking::page_chunk_bytes, entry_time};

/// Damaged pages named one by one; a disk that loses more is told in words.
const MOST_FAILURES: usize = 1000;

type Failures = Arc<Mutex<Vec<ChecksumFailure>>>;

/// Copies everything, `pg_control` after all other files and the WAL after the end of backup mode.
/// Returns when all of it has been read, so that the WAL may go.
pub(super) fn capture(
    cluster: &PostgresCluster,
    mut session: Session,
    backup: &Backup,
    at: &TreePath,
    progress: &Progress,
    previous_chunk: Option<u32>,
    warnings: &mut Vec<String>,
) -> Result<Base, CaptureError> {
    let failed = |error| cluster.failed(error);
    if !session.is_wal_held() {
        warnings.push(
            "the role may not make a replication slot: had the server recycled WAL during the \
             backup, it would have failed"
                .to_owned(),
        );
    }
    let plan = session.plan().map_err(failed)?;
    progress.expect_bytes(plan.total_bytes());
    let chunk = page_chunk_bytes(plan.total_bytes(), previous_chunk);
    let failures = Failures::default();
    let copy = Copy {
        at,
        chunk,
        verifier: session.page_verifier(),
        failures: &failures,
    };
    copy.add_all(backup, &plan)?;
    backup.wait_for_files()?;
    check_left_out(backup, at, &plan)?;
    let data = backup.added();
    let control = session.control_file().map_err(failed)?;
    backup.add_bytes(
        &join(at, super::NAMED_LAST)?,
        private_file(),
        &control.bytes,
    )?;
    let mut result = session.stop(plan.tablespaces.clone()).map_err(failed)?;
    backup.add_bytes(
        &join(at, "backup_label")?,
        private_file(),
        result.backup_label.as_bytes(),
    )?;
    if let Some(map) = &result.tablespace_map {
        backup.add_bytes(&join(at, "tablespace_map")?, private_file(), map.as_bytes())?;
    }
    for wal in session.wal_files(&result).map_err(failed)? {
        let path = join(at, &wal.tree_path)?;
        backup.add_local_file(path, local_file(&wal.source, wal.size)?)?;
    }
    // The session holds back the WAL, so it must not end before the WAL is read.
    backup.wait_for_files()?;
    drop(session);
    let beside = backup.added().since(data);
    warnings.extend(plan.skipped.iter().map(|path| {
        format!(
            "`{}` in the data directory is not part of a base backup",
            path.display()
        )
    }));
    let mut found = failures
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    result.checksum_failures = std::mem::take(&mut *found);
    Ok(Base {
        result,
        method: PhysicalMethod::InPlace,
        page_chunk_bytes: chunk,
        bytes: plan.total_bytes(),
        beside,
        owner: plan
            .files
            .first()
            .map(|file| (file.meta.uid, file.meta.gid)),
    })
}

struct Copy<'a> {
    at: &'a TreePath,
    chunk: u32,
    verifier: Option<PageVerifier>,
    failures: &'a Failures,
}

impl Copy<'_> {
    fn add_all(&self, backup: &Backup, plan: &Plan) -> Result<(), CaptureError> {
        for directory in &plan.directories {
            let path = join(self.at, &directory.tree_path)?;
            backup.add_node(&path, node(NodeKind::Dir, &directory.meta))?;
        }
        for link in &plan.symlinks {
            let mut node = node(NodeKind::Symlink, &link.meta);
            node.set_link_target(link.target.as_bytes());
            backup.add_node(&join(self.at, &link.tree_path)?, node)?;
        }
        for file in &plan.files {
            if file.kind != FileKind::Control {
                self.add_file(backup, file)?;
            }
        }
        Ok(())
    }

    fn add_file(&self, backup: &Backup, file: &PlannedFile) -> Result<(), CaptureError> {
        let path = join(self.at, &file.tree_path)?;
        let metadata = match fs::symlink_metadata(&file.source) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.may_vanish() => {
                return Ok(());
            }
            Err(source) => {
                let source_path = file.source.display().to_string();
                return Err(BackupError::Read {
                    path,
                    source_path,
                    source,
                }
                .into());
            }
            Ok(metadata) => metadata,
        };
        let (chunking, inspect) = match file.kind {
            FileKind::Relation { first_block } => (
                Chunking::Fixed { bytes: self.chunk },
                self.inspector(file, first_block),
            ),
            _ => (Chunking::ContentDefined, None),
        };
        let local = LocalFile {
            source: file.source.clone(),
            node: Node::of_metadata(&metadata),
            most_bytes: file.size,
            chunking,
            // What was left out is looked at again when everything is read.
            when_missing: WhenMissing::LeaveOut,
            inspect,
        };
        backup.add_local_file(path, local)?;
        Ok(())
    }

    /// Verifies the checksums of the pages as they pass.
    fn inspector(&self, file: &PlannedFile, first_block: u32) -> Option<Arc<Inspect>> {
        let verifier = self.verifier?;
        let failures = Arc::clone(self.failures);
        let name = file.tree_path.clone();
        Some(Arc::new(move |piece: &Inspected<'_>| {
            let page = verifier.block_size();
            let first = first_block + (piece.offset / page as u64) as u32;
            for block in verifier.suspicious(first, piece.bytes) {
                let start = (block - first) as usize * page;
                let bytes = &piece.bytes[start..start + page];
                let offset = piece.offset + start as u64;
                if let Some(failure) = look_again(&verifier, piece, offset, block, bytes, &name) {
                    let mut failures = failures
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    if failures.len() < MOST_FAILURES {
                        failures.push(failure);
                    }
                }
            }
        }))
    }
}

/// A page that is still bad when it is read again, as a failure.
fn look_again(
    verifier: &PageVerifier,
    piece: &Inspected<'_>,
    offset: u64,
    block: u32,
    bytes: &[u8],
    name: &str,
) -> Option<ChecksumFailure> {
    let message = match verifier.verify_again(piece.file, offset, block, bytes) {
        Ok(None) => return None,
        Ok(Some(PageVerdict::Mismatch { stored, computed })) => {
            format!("block {block} of {name}: the checksum is {stored}, and {computed} is expected")
        }
        Ok(Some(_)) => format!("block {block} of {name} is damaged"),
        Err(error) => {
            format!("block {block} of {name} is damaged, and reading it again failed: {error}")
        }
    };
    Some(ChecksumFailure {
        file: Some(name.to_owned()),
        block: Some(block),
        message,
    })
}

/// A file may be gone if WAL replay makes it anew or removes it again; any other must be there.
fn check_left_out(backup: &Backup, at: &TreePath, plan: &Plan) -> Result<(), CaptureError> {
    let left_out = backup.left_out();
    if left_out.is_empty() {
        return Ok(());
    }
    let planned: HashMap<TreePath, &PlannedFile> = plan
        .files
        .iter()
        .map(|file| Ok((join(at, &file.tree_path)?, file)))
        .collect::<Result<_, CaptureError>>()?;
    for path in left_out {
        if planned.get(&path).is_some_and(|file| !file.may_vanish()) {
            return Err(CaptureError::Vanished {
                path: path.to_string(),
            });
        }
    }
    Ok(())
}

fn local_file(source: &std::path::Path, size: u64) -> Result<LocalFile, CaptureError> {
    let metadata = fs::symlink_metadata(source).map_err(|error| BackupError::Read {
        path: TreePath::root(),
        source_path: source.display().to_string(),
        source: error,
    })?;
    Ok(LocalFile {
        source: source.to_owned(),
        node: Node::of_metadata(&metadata),
        most_bytes: size,
        chunking: Chunking::ContentDefined,
        when_missing: WhenMissing::Fail,
        inspect: None,
    })
}

/// An entry as the server describes it.
pub(super) fn node(kind: NodeKind, meta: &EntryMeta) -> Node {
    Node {
        kind,
        mode: Node::go_mode(kind, meta.mode),
        mtime: entry_time(meta.mtime),
        atime: entry_time(meta.mtime),
        uid: meta.uid,
        gid: meta.gid,
        ..Node::default()
    }
}
