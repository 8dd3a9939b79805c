//! The snapshot that unchanged files are taken over from.

use std::collections::HashMap;

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
    trees: HashMap<TreePath, Option<Tree>>,
    unmodified: u64,
    changed: u64,
    new: u64,
}

impl Parent {
    pub fn new(vault: Vault, snapshot: Snapshot) -> Self {
        Self {
            vault,
            snapshot,
            trees: HashMap::new(),
            unmodified: 0,
            changed: 0,
            new: 0,
        }
    }

    pub fn id(&self) -> Id {
        self.snapshot.id
    }

    pub fn summary(&self) -> Summary {
        Summary {
            files_new: self.new,
            files_changed: self.changed,
            files_unmodified: self.unmodified,
            ..Summary::default()
        }
    }

    /// The content of the same file in the parent, if it cannot have changed since.
    pub fn unchanged(&mut self, index: &Index, path: &TreePath, node: &Node) -> Option<Vec<Id>> {
        let (directory, name) = path.split()?;
        let Some(old) = self
            .tree(index, &directory)
            .and_then(|tree| tree.get(name))
            .cloned()
        else {
            self.new += 1;
            return None;
        };
        let content = old.content.as_ref().filter(|content| {
            is_same(&old, node, self.snapshot.stored.time)
                && content.iter().all(|id| index.contains(BlobKind::Data, id))
        });
        *(if content.is_some() {
            &mut self.unmodified
        } else {
            &mut self.changed
        }) += 1;
        content.cloned()
    }

    /// A directory of the parent. One that cannot be read is as good as none: its files are read.
    fn tree(&mut self, index: &Index, path: &TreePath) -> Option<&Tree> {
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
            self.trees.insert(path.clone(), tree);
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
