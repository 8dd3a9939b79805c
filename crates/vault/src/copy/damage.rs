//! What in a snapshot could not be copied.

use std::{collections::HashMap, ffi::OsStr, os::unix::ffi::OsStrExt, sync::Arc};

use super::BadBlobs;
use crate::{
    blob::BlobKind, error::VaultError, id::Id, index::Index, path::TreePath, snapshot::Snapshot,
    tree::Tree, vault::Vault,
};

/// A file or directory of a snapshot that could not be copied, because it is damaged in the vault
/// that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyDamage {
    /// The snapshot, by its id in the vault that was read.
    pub snapshot: Id,
    /// The place in it.
    pub path: TreePath,
    /// Why.
    pub reason: String,
}

/// What of a snapshot the other vault still lacks, now that everything was tried.
pub(super) fn of_snapshot(
    source: &Vault,
    index: &Index,
    known: &Index,
    bad: &BadBlobs,
    snapshot: &Snapshot,
) -> Result<Vec<CopyDamage>, VaultError> {
    let mut search = Search {
        source,
        index,
        known,
        bad,
        trees: HashMap::new(),
    };
    let hits = search.below(&snapshot.stored.tree)?;
    let told = hits.iter().map(|(path, reason)| CopyDamage {
        snapshot: snapshot.id,
        path: path.clone(),
        reason: reason.clone(),
    });
    Ok(told.collect())
}

/// Paths below a tree, relative to it, and reasons.
type Hits = Arc<Vec<(TreePath, String)>>;

struct Search<'a> {
    source: &'a Vault,
    index: &'a Index,
    known: &'a Index,
    bad: &'a BadBlobs,
    /// A tree that lies in several places is read once.
    trees: HashMap<Id, Hits>,
}

impl Search<'_> {
    fn below(&mut self, id: &Id) -> Result<Hits, VaultError> {
        if let Some(found) = self.trees.get(id) {
            return Ok(Arc::clone(found));
        }
        let mut hits = Vec::new();
        match self.source.read_tree(self.index, id) {
            Ok(tree) => {
                if let Some(reason) = self.lacks(BlobKind::Tree, id) {
                    hits.push((TreePath::root(), reason));
                }
                self.in_tree(&tree, &mut hits)?;
            }
            Err(error) if error.is_damage_or_missing() => {
                hits.push((TreePath::root(), error.in_full()));
            }
            Err(error) => return Err(error),
        }
        let hits = Arc::new(hits);
        self.trees.insert(*id, Arc::clone(&hits));
        Ok(hits)
    }

    fn in_tree(
        &mut self,
        tree: &Tree,
        hits: &mut Vec<(TreePath, String)>,
    ) -> Result<(), VaultError> {
        for node in &tree.nodes {
            let path = TreePath::root()
                .join(OsStr::from_bytes(&node.name))
                .unwrap_or_default();
            if let Some(subtree) = &node.subtree {
                for (below, reason) in self.below(subtree)?.iter() {
                    hits.push((path.append(below), reason.clone()));
                }
            }
            let mut content = node.content.iter().flatten();
            if let Some(reason) = content.find_map(|id| self.lacks(BlobKind::Data, id)) {
                hits.push((path, reason));
            }
        }
        Ok(())
    }

    /// Why the other vault does not have a blob; `None` if it has it.
    fn lacks(&self, kind: BlobKind, id: &Id) -> Option<String> {
        if self.known.contains(kind, id) {
            return None;
        }
        let reason = self.bad.get(&(kind, *id)).cloned();
        Some(reason.unwrap_or_else(|| VaultError::MissingBlob { id: *id }.to_string()))
    }
}
