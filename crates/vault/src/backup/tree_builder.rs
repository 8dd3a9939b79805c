//! The tree of a snapshot while it grows, and its blobs when it is whole.

use std::collections::BTreeMap;

use super::{
    failure::BackupError,
    packer::{Packer, Tools},
};
use crate::{
    blob::BlobKind,
    id::Id,
    path::TreePath,
    tree::{Node, NodeKind, Tree},
};

/// A directory and what is in it, sorted by name as restic's tools require.
#[derive(Default)]
pub(super) struct TreeBuilder {
    node: Option<Node>,
    pub directories: BTreeMap<Vec<u8>, TreeBuilder>,
    /// Everything that is no directory.
    pub others: BTreeMap<Vec<u8>, Node>,
}

/// What a whole tree holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub files: u64,
    pub bytes: u64,
    pub directories: u64,
}

impl TreeBuilder {
    /// Puts an entry at its path; its name is taken from there. Directories above it need not be
    /// known yet.
    pub fn insert(&mut self, path: &TreePath, mut node: Node) -> Result<(), BackupError> {
        let duplicate = || BackupError::Duplicate(path.clone());
        let Some((parent, name)) = path.split() else {
            self.node = Some(node);
            return Ok(());
        };
        node.name = name.to_vec();
        let folder = self.directory(&parent);
        let taken = folder.others.contains_key(name)
            || folder
                .directories
                .get(name)
                .is_some_and(|there| node.kind != NodeKind::Dir || there.node.is_some());
        if taken {
            return Err(duplicate());
        }
        if node.kind == NodeKind::Dir {
            folder.directories.entry(name.to_vec()).or_default().node = Some(node);
        } else {
            folder.others.insert(name.to_vec(), node);
        }
        Ok(())
    }

    /// Gives entries at and below `path` that belong to nobody (user and group 0) an owner.
    pub fn own_unowned(&mut self, path: &TreePath, owner: &Node) {
        self.directory(path).own_all(owner);
    }

    fn own_all(&mut self, owner: &Node) {
        for node in self.node.iter_mut().chain(self.others.values_mut()) {
            if node.uid == 0 && node.gid == 0 {
                (node.uid, node.gid) = (owner.uid, owner.gid);
                node.user.clone_from(&owner.user);
                node.group.clone_from(&owner.group);
            }
        }
        for directory in self.directories.values_mut() {
            directory.own_all(owner);
        }
    }

    /// The directory at this path, if there is one.
    pub fn find(&self, path: &TreePath) -> Option<&Self> {
        path.names()
            .try_fold(self, |at, name| at.directories.get(name))
    }

    fn directory(&mut self, path: &TreePath) -> &mut Self {
        path.names().fold(self, |at, name| {
            at.directories.entry(name.to_vec()).or_default()
        })
    }

    /// Stores the tree, leaves first; returns its root.
    pub fn save(self, packer: &Packer, tools: &mut Tools) -> Result<(Id, Totals), BackupError> {
        let mut totals = Totals::default();
        let root = self.save_into(packer, tools, &mut totals)?;
        Ok((root, totals))
    }

    fn save_into(
        self,
        packer: &Packer,
        tools: &mut Tools,
        totals: &mut Totals,
    ) -> Result<Id, BackupError> {
        let mut nodes = self.others;
        for node in nodes.values() {
            totals.files += 1;
            totals.bytes += node.size;
        }
        for (name, directory) in self.directories {
            totals.directories += 1;
            let mut node = directory.node.clone().unwrap_or_else(made_up_directory);
            node.name.clone_from(&name);
            node.subtree = Some(directory.save_into(packer, tools, totals)?);
            if nodes.insert(name.clone(), node).is_some() {
                let path = String::from_utf8_lossy(&name).into_owned();
                return Err(BackupError::Duplicate(TreePath::new(path)?));
            }
        }
        let tree = Tree {
            nodes: nodes.into_values().collect(),
        };
        let bytes = tree.to_bytes().map_err(crate::error::VaultError::from)?;
        let id = Id::of(&bytes);
        if packer.claim(BlobKind::Tree, &id) {
            packer.store(BlobKind::Tree, id, &bytes, tools)?;
        }
        Ok(id)
    }
}

/// A directory that nobody described: it only holds others, and whoever owns one of those must be
/// able to reach it.
fn made_up_directory() -> Node {
    Node {
        kind: NodeKind::Dir,
        mode: Node::go_mode(NodeKind::Dir, 0o755),
        ..Node::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: NodeKind) -> Node {
        Node {
            kind,
            ..Node::default()
        }
    }

    #[test]
    fn a_path_is_taken_once() {
        let mut tree = TreeBuilder::default();
        let path = |text| TreePath::new(text).unwrap();
        tree.insert(&path("a/b"), node(NodeKind::File)).unwrap();
        tree.insert(&path("a"), node(NodeKind::Dir)).unwrap();
        assert!(tree.insert(&path("a/b"), node(NodeKind::File)).is_err());
        assert!(tree.insert(&path("a"), node(NodeKind::Dir)).is_err());
        assert!(tree.insert(&path("a"), node(NodeKind::File)).is_err());
    }
}
