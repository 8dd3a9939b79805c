//! The snapshot that unchanged files are taken over from.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    blob::BlobKind,
    id::Id,
    index::Index,
    path::TreePath,
    snapshot::{Snapshot, Summary},
    tree::{Node, Tree},
    vault::Vault,
};

/// A file changed as late as this before the parent's backup began may have changed again without
/// its time telling: clocks of file systems tick coarsely, and the two clocks may differ a little.
const CLOCK_DOUBT: SignedDuration = SignedDuration::from_secs(2);

pub(super) struct Parent {
    vault: Vault,
    snapshot: Snapshot,
    trees: HashMap<TreePath, Option<OldFolder>>,
    counts: Arc<Counts>,
}

/// How the files so far compare with those of the parent.
#[derive(Default)]
struct Counts {
    unmodified: AtomicU64,
    changed: AtomicU64,
    new: AtomicU64,
}

/// The parent, for walks of several threads that carry its directories along.
#[derive(Clone)]
pub(super) struct ParentView {
    vault: Vault,
    root: Id,
    began: Timestamp,
    counts: Arc<Counts>,
}

/// A directory of the parent.
pub(super) struct OldFolder {
    tree: Tree,
    /// Other writers' trees may be out of order.
    is_sorted: bool,
}

impl OldFolder {
    fn new(tree: Tree) -> Self {
        let is_sorted = tree.nodes.is_sorted_by(|a, b| a.name < b.name);
        Self { tree, is_sorted }
    }

    fn get(&self, name: &[u8]) -> Option<&Node> {
        if !self.is_sorted {
            return self.tree.get(name);
        }
        let nodes = &self.tree.nodes;
        let at = nodes.binary_search_by(|node| node.name.as_slice().cmp(name));
        at.ok().map(|at| &nodes[at])
    }
}

impl ParentView {
    /// A directory of the parent; `None` if it has none there, or one that cannot be read: its files are read then.
    pub fn folder(&self, index: &Index, path: &TreePath) -> Option<Arc<OldFolder>> {
        let root = self.read(index, &self.root)?;
        path.names()
            .try_fold(root, |folder, name| self.subfolder(index, &folder, name))
    }

    /// A directory in a directory.
    pub fn subfolder(
        &self,
        index: &Index,
        folder: &OldFolder,
        name: &[u8],
    ) -> Option<Arc<OldFolder>> {
        self.read(index, &folder.get(name)?.subtree?)
    }

    fn read(&self, index: &Index, id: &Id) -> Option<Arc<OldFolder>> {
        match self.vault.read_tree(index, id) {
            Ok(tree) => Some(Arc::new(OldFolder::new(tree))),
            Err(error) => {
                tracing::warn!(%id, %error, "a directory of the parent is read anew");
                None
            }
        }
    }

    /// The content of the file of this name, if it cannot have changed since.
    pub fn unchanged(
        &self,
        index: &Index,
        folder: Option<&OldFolder>,
        name: &[u8],
        node: &Node,
    ) -> Option<Vec<Id>> {
        let old = folder.and_then(|folder| folder.get(name));
        self.counts.judge(index, old, node, self.began)
    }
}

impl Counts {
    /// The content of the old file, if the new one is the same.
    fn judge(
        &self,
        index: &Index,
        old: Option<&Node>,
        node: &Node,
        began: Timestamp,
    ) -> Option<Vec<Id>> {
        let Some(old) = old else {
            self.new.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let content = old.content.as_ref().filter(|content| {
            is_same(old, node, began) && content.iter().all(|id| index.contains(BlobKind::Data, id))
        });
        let count = match content {
            Some(_) => &self.unmodified,
            None => &self.changed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        content.cloned()
    }
}

impl Parent {
    pub fn new(vault: Vault, snapshot: Snapshot) -> Self {
        Self {
            vault,
            snapshot,
            trees: HashMap::new(),
            counts: Arc::default(),
        }
    }

    pub fn view(&self) -> ParentView {
        ParentView {
            vault: self.vault.clone(),
            root: self.snapshot.stored.tree,
            began: self.snapshot.stored.time,
            counts: Arc::clone(&self.counts),
        }
    }

    pub fn id(&self) -> Id {
        self.snapshot.id
    }

    pub fn summary(&self) -> Summary {
        Summary {
            files_new: self.counts.new.load(Ordering::Relaxed),
            files_changed: self.counts.changed.load(Ordering::Relaxed),
            files_unmodified: self.counts.unmodified.load(Ordering::Relaxed),
            ..Summary::default()
        }
    }

    /// The content of the same file in the parent, if it cannot have changed since.
    pub fn unchanged(&mut self, index: &Index, path: &TreePath, node: &Node) -> Option<Vec<Id>> {
        let (directory, name) = path.split()?;
        let (counts, began) = (Arc::clone(&self.counts), self.snapshot.stored.time);
        let old = self.tree(index, &directory).and_then(|tree| tree.get(name));
        counts.judge(index, old, node, began)
    }

    /// The content of the file that the parent has at `path`, if the vault has all of it.
    pub fn content(&mut self, index: &Index, path: &TreePath) -> Option<Vec<Id>> {
        let content = self.node(index, path)?.content.clone()?;
        let is_there = |id: &Id| index.contains(BlobKind::Data, id);
        content.iter().all(is_there).then_some(content)
    }

    /// The entry that the parent has at `path`.
    pub fn node(&mut self, index: &Index, path: &TreePath) -> Option<&Node> {
        let (directory, name) = path.split()?;
        self.tree(index, &directory)?.get(name)
    }

    pub fn count_unmodified(&self) {
        self.counts.unmodified.fetch_add(1, Ordering::Relaxed);
    }

    /// A directory of the parent. One that cannot be read is as good as none: its files are read.
    fn tree(&mut self, index: &Index, path: &TreePath) -> Option<&OldFolder> {
        if !self.trees.contains_key(path) {
            let id = match path.split() {
                None => Some(self.snapshot.stored.tree),
                Some((above, name)) => self
                    .tree(index, &above)
                    .and_then(|tree| tree.get(name)?.subtree),
            };
            let tree = id.and_then(|id| match self.vault.read_tree(index, &id) {
                Ok(tree) => Some(tree),
                Err(error) => {
                    tracing::warn!(%path, %error, "the parent's directory is read anew");
                    None
                }
            });
            self.trees.insert(path.clone(), tree.map(OldFolder::new));
        }
        self.trees.get(path)?.as_ref()
    }
}

/// Whether a file cannot have changed: same inode, size and times, and the times are old enough
/// to tell. A file of which nothing is known (no inode) never is.
fn is_same(old: &Node, new: &Node, parent_began: Timestamp) -> bool {
    let settled = |time: Timestamp| parent_began.duration_since(time) > CLOCK_DOUBT;
    old.kind == new.kind
        && old.inode == new.inode
        && new.inode != 0
        && old.size == new.size
        && old.mtime == new.mtime
        && old.ctime == new.ctime
        && settled(old.mtime)
        && settled(old.ctime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(mtime: i64) -> Node {
        let time = Timestamp::from_second(mtime).unwrap();
        Node {
            inode: 7,
            size: 8192,
            mtime: time,
            ctime: time,
            ..Node::default()
        }
    }

    #[test]
    fn a_file_is_the_same_only_if_its_times_can_tell() {
        let began = Timestamp::from_second(1000).unwrap();
        assert!(is_same(&node(900), &node(900), began));
        assert!(
            !is_same(&node(999), &node(999), began),
            "it may have changed within the tick"
        );
        assert!(
            !is_same(&node(1001), &node(1001), began),
            "the clock was set back"
        );
        assert!(!is_same(&node(900), &node(901), began));
        assert!(!is_same(
            &node(900),
            &Node {
                size: 1,
                ..node(900)
            },
            began
        ));
        assert!(!is_same(
            &node(900),
            &Node {
                inode: 8,
                ..node(900)
            },
            began
        ));
        let nobody = Node {
            inode: 0,
            ..node(900)
        };
        assert!(!is_same(&nobody, &nobody, began));
    }
}
