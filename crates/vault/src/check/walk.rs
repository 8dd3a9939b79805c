//! Trees: which paths of which snapshots are hit.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{BadPlaces, CheckReport, Hit};
use crate::{
    blob::BlobKind,
    error::VaultError,
    id::Id,
    index::Index,
    path::TreePath,
    siblings::Siblings,
    tree::{NodeKind, Tree},
    vault::Vault,
};

impl Vault {
    /// Every snapshot's tree against the index and what is known to be bad.
    pub(crate) fn check_snapshots(
        &self,
        index: &Index,
        bad: &BadPlaces,
        report: &mut CheckReport,
    ) -> Result<(), VaultError> {
        let (snapshots, failed) = self.readable_snapshots()?;
        report.losses(failed)?;
        report.snapshots = snapshots.len();
        let mut walk = Walk::new(self, index, bad);
        let mut roots = Siblings::of(snapshots.iter().map(|snapshot| snapshot.stored.tree));
        for snapshot in &snapshots {
            let hits = walk.hits_below(&mut roots, &snapshot.stored.tree)?;
            if hits.is_empty() {
                report.whole_snapshots.push(snapshot.id);
            }
            report.hits.extend(hits.iter().map(|path| Hit {
                snapshot: snapshot.id,
                path: path.clone(),
            }));
        }
        Ok(())
    }
}

/// Walks trees; one that many snapshots share is read once.
pub(crate) struct Walk<'a> {
    vault: &'a Vault,
    index: &'a Index,
    bad: &'a BadPlaces,
    /// Paths below a tree that are hit; most trees have none, and share the empty set.
    trees: HashMap<Id, Arc<BTreeSet<TreePath>>>,
    none: Arc<BTreeSet<TreePath>>,
}

impl<'a> Walk<'a> {
    pub fn new(vault: &'a Vault, index: &'a Index, bad: &'a BadPlaces) -> Self {
        Self {
            vault,
            index,
            bad,
            trees: HashMap::new(),
            none: Arc::default(),
        }
    }

    /// The hit paths below a tree, relative to it; its own path for a tree that cannot be read.
    /// It is read with others of `listings`.
    pub fn hits_below(
        &mut self,
        listings: &mut Siblings,
        id: &Id,
    ) -> Result<Arc<BTreeSet<TreePath>>, VaultError> {
        if let Some(known) = self.trees.get(id) {
            return Ok(Arc::clone(known));
        }
        let mut hits = BTreeSet::new();
        if self.bad.is_fine(self.index, BlobKind::Tree, id) {
            match listings.take(self.vault, self.index, id) {
                Ok(tree) => self.hits_in(&tree, &mut hits)?,
                Err(error) if error.is_damage_or_missing() => {
                    hits.insert(TreePath::root());
                }
                Err(error) => return Err(error),
            }
        } else {
            hits.insert(TreePath::root());
        }
        let hits = if hits.is_empty() {
            Arc::clone(&self.none)
        } else {
            Arc::new(hits)
        };
        self.trees.insert(*id, Arc::clone(&hits));
        Ok(hits)
    }

    fn hits_in(&mut self, tree: &Tree, hits: &mut BTreeSet<TreePath>) -> Result<(), VaultError> {
        let (trees, index, bad) = (&self.trees, self.index, self.bad);
        let mut below = Siblings::below(tree, |id| {
            !trees.contains_key(id) && bad.is_fine(index, BlobKind::Tree, id)
        });
        for node in &tree.nodes {
            let Ok(path) = TreePath::new(&node.name) else {
                // A name that leads elsewhere can be restored nowhere.
                hits.insert(TreePath::root());
                continue;
            };
            match (node.kind, &node.subtree) {
                (NodeKind::Dir, Some(subtree)) => {
                    for below in self.hits_below(&mut below, subtree)?.iter() {
                        hits.insert(path.append(below));
                    }
                }
                _ => {
                    let mut content = node.content.iter().flatten();
                    if !content.all(|id| self.bad.is_fine(self.index, BlobKind::Data, id)) {
                        hits.insert(path);
                    }
                }
            }
        }
        Ok(())
    }
}
