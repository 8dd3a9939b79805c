//! The end of a backup.

use rekindle_vault::{Backup, Node, NodeKind, Snapshot, SnapshotDraft, TreePath};

use crate::{
    RecoveryError,
    manifest::{self, Manifest},
};

/// The manifest goes in last, then the snapshot is written.
pub(crate) fn commit(
    backup: Backup,
    manifest: &Manifest,
    tags: Vec<String>,
) -> Result<Snapshot, RecoveryError> {
    let json = serde_json::to_vec_pretty(manifest).map_err(rekindle_vault::VaultError::from)?;
    let path = TreePath::new(manifest::PATH).map_err(rekindle_vault::BackupError::from)?;
    let node = Node {
        mode: Node::go_mode(NodeKind::File, 0o600),
        mtime: manifest.captured,
        ..Node::default()
    };
    backup.add_bytes(&path, node, &json)?;
    let paths = manifest
        .datasets
        .iter()
        .map(|entry| format!("/{}", entry.path))
        .collect();
    Ok(backup.finish(SnapshotDraft { paths, tags })?)
}
