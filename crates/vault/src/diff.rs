//! What differs between two snapshots.

use std::collections::BTreeMap;

use crate::{
    error::VaultError,
    id::Id,
    index::Index,
    path::TreePath,
    snapshot::Snapshot,
    tree::{Node, NodeKind},
    vault::Vault,
};

/// How an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Both have it, with other content, or as something else.
    Content,
    /// Both have it with the same content, but another owner, mode or time of change.
    Metadata,
}

/// An entry that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: TreePath,
    /// How.
    pub change: Change,
    /// Length in the first, in bytes; 0 where it is not.
    pub old_bytes: u64,
    /// Length in the second, in bytes; 0 where it is not.
    pub new_bytes: u64,
}

impl Vault {
    /// Compares two snapshots, entry by entry, without reading any file's content. Directories
    /// that only one has are told with everything in them.
    ///
    /// # Errors
    /// As a tree could not be read.
    pub fn diff(
        &self,
        index: &Index,
        old: &Snapshot,
        new: &Snapshot,
    ) -> Result<Vec<Difference>, VaultError> {
        let mut walk = Walk {
            vault: self,
            index,
            found: Vec::new(),
        };
        let trees = (Some(old.stored.tree), Some(new.stored.tree));
        walk.compare_trees(trees.0, trees.1, &TreePath::root())?;
        Ok(walk.found)
    }
}

struct Walk<'a> {
    vault: &'a Vault,
    index: &'a Index,
    found: Vec<Difference>,
}

impl Walk<'_> {
    fn compare_trees(
        &mut self,
        old: Option<Id>,
        new: Option<Id>,
        at: &TreePath,
    ) -> Result<(), VaultError> {
        if old == new {
            return Ok(());
        }
        let mut pairs: BTreeMap<Vec<u8>, (Option<Node>, Option<Node>)> = BTreeMap::new();
        for node in self.nodes(old)? {
            let name = node.name.clone();
            pairs.entry(name).or_default().0 = Some(node);
        }
        for node in self.nodes(new)? {
            let name = node.name.clone();
            pairs.entry(name).or_default().1 = Some(node);
        }
        for (name, (old, new)) in pairs {
            let below = TreePath::new(&name).unwrap_or_default();
            self.compare_nodes(old.as_ref(), new.as_ref(), at.append(&below))?;
        }
        Ok(())
    }

    fn nodes(&self, tree: Option<Id>) -> Result<Vec<Node>, VaultError> {
        let read = |id| Ok(self.vault.read_tree(self.index, &id)?.nodes);
        tree.map_or(Ok(Vec::new()), read)
    }

    fn compare_nodes(
        &mut self,
        old: Option<&Node>,
        new: Option<&Node>,
        path: TreePath,
    ) -> Result<(), VaultError> {
        let change = match (old, new) {
            (None, _) => Some(Change::Added),
            (_, None) => Some(Change::Removed),
            (Some(old), Some(new)) => change_of(old, new),
        };
        if let Some(change) = change {
            let size = |node: Option<&Node>| node.map_or(0, |node| node.size);
            let (old_bytes, new_bytes) = (size(old), size(new));
            self.found.push(Difference {
                path: path.clone(),
                change,
                old_bytes,
                new_bytes,
            });
        }
        let subtree = |node: Option<&Node>| node.and_then(|node| node.subtree);
        self.compare_trees(subtree(old), subtree(new), &path)
    }
}

/// Directories differ only by what is in them, which is told by itself.
fn change_of(old: &Node, new: &Node) -> Option<Change> {
    let content = |node: &Node| {
        (
            node.kind,
            node.content.clone().unwrap_or_default(),
            node.link_target().to_vec(),
            node.device,
        )
    };
    if content(old) != content(new) {
        return Some(Change::Content);
    }
    let metadata = |node: &Node| {
        (
            node.mode,
            node.uid,
            node.gid,
            node.extended_attributes.clone(),
        )
    };
    let is_same =
        metadata(old) == metadata(new) && (old.kind == NodeKind::Dir || old.mtime == new.mtime);
    (!is_same).then_some(Change::Metadata)
}
