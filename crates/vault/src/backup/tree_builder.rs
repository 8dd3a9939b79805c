//! The tree of a snapshot while it grows, and its blobs when it is whole.

use std::collections::BTreeMap;

use super::{
    failure::BackupError,
    frozen::Frozen,
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
    pub node: Option<Node>,
    pub directories: BTreeMap<Vec<u8>, TreeBuilder>,
    /// Everything that is no directory.
    pub others: BTreeMap<Vec<u8>, Node>,
    /// All that is in it, if it is complete; there is nothing in the two above then.
    pub frozen: Option<Box<Frozen>>,
}

/// What is in a directory: everything that is no directory, and the directories.
pub(super) type TakenEntries = (BTreeMap<Vec<u8>, Node>, BTreeMap<Vec<u8>, TreeBuilder>);

/// What a whole tree holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub files: u64,
    pub bytes: u64,
    pub directories: u64,
}

impl Totals {
    /// Counts an entry that is no directory.
    pub fn count(&mut self, node: &Node) {
        self.files += 1;
        self.bytes += node.size;
    }

    /// Counts a directory and what is below it.
    pub fn add_directory(&mut self, below: Self) {
        self.files += below.files;
        self.bytes += below.bytes;
        self.directories += below.directories + 1;
    }
}

impl TreeBuilder {
    /// Puts an entry at its path; its name is taken from there. Directories above it need not be
    /// known yet.
    pub fn insert(
        &mut self,
        path: &TreePath,
        mut node: Node,
        packer: &Packer,
    ) -> Result<(), BackupError> {
        let duplicate = || BackupError::Duplicate(path.clone());
        let Some((parent, name)) = path.split() else {
            self.node = Some(node);
            return Ok(());
        };
        node.name = name.to_vec();
        let folder = self.directory(&parent, packer)?;
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
    pub fn own_unowned(
        &mut self,
        path: &TreePath,
        owner: &Node,
        packer: &Packer,
    ) -> Result<(), BackupError> {
        self.directory(path, packer)?.own_all(owner, packer)
    }

    fn own_all(&mut self, owner: &Node, packer: &Packer) -> Result<(), BackupError> {
        self.thaw(packer)?;
        for node in self.node.iter_mut().chain(self.others.values_mut()) {
            if node.uid == 0 && node.gid == 0 {
                (node.uid, node.gid) = (owner.uid, owner.gid);
                node.user.clone_from(&owner.user);
                node.group.clone_from(&owner.group);
            }
        }
        let mut directories = self.directories.values_mut();
        directories.try_for_each(|directory| directory.own_all(owner, packer))
    }

    /// The directory at this path, if there is one above which nothing is complete.
    pub fn open_at(&mut self, path: &TreePath) -> Option<&mut Self> {
        path.names()
            .try_fold(self, |at, name| at.directories.get_mut(name))
    }

    /// The directory at this path, with its entries; made up if there is none.
    fn directory(&mut self, path: &TreePath, packer: &Packer) -> Result<&mut Self, BackupError> {
        let mut at = self;
        for name in path.names() {
            at.thaw(packer)?;
            at = at.directories.entry(name.to_vec()).or_default();
        }
        at.thaw(packer)?;
        Ok(at)
    }

    /// Takes the entries of a directory that is complete; `None` if that was done before.
    pub fn take_entries(&mut self) -> Option<TakenEntries> {
        let is_open = self.frozen.is_none();
        is_open.then(|| {
            (
                std::mem::take(&mut self.others),
                std::mem::take(&mut self.directories),
            )
        })
    }

    /// Puts what became of its entries in their place. What was added since is added to them.
    pub fn freeze(&mut self, frozen: Frozen, packer: &Packer) -> Result<(), BackupError> {
        let late = self.take_entries();
        self.frozen = Some(Box::new(frozen));
        let (others, directories) = late.unwrap_or_default();
        if others.is_empty() && directories.is_empty() {
            return Ok(());
        }
        self.thaw(packer)?;
        let twice = |name: &[u8]| match TreePath::new(name) {
            Ok(path) => BackupError::Duplicate(path),
            Err(error) => error.into(),
        };
        for (name, node) in others {
            if self.others.contains_key(&name) || self.directories.contains_key(&name) {
                return Err(twice(&name));
            }
            self.others.insert(name, node);
        }
        for (name, directory) in directories {
            if self.others.contains_key(&name) || self.directories.contains_key(&name) {
                return Err(twice(&name));
            }
            self.directories.insert(name, directory);
        }
        Ok(())
    }

    /// Makes entries of a listing again.
    fn thaw(&mut self, packer: &Packer) -> Result<(), BackupError> {
        let Some(frozen) = self.frozen.take() else {
            return Ok(());
        };
        let tree = frozen.listing(packer)?;
        let mut below: BTreeMap<_, _> = frozen.below.into_iter().collect();
        for node in tree.nodes {
            let name = node.name.clone();
            match below.remove(&name) {
                Some(frozen) => {
                    let directory = Self {
                        node: Some(node),
                        frozen: Some(Box::new(frozen)),
                        ..Self::default()
                    };
                    self.directories.insert(name, directory);
                }
                None => drop(self.others.insert(name, node)),
            }
        }
        Ok(())
    }

    /// Stores the tree, leaves first; returns its root.
    pub fn save(self, packer: &Packer, tools: &mut Tools) -> Result<(Id, Totals), BackupError> {
        let mut totals = Totals::default();
        if let Some(frozen) = self.frozen {
            let totals = frozen.totals;
            return Ok((frozen.store(packer, tools)?, totals));
        }
        let mut nodes = self.others;
        for node in nodes.values() {
            totals.count(node);
        }
        for (name, mut directory) in self.directories {
            let mut node = directory.node.take().unwrap_or_else(made_up_directory);
            node.name.clone_from(&name);
            let (subtree, below) = directory.save(packer, tools)?;
            totals.add_directory(below);
            node.subtree = Some(subtree);
            if nodes.insert(name.clone(), node).is_some() {
                return Err(BackupError::Duplicate(TreePath::new(&name)?));
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
        Ok((id, totals))
    }
}

/// A directory that nobody described: it only holds others, and whoever owns one of those must be
/// able to reach it.
pub(super) fn made_up_directory() -> Node {
    Node {
        kind: NodeKind::Dir,
        mode: Node::go_mode(NodeKind::Dir, 0o755),
        ..Node::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        blob::{Compression, Compressor, DataClass},
        keyfile::Password,
        progress::Progress,
        store::MemoryStore,
        vault::Vault,
    };

    struct Setting {
        packer: Packer,
        compressor: Compressor,
        tools: Tools,
    }

    impl Setting {
        fn new() -> Self {
            let vault =
                Vault::create(Arc::new(MemoryStore::default()), &Password::new("x")).unwrap();
            let index = Arc::new(vault.load_index().unwrap());
            let progress = Arc::new(Progress::default());
            let (packer, _) = Packer::start(vault, index, Arc::default(), progress, 1 << 20, 1);
            let compressor = || Compressor::new(Compression::Default, DataClass::General).unwrap();
            Self {
                packer,
                compressor: compressor(),
                tools: Tools::new(compressor(), 0),
            }
        }

        fn add(
            &self,
            tree: &mut TreeBuilder,
            path: &str,
            kind: NodeKind,
        ) -> Result<(), BackupError> {
            let node = Node {
                kind,
                size: path.len() as u64,
                ..Node::default()
            };
            tree.insert(&TreePath::new(path).unwrap(), node, &self.packer)
        }

        fn freeze(&mut self, tree: &mut TreeBuilder, path: &str) {
            let directory = tree.open_at(&TreePath::new(path).unwrap()).unwrap();
            let (others, directories) = directory.take_entries().unwrap();
            let frozen = Frozen::of(others, directories, &self.packer, &mut self.compressor);
            directory.freeze(frozen.unwrap(), &self.packer).unwrap();
            assert!(directory.take_entries().is_none());
        }

        fn tree(&self) -> TreeBuilder {
            let mut tree = TreeBuilder::default();
            for path in ["a", "a/b", "a/c", "d"] {
                self.add(&mut tree, path, NodeKind::Dir).unwrap();
            }
            for path in ["a/1", "a/b/2", "a/b/3", "a/c/4", "a/z", "5"] {
                self.add(&mut tree, path, NodeKind::File).unwrap();
            }
            tree
        }

        fn save(&mut self, tree: TreeBuilder) -> (Id, [u64; 3]) {
            let (id, totals) = tree.save(&self.packer, &mut self.tools).unwrap();
            (id, [totals.files, totals.directories, totals.bytes])
        }
    }

    #[test]
    fn a_path_is_taken_once() {
        let setting = Setting::new();
        let mut tree = TreeBuilder::default();
        setting.add(&mut tree, "a/b", NodeKind::File).unwrap();
        setting.add(&mut tree, "a", NodeKind::Dir).unwrap();
        for (path, kind) in [
            ("a/b", NodeKind::File),
            ("a", NodeKind::Dir),
            ("a", NodeKind::File),
        ] {
            assert!(setting.add(&mut tree, path, kind).is_err());
        }
    }

    #[test]
    fn complete_directories_are_stored_as_if_they_had_been_open() {
        let mut setting = Setting::new();
        let open = setting.tree();
        let expected = setting.save(open);
        assert_eq!(expected.1, [6, 4, 22]);
        for complete in [&["a/b"][..], &["a/b", "a/c", "a"], &["a"], &["d", ""]] {
            let mut tree = setting.tree();
            for path in complete {
                setting.freeze(&mut tree, path);
            }
            assert_eq!(setting.save(tree), expected, "{complete:?}");
        }
    }

    #[test]
    fn what_comes_late_is_added_to_a_complete_directory() {
        let mut setting = Setting::new();
        let mut tree = setting.tree();
        setting.add(&mut tree, "a/b/late", NodeKind::File).unwrap();
        let expected = setting.save(tree);

        let mut tree = setting.tree();
        for path in ["a/b", "a"] {
            setting.freeze(&mut tree, path);
        }
        for (path, kind) in [
            ("a/b/3", NodeKind::File),
            ("a/b", NodeKind::Dir),
            ("a/z", NodeKind::Dir),
        ] {
            assert!(setting.add(&mut tree, path, kind).is_err(), "{path}");
        }
        setting.add(&mut tree, "a/b/late", NodeKind::File).unwrap();
        assert_eq!(setting.save(tree), expected);
    }

    #[test]
    fn what_was_added_while_a_directory_was_made_complete_is_in_it_or_refused() {
        let mut setting = Setting::new();
        let mut tree = setting.tree();
        setting.add(&mut tree, "a/late", NodeKind::File).unwrap();
        let expected = setting.save(tree);
        for (late, is_taken) in [("a/late", true), ("a/z", false), ("a/b", false)] {
            let mut tree = setting.tree();
            let path = TreePath::new("a").unwrap();
            let directory = tree.open_at(&path).unwrap();
            let (others, directories) = directory.take_entries().unwrap();
            setting.add(&mut tree, late, NodeKind::File).unwrap();
            let frozen = Frozen::of(
                others,
                directories,
                &setting.packer,
                &mut setting.compressor,
            )
            .unwrap();
            let directory = tree.open_at(&path).unwrap();
            let outcome = directory.freeze(frozen, &setting.packer);
            assert_eq!(outcome.is_ok(), is_taken, "{late}");
            if is_taken {
                assert_eq!(setting.save(tree), expected);
            }
        }
    }

    #[test]
    fn owners_reach_into_complete_directories() {
        let mut setting = Setting::new();
        let owner = Node {
            uid: 7,
            ..Node::default()
        };
        let path = TreePath::new("a").unwrap();
        let mut tree = setting.tree();
        tree.own_unowned(&path, &owner, &setting.packer).unwrap();
        let expected = setting.save(tree);
        let mut tree = setting.tree();
        for path in ["a/b", "a"] {
            setting.freeze(&mut tree, path);
        }
        tree.own_unowned(&path, &owner, &setting.packer).unwrap();
        assert_eq!(setting.save(tree), expected);
    }
}
