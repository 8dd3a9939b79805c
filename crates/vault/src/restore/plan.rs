//! What a restore will do: the tree as lists.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use super::{
    FileDamage, RestoreError, RestoreOptions, layout,
    metadata::{self, Ownership},
};
use crate::{
    blob::BlobKind,
    error::VaultError,
    id::Id,
    index::{Index, Location},
    pack::PackedBlob,
    path::TreePath,
    siblings::Siblings,
    snapshot::Snapshot,
    store::FileKind,
    tree::{Node, NodeKind, Tree},
    vault::Vault,
};

/// One place that a blob belongs to. 64 bytes, because a large restore has millions.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub id: Id,
    pub pack: u32,
    pub offset: u32,
    pub length: u32,
    /// 0 for a blob that is stored as it is.
    uncompressed_length: u32,
    pub file: u32,
    pub file_offset: u64,
}

/// An entry and where it goes, relative to the target.
pub(super) struct Entry {
    pub path: PathBuf,
    pub node: Node,
    /// Of a file: whether some of it is all zeros, or lost, and takes no room.
    pub has_holes: bool,
}

impl Entry {
    fn new(path: PathBuf, node: Node) -> Self {
        Self {
            path,
            node,
            has_holes: false,
        }
    }
}

/// Device, inode and content of a file with several names. Two entries of one inode whose content differs were read at
/// different times, or the inode was given to another file between them: they come back as two files.
type LinkKey = (u64, u64, Id);

#[derive(Default)]
pub(super) struct Plan {
    root: Option<Node>,
    directories: Vec<Entry>,
    pub files: Vec<Entry>,
    others: Vec<Entry>,
    /// Second names of files: (new name, number of the file).
    hard_links: Vec<(PathBuf, u32)>,
    /// Sorted by pack and place.
    pub pieces: Vec<Piece>,
    /// How many pieces each file has.
    pub piece_counts: Vec<u32>,
    pub packs: Vec<Id>,
    /// Numbers of files that are named last.
    last: Vec<u32>,
    /// What cannot be restored, because its data is in no index or its listing is damaged.
    damages: Vec<FileDamage>,
    bytes: u64,
    needed_bytes: u64,
}

struct Planner<'a> {
    vault: &'a Vault,
    index: &'a Index,
    plan: Plan,
    pack_numbers: HashMap<Id, u32>,
    linked: HashMap<LinkKey, u32>,
    zeros: HashMap<u32, Id>,
    keep_damaged: bool,
}

impl Plan {
    pub fn make(
        vault: &Vault,
        index: &Index,
        snapshot: &Snapshot,
        path: &TreePath,
        options: &RestoreOptions,
    ) -> Result<Self, RestoreError> {
        let mut planner = Planner {
            vault,
            index,
            plan: Self::default(),
            pack_numbers: HashMap::new(),
            linked: HashMap::new(),
            zeros: HashMap::new(),
            keep_damaged: options.keep_damaged,
        };
        planner.add_root(snapshot, path)?;
        let mut plan = planner.plan;
        plan.pieces
            .sort_unstable_by_key(|piece| (piece.pack, piece.offset));
        let is_last = |entry: &Entry| {
            options
                .last
                .iter()
                .any(|path| entry.path.as_os_str().as_bytes() == path.as_bytes())
        };
        let numbered = plan.files.iter().enumerate();
        plan.last = numbered
            .filter(|(_, e)| is_last(e))
            .map(|(n, _)| n as u32)
            .collect();
        Ok(plan)
    }

    /// What is known already not to be whole; if a part of the index is lost, because of that.
    pub fn damages(&self, lost_index_files: &[VaultError]) -> Vec<FileDamage> {
        let mut damages = self.damages.clone();
        if let Some(lost) = lost_index_files.first() {
            for damage in &mut damages {
                damage.reason = format!("{} ({})", damage.reason, lost.in_full());
            }
        }
        damages
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that will take room: without runs of zeros, which become holes.
    pub fn needed_bytes(&self) -> u64 {
        self.needed_bytes
    }

    pub fn file_count(&self) -> u64 {
        (self.files.len() + self.hard_links.len()) as u64
    }

    pub fn other_count(&self) -> u64 {
        (self.directories.len() + self.others.len()) as u64
    }

    /// The directory itself, if one was asked for that the recovery point describes.
    pub fn root(&self) -> Option<&Node> {
        self.root.as_ref()
    }

    /// Numbers of files without content.
    pub fn empty_files(&self) -> Vec<u32> {
        let counts = self.piece_counts.iter().enumerate();
        let empty = counts.filter(|(_, count)| **count == 0);
        empty.map(|(number, _)| number as u32).collect()
    }

    pub fn is_last(&self, file: u32) -> bool {
        self.last.contains(&file)
    }

    /// Directories come first, writable for us only; their own modes may forbid writing.
    pub fn make_directories(&self, target: &Path) -> Result<(), RestoreError> {
        for entry in &self.directories {
            let path = target.join(&entry.path);
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .map_err(RestoreError::target("make the directory", &path))?;
        }
        Ok(())
    }

    /// Links, pipes and devices. Returns what this system would not make.
    pub fn make_others(
        &self,
        target: &Path,
        ownership: Ownership,
    ) -> Result<Vec<String>, RestoreError> {
        let mut left_out = Vec::new();
        for entry in &self.others {
            let path = target.join(&entry.path);
            match make_other(&path, &entry.node) {
                Ok(true) => metadata::apply(&path, &entry.node, ownership)
                    .map_err(RestoreError::target("set owner, mode and times of", &path))?,
                Ok(false) => left_out.push(format!("{}: a socket", entry.path.display())),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    left_out.push(format!("{}: {error}", entry.path.display()));
                }
                Err(error) => return Err(RestoreError::target("make", &path)(error)),
            }
        }
        Ok(left_out)
    }

    /// Second names of files. Those of a file that is not whole are not made, but told.
    pub fn make_hard_links(
        &self,
        target: &Path,
        damages: &mut Vec<FileDamage>,
    ) -> Result<(), RestoreError> {
        let reasons: HashMap<PathBuf, String> = damages
            .iter()
            .filter(|damage| damage.holes.is_empty())
            .map(|damage| (damage.path.clone(), damage.reason.clone()))
            .collect();
        for (name, file) in &self.hard_links {
            let first = &self.files[*file as usize].path;
            if let Some(reason) = reasons.get(first) {
                damages.push(FileDamage {
                    path: name.clone(),
                    reason: reason.clone(),
                    holes: Vec::new(),
                });
                continue;
            }
            let mut first = target.join(first);
            if self.is_last(*file) {
                first = unfinished_name(&first);
            }
            let path = target.join(name);
            fs::hard_link(&first, &path).map_err(RestoreError::target("link", &path))?;
        }
        Ok(())
    }

    /// Owners, modes and times of directories, innermost first: writing into a directory changes
    /// its times, and its mode may forbid it.
    pub fn finish_directories(
        &self,
        target: &Path,
        ownership: Ownership,
    ) -> Result<(), RestoreError> {
        for entry in self.directories.iter().rev() {
            let path = target.join(&entry.path);
            metadata::apply(&path, &entry.node, ownership)
                .map_err(RestoreError::target("set owner, mode and times of", &path))?;
        }
        Ok(())
    }

    /// Gives the last files their names, durably.
    pub fn name_last_files(&self, target: &Path) -> Result<(), RestoreError> {
        for &number in &self.last {
            let path = target.join(&self.files[number as usize].path);
            fs::rename(unfinished_name(&path), &path)
                .map_err(RestoreError::target("give its name to", &path))?;
            let folder = path.parent().unwrap_or(target);
            crate::durable::sync_folder(folder)
                .map_err(RestoreError::target("make durable", folder))?;
            let entry = self
                .directories
                .iter()
                .find(|entry| target.join(&entry.path) == folder);
            if let Some(entry) = entry {
                metadata::set_times(folder, &entry.node)
                    .map_err(RestoreError::target("set the times of", folder))?;
            }
        }
        Ok(())
    }
}

/// What a file is called until everything else is durable.
pub(super) fn unfinished_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".rekindle-unfinished");
    name.into()
}

impl Planner<'_> {
    fn add_root(&mut self, snapshot: &Snapshot, path: &TreePath) -> Result<(), RestoreError> {
        match self
            .vault
            .find_node(self.index, snapshot, path.as_bytes())?
        {
            None => {
                let tree = self.vault.read_tree(self.index, &snapshot.stored.tree);
                self.add_tree(tree, Path::new(""), &TreePath::root())
            }
            Some(node) if node.kind == NodeKind::Dir => {
                let subtree = node.subtree;
                self.plan.root = Some(node);
                match subtree {
                    Some(subtree) => {
                        let tree = self.vault.read_tree(self.index, &subtree);
                        self.add_tree(tree, Path::new(""), path)
                    }
                    None => Ok(()),
                }
            }
            Some(node) => {
                let name = OsStr::from_bytes(&node.name).to_owned();
                self.add_node(node, PathBuf::from(name), path, &mut Siblings::default())
            }
        }
    }

    fn add_tree(
        &mut self,
        tree: Result<Tree, VaultError>,
        into: &Path,
        at: &TreePath,
    ) -> Result<(), RestoreError> {
        let tree = match tree {
            Err(error) if error.is_damage_or_missing() => {
                self.damage(into.to_owned(), &error);
                return Ok(());
            }
            other => other?,
        };
        let mut below = Siblings::below(&tree, |_| true);
        for node in tree.nodes {
            let name = OsStr::from_bytes(&node.name);
            let Some(inner) = at.join(name) else {
                let name = node.display_name().into_owned();
                return Err(RestoreError::BadName {
                    directory: at.clone(),
                    name,
                });
            };
            let path = into.join(name);
            self.add_node(node, path, &inner, &mut below)?;
        }
        Ok(())
    }

    fn add_node(
        &mut self,
        mut node: Node,
        path: PathBuf,
        at: &TreePath,
        listings: &mut Siblings,
    ) -> Result<(), RestoreError> {
        match node.kind {
            NodeKind::Dir => {
                let subtree = node.subtree;
                self.plan.directories.push(Entry::new(path.clone(), node));
                let Some(subtree) = subtree else {
                    return Ok(());
                };
                let tree = listings.take(self.vault, self.index, &subtree);
                self.add_tree(tree, &path, at)
            }
            NodeKind::File => {
                let number = self.plan.files.len() as u32;
                if node.links > 1 && node.inode != 0 {
                    let content = Id::of_all(node.content.iter().flatten());
                    let key = (node.device_id, node.inode, content);
                    let first = *self.linked.entry(key).or_insert(number);
                    if first != number {
                        self.plan.hard_links.push((path, first));
                        return Ok(());
                    }
                }
                let content = node.content.take().unwrap_or_default();
                let before = (self.plan.pieces.len(), self.plan.needed_bytes);
                let added = self.add_pieces(number, &content).and_then(|size| {
                    let fits = size == node.size;
                    fits.then_some(size)
                        .ok_or_else(|| size_differs(at, size, node.size))
                });
                match added {
                    Ok(size) => {
                        self.plan.bytes += size;
                        self.plan.piece_counts.push(content.len() as u32);
                        self.plan.files.push(Entry {
                            path,
                            node,
                            has_holes: self.plan.needed_bytes - before.1 < size,
                        });
                    }
                    // The others are restored all the same.
                    Err(error) => {
                        self.plan.pieces.truncate(before.0);
                        self.plan.needed_bytes = before.1;
                        if !(self.keep_damaged
                            && self.add_with_holes(&node, &path, &content, &error))
                        {
                            self.linked.retain(|_, first| *first != number);
                            self.damage(path, &error);
                        }
                    }
                }
                Ok(())
            }
            _ => {
                self.plan.others.push(Entry::new(path, node));
                Ok(())
            }
        }
    }

    fn damage(&mut self, path: PathBuf, error: &VaultError) {
        self.plan.damages.push(FileDamage {
            path,
            reason: error.in_full(),
            holes: Vec::new(),
        });
    }

    /// Plans what is there of a file of which pieces are in no index. `false` if nothing of it can be placed.
    fn add_with_holes(
        &mut self,
        node: &Node,
        path: &Path,
        content: &[Id],
        error: &VaultError,
    ) -> bool {
        let find = |id: &Id| self.index.find(BlobKind::Data, id);
        let lengths: Vec<_> = content
            .iter()
            .map(|id| find(id).map(|at| at.blob.plain_length()))
            .collect();
        let Some(layout) = layout::of(&lengths, node.size) else {
            return false;
        };
        let file = self.plan.files.len() as u32;
        let mut count = 0;
        for (id, offset) in content.iter().zip(&layout.offsets) {
            if let (Some(offset), Some(at)) = (offset, self.index.find(BlobKind::Data, id)) {
                self.plan.needed_bytes += u64::from(at.blob.plain_length());
                self.add_piece(file, *offset, at);
                count += 1;
            }
        }
        if count == 0 {
            return false;
        }
        self.plan.piece_counts.push(count);
        self.plan.bytes += node.size;
        self.plan.files.push(Entry {
            path: path.to_owned(),
            node: node.clone(),
            has_holes: true,
        });
        self.plan.damages.push(FileDamage {
            path: path.to_owned(),
            reason: error.in_full(),
            holes: layout.holes,
        });
        true
    }

    /// Returns the length of the content.
    fn add_pieces(&mut self, file: u32, content: &[Id]) -> Result<u64, VaultError> {
        let mut file_offset = 0;
        for id in content {
            let at = self
                .index
                .find(BlobKind::Data, id)
                .ok_or(VaultError::MissingBlob { id: *id })?;
            let blob = at.blob;
            let plain_length = blob.plain_length();
            self.add_piece(file, file_offset, at);
            file_offset += u64::from(plain_length);
            if !self.is_hole(&blob) {
                self.plan.needed_bytes += u64::from(plain_length);
            }
        }
        Ok(file_offset)
    }

    fn add_piece(&mut self, file: u32, file_offset: u64, Location { pack, blob }: Location) {
        let pack = self.pack_number(pack);
        self.plan.pieces.push(Piece {
            id: blob.id,
            pack,
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.uncompressed_length.unwrap_or(0),
            file,
            file_offset,
        });
    }

    /// Packs are numbered as the tree meets them, so that files are written roughly in order.
    fn pack_number(&mut self, pack: Id) -> u32 {
        let next = self.plan.packs.len() as u32;
        let number = *self.pack_numbers.entry(pack).or_insert(next);
        if number == next {
            self.plan.packs.push(pack);
        }
        number
    }

    /// Whether a blob is nothing but zeros. Only one that shrank to next to nothing can be.
    fn is_hole(&mut self, blob: &PackedBlob) -> bool {
        let plain = blob.plain_length();
        if blob.length > 100 + plain / 1000 {
            return false;
        }
        let zeros = self
            .zeros
            .entry(plain)
            .or_insert_with(|| Id::of(&vec![0; plain as usize]));
        *zeros == blob.id
    }
}

fn size_differs(at: &TreePath, sum: u64, size: u64) -> VaultError {
    VaultError::Damaged {
        kind: FileKind::Pack,
        name: format!("(tree entry {at})"),
        reason: format!("its content is {sum} bytes long, and it says {size}"),
    }
}

impl Piece {
    pub fn blob(&self) -> PackedBlob {
        PackedBlob {
            id: self.id,
            kind: BlobKind::Data,
            offset: self.offset,
            length: self.length,
            uncompressed_length: (self.uncompressed_length != 0)
                .then_some(self.uncompressed_length),
        }
    }
}

/// Makes a link, pipe or device; `false` for a socket, which only its server can make.
fn make_other(path: &Path, node: &Node) -> io::Result<bool> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let special = |kind| {
        Ok(mknodat(
            CWD,
            path,
            kind,
            Mode::from_raw_mode(0o600),
            node.device,
        )?)
    };
    let made: io::Result<()> = match node.kind {
        NodeKind::Symlink => {
            std::os::unix::fs::symlink(OsStr::from_bytes(node.link_target()), path)
        }
        NodeKind::Fifo => special(FileType::Fifo),
        NodeKind::Dev => special(FileType::BlockDevice),
        NodeKind::CharDev => special(FileType::CharacterDevice),
        NodeKind::File | NodeKind::Dir | NodeKind::Socket | NodeKind::Irregular => {
            return Ok(false);
        }
    };
    made.map(|()| true)
}
