//! How a directory of a running backup differs from the same one of an earlier snapshot, in figures.
//!
//! Only listings are read, never a file's content: a blob's name is the hash of its content, so the
//! lists of blobs say what of a file is still there as it was.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    Backup,
    frozen::Frozen,
    packer::{Added, Packer},
    tree_builder::TreeBuilder,
};
use crate::{
    error::VaultError,
    id::Id,
    index::Index,
    path::TreePath,
    snapshot::Snapshot,
    tree::{Node, NodeKind},
    vault::Vault,
};

/// So many different endings of names are counted; whoever makes up more has given none to many files.
const MOST_EXTENSIONS: usize = 4096;
const MOST_EXTENSION_BYTES: usize = 16;

/// What a backup has stored so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddedBytes {
    /// Bytes that the vault did not have, before they were compressed.
    pub plain_bytes: u64,
    /// The same, as they are stored.
    pub stored_bytes: u64,
}

/// How a directory differs from what it was in an earlier snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeChange {
    /// Files that it had.
    pub files_before: u64,
    /// Bytes of those.
    pub bytes_before: u64,
    /// Files under names that it did not have.
    pub files_new: u64,
    /// Files with another content than before.
    pub files_changed: u64,
    /// Files that are gone from where they were.
    pub files_gone: u64,
    /// Of `bytes_before`, those that are nowhere as they were: overwritten or gone. Counted in
    /// blobs, so a changed byte counts for the piece it lies in. What only has another name, or
    /// only grew, is not counted.
    pub replaced_bytes: u64,
    /// The commonest ending of names among new files that no file had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_extension: Option<NewExtension>,
}

/// An ending of names that is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewExtension {
    /// The ending, without its dot.
    pub extension: String,
    /// How many files have it.
    pub files: u64,
}

impl AddedBytes {
    /// What was added since then.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            plain_bytes: self.plain_bytes.saturating_sub(earlier.plain_bytes),
            stored_bytes: self.stored_bytes.saturating_sub(earlier.stored_bytes),
        }
    }
}

impl Backup {
    /// What this backup has stored so far. Complete, as to what was added until now, after
    /// [`Backup::wait_for_files`].
    #[must_use]
    pub fn added(&self) -> AddedBytes {
        self.shared.packer.added().so_far()
    }

    /// Files below `path` and their bytes, as added until now; without what is at or below the
    /// paths of `without`.
    #[must_use]
    pub fn files_below(&self, path: &TreePath, without: &[TreePath]) -> (u64, u64) {
        let tree = self.shared.tree();
        let mut totals = (0, 0);
        if let Some(below) = Now::at(&tree, path) {
            below.count(path, without, &mut totals);
        }
        totals
    }

    /// Compares what is below `path`, as added until now, with what `before` has there. What lies at
    /// or below the paths of `without` is left out on both sides. `None` if `before` has no such
    /// directory.
    ///
    /// # Errors
    /// As a listing of `before` could not be read.
    pub fn change_since(
        &self,
        before: &Snapshot,
        path: &TreePath,
        without: &[TreePath],
    ) -> Result<Option<TreeChange>, VaultError> {
        let node = match self.vault.find_node(&self.index, before, path.as_bytes()) {
            Ok(node) => node,
            Err(VaultError::NoSuchPath { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let tree_id = match &node {
            None => Some(before.stored.tree),
            Some(node) => node.subtree,
        };
        let Some(tree_id) = tree_id else {
            return Ok(None);
        };
        let mut walk = Walk {
            vault: &self.vault,
            index: &self.index,
            packer: &self.shared.packer,
            without,
            change: TreeChange::default(),
            gone: HashMap::new(),
            appeared: HashSet::new(),
            endings: Endings::default(),
        };
        let tree = self.shared.tree();
        walk.directory(Now::at(&tree, path), Some(tree_id), path)?;
        Ok(Some(walk.finish()))
    }
}

impl Added {
    fn so_far(&self) -> AddedBytes {
        use std::sync::atomic::Ordering::Relaxed;
        AddedBytes {
            plain_bytes: self.plain_bytes.load(Relaxed),
            stored_bytes: self.stored_bytes.load(Relaxed),
        }
    }
}

/// A directory of the running backup, which is complete or not.
#[derive(Clone, Copy)]
enum Now<'a> {
    Open(&'a TreeBuilder),
    Frozen(&'a Frozen),
}

/// What is in it.
struct Entries<'a> {
    others: Cow<'a, BTreeMap<Vec<u8>, Node>>,
    directories: BTreeMap<&'a [u8], Now<'a>>,
}

impl<'a> Now<'a> {
    fn of(tree: &'a TreeBuilder) -> Self {
        match &tree.frozen {
            Some(frozen) => Self::Frozen(frozen),
            None => Self::Open(tree),
        }
    }

    fn at(root: &'a TreeBuilder, path: &TreePath) -> Option<Self> {
        let mut names = path.names();
        names.try_fold(Self::of(root), Self::directory)
    }

    fn directory(self, name: &[u8]) -> Option<Self> {
        match self {
            Self::Open(tree) => tree.directories.get(name).map(Self::of),
            Self::Frozen(frozen) => {
                let below = &frozen.below;
                let at = below.binary_search_by(|(there, _)| there.as_slice().cmp(name));
                at.ok().map(|at| Self::Frozen(&below[at].1))
            }
        }
    }

    fn directories(self) -> BTreeMap<&'a [u8], Self> {
        match self {
            Self::Open(tree) => {
                let all = tree.directories.iter();
                all.map(|(name, below)| (name.as_slice(), Self::of(below)))
                    .collect()
            }
            Self::Frozen(frozen) => {
                let all = frozen.below.iter();
                all.map(|(name, below)| (name.as_slice(), Self::Frozen(below)))
                    .collect()
            }
        }
    }

    fn entries(self, packer: &Packer) -> Result<Entries<'a>, VaultError> {
        let directories = self.directories();
        let others = match self {
            Self::Open(tree) => Cow::Borrowed(&tree.others),
            Self::Frozen(frozen) => {
                let nodes = frozen.listing(packer)?.nodes.into_iter();
                let others = nodes.filter(|node| !directories.contains_key(node.name.as_slice()));
                Cow::Owned(others.map(|node| (node.name.clone(), node)).collect())
            }
        };
        Ok(Entries {
            others,
            directories,
        })
    }

    /// Regular files in it and their bytes.
    fn files(self) -> (u64, u64) {
        match self {
            Self::Frozen(frozen) => frozen.files,
            Self::Open(tree) => {
                let files = tree.others.values().filter(|node| is_file(node));
                files.fold((0, 0), |sum, node| (sum.0 + 1, sum.1 + node.size))
            }
        }
    }

    fn count(self, path: &TreePath, without: &[TreePath], totals: &mut (u64, u64)) {
        if without.contains(path) {
            return;
        }
        let (files, bytes) = self.files();
        *totals = (totals.0 + files, totals.1 + bytes);
        for (name, below) in self.directories() {
            if let Some(path) = path.join(OsStr::from_bytes(name)) {
                below.count(&path, without, totals);
            }
        }
    }
}

struct Walk<'a> {
    vault: &'a Vault,
    index: &'a Index,
    packer: &'a Packer,
    without: &'a [TreePath],
    change: TreeChange,
    /// Contents that are gone from where they were, and their bytes in all places.
    gone: HashMap<Id, u64>,
    /// Contents that are in a place where they were not.
    appeared: HashSet<Id>,
    endings: Endings,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        now: Option<Now<'_>>,
        before: Option<Id>,
        path: &TreePath,
    ) -> Result<(), VaultError> {
        if self.without.contains(path) {
            return Ok(());
        }
        let before = match before {
            Some(id) => self.vault.read_tree(self.index, &id)?.nodes,
            None => Vec::new(),
        };
        let now = match now {
            Some(now) => Some(now.entries(self.packer)?),
            None => None,
        };
        let now = now.as_ref();
        let mut known = HashMap::new();
        for old in &before {
            let name = old.name.as_slice();
            known.insert(name, old.kind);
            if is_file(old) {
                let new = now.and_then(|now| now.others.get(name));
                self.file(old, new.filter(|node| is_file(node)));
            } else if old.kind == NodeKind::Dir
                && let Some(below) = path.join(OsStr::from_bytes(name))
            {
                let new = now.and_then(|now| now.directories.get(name));
                self.directory(new.copied(), old.subtree, &below)?;
            }
        }
        let Some(now) = now else { return Ok(()) };
        let was = |name: &[u8], kind: NodeKind| known.get(name) == Some(&kind);
        for (name, node) in now.others.iter() {
            if is_file(node) && !was(name, NodeKind::File) {
                self.new_file(node);
            }
        }
        for (name, below) in &now.directories {
            if !was(name, NodeKind::Dir)
                && let Some(path) = path.join(OsStr::from_bytes(name))
            {
                self.directory(Some(*below), None, &path)?;
            }
        }
        Ok(())
    }

    /// A file that was there before.
    fn file(&mut self, old: &Node, new: Option<&Node>) {
        self.change.files_before += 1;
        self.change.bytes_before += old.size;
        self.endings.was_there(&old.name);
        match new {
            None => {
                self.change.files_gone += 1;
                *self.gone.entry(content_of(old)).or_default() += old.size;
            }
            Some(new) if new.content == old.content => {}
            Some(new) => {
                self.change.files_changed += 1;
                self.change.replaced_bytes += lost_bytes(old, new);
            }
        }
    }

    fn new_file(&mut self, node: &Node) {
        self.change.files_new += 1;
        self.appeared.insert(content_of(node));
        self.endings.is_new(&node.name);
    }

    fn finish(mut self) -> TreeChange {
        for (content, bytes) in &self.gone {
            if !self.appeared.contains(content) {
                self.change.replaced_bytes += bytes;
            }
        }
        self.change.new_extension = self.endings.commonest();
        self.change
    }
}

fn is_file(node: &Node) -> bool {
    node.kind == NodeKind::File
}

/// The same for files of the same content.
fn content_of(node: &Node) -> Id {
    let ids = node.content.iter().flatten();
    Id::of(&ids.flat_map(|id| *id.as_bytes()).collect::<Vec<_>>())
}

/// Of the old file's bytes those whose blobs the new one has no more, as if all blobs were of one
/// length.
fn lost_bytes(old: &Node, new: &Node) -> u64 {
    let still: HashSet<&Id> = new.content.iter().flatten().collect();
    let ids = || old.content.iter().flatten();
    let (all, lost) = (
        ids().count(),
        ids().filter(|id| !still.contains(id)).count(),
    );
    if all == 0 {
        return 0;
    }
    let share = u128::from(old.size) * lost as u128 / all as u128;
    u64::try_from(share).unwrap_or(old.size)
}

/// Endings of names: a program that encrypts files for ransom gives them one of its own.
#[derive(Default)]
struct Endings {
    before: HashSet<String>,
    new: HashMap<String, u64>,
}

impl Endings {
    fn was_there(&mut self, name: &[u8]) {
        if let Some(ending) = ending(name)
            && self.before.len() < MOST_EXTENSIONS
        {
            self.before.insert(ending);
        }
    }

    fn is_new(&mut self, name: &[u8]) {
        if let Some(ending) = ending(name)
            && (self.new.len() < MOST_EXTENSIONS || self.new.contains_key(&ending))
        {
            *self.new.entry(ending).or_default() += 1;
        }
    }

    /// Of several as common as each other the first by the alphabet, so that it is always the same.
    fn commonest(self) -> Option<NewExtension> {
        let Self { before, new } = self;
        let unknown = new
            .into_iter()
            .filter(|(ending, _)| !before.contains(ending));
        let commonest = unknown.max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
        commonest.map(|(extension, files)| NewExtension { extension, files })
    }
}

/// The ending of a name; a number, as the segments of a large relation have, is none.
fn ending(name: &[u8]) -> Option<String> {
    let ending = Path::new(OsStr::from_bytes(name)).extension()?.to_str()?;
    let is_one =
        ending.len() <= MOST_EXTENSION_BYTES && ending.chars().any(|c| c.is_ascii_alphabetic());
    is_one.then(|| ending.to_ascii_lowercase())
}
