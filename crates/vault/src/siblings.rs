//! Directories that lie in one directory, read some at a time where the store is far away: there each
//! costs a round trip.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::{
    error::VaultError,
    id::Id,
    index::Index,
    tree::{NodeKind, Tree},
    vault::Vault,
};

/// The listings below one listing, each given once to whoever walks them in order.
#[derive(Default)]
pub(crate) struct Siblings {
    /// In the order of the directory, each once.
    waiting: VecDeque<Id>,
    read: HashMap<Id, Result<Tree, VaultError>>,
}

impl Siblings {
    /// Those of `tree` that are wanted. Nothing is read yet.
    pub fn below(tree: &Tree, is_wanted: impl Fn(&Id) -> bool) -> Self {
        let nodes = tree.nodes.iter().filter(|node| node.kind == NodeKind::Dir);
        let subtrees = nodes.filter_map(|node| node.subtree);
        Self::of(subtrees.filter(is_wanted))
    }

    /// Listings that are wanted in this order, as the roots of recovery points are.
    pub fn of(ids: impl Iterator<Item = Id>) -> Self {
        let mut seen = HashSet::new();
        Self {
            waiting: ids.filter(|id| seen.insert(*id)).collect(),
            read: HashMap::new(),
        }
    }

    /// One of them, and with it the next ones are read. Whoever passes one over does not want it.
    ///
    /// # Errors
    /// As [`Vault::read_tree`].
    pub fn take(&mut self, vault: &Vault, index: &Index, id: &Id) -> Result<Tree, VaultError> {
        if let Some(read) = self.read.remove(id) {
            return read;
        }
        let Some(at) = self.waiting.iter().position(|waiting| waiting == id) else {
            return vault.read_tree(index, id);
        };
        let end = (at + vault.distance().listings_ahead()).min(self.waiting.len());
        let some: Vec<Id> = self.waiting.drain(..end).skip(at).collect();
        let trees = vault.read_trees(index, &some);
        self.read = some.into_iter().zip(trees).collect();
        self.read
            .remove(id)
            .unwrap_or_else(|| vault.read_tree(index, id))
    }
}
