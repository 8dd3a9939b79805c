//! Telling whether two directory trees are the same to the last bit.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TestingError;
use crate::process::{output_with_input, succeeded};

/// Everything below one directory, by relative path; the directory itself is the empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeDigest(pub BTreeMap<PathBuf, TreeEntry>);

/// What is kept of one file, directory, link or special file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// `file`, `dir`, `link`, `fifo`, `socket`, `block` or `char`.
    pub kind: &'static str,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// User id and group id.
    pub owner: (u32, u32),
    /// Bytes of a file; 0 for everything else.
    pub size: u64,
    /// Time of the last change of content, in nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Hard links, of files only.
    pub links: u64,
    /// Where a symbolic link points.
    pub target: Option<PathBuf>,
    /// SHA-256 of a file's content, in hex.
    pub sha256: Option<String>,
}

/// Reads the whole tree below `dir`. Links are not followed.
///
/// # Errors
/// [`TestingError`] if anything cannot be read: a digest with holes would compare as equal.
pub fn tree_digest(dir: &Path) -> Result<TreeDigest, TestingError> {
    let mut tree = TreeDigest(BTreeMap::new());
    walk(dir, dir, &mut tree)?;
    hash(dir, &mut tree)?;
    Ok(tree)
}

impl TreeDigest {
    /// Without times of change, for a copy that did not keep them.
    #[must_use]
    pub fn without_times(mut self) -> Self {
        self.0.values_mut().for_each(|entry| entry.mtime_ns = 0);
        self
    }

    /// Without owners, for a copy that was not made by root.
    #[must_use]
    pub fn without_owners(mut self) -> Self {
        self.0.values_mut().for_each(|entry| entry.owner = (0, 0));
        self
    }

    /// Without numbers of hard links, for a copy that made files of their own of them.
    #[must_use]
    pub fn without_hard_links(mut self) -> Self {
        self.0.values_mut().for_each(|entry| entry.links = 1);
        self
    }

    /// Says what differs, one line a path; empty if nothing does.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let added = other.0.keys().filter(|path| !self.0.contains_key(*path));
        let paths = self.0.keys().chain(added);
        paths
            .filter(|path| self.0.get(*path) != other.0.get(*path))
            .map(|path| {
                let (ours, theirs) = (self.0.get(path), other.0.get(path));
                format!("{}:\n  {ours:?}\n  {theirs:?}", path.display())
            })
            .collect()
    }
}

fn walk(root: &Path, path: &Path, tree: &mut TreeDigest) -> Result<(), TestingError> {
    let meta = fs::symlink_metadata(path).map_err(TestingError::file("look at", path))?;
    let relative = path.strip_prefix(root).unwrap_or(path).to_owned();
    tree.0.insert(relative, entry(path, &meta)?);
    if meta.is_dir() {
        for child in fs::read_dir(path).map_err(TestingError::file("list", path))? {
            walk(
                root,
                &child.map_err(TestingError::file("list", path))?.path(),
                tree,
            )?;
        }
    }
    Ok(())
}

fn entry(path: &Path, meta: &Metadata) -> Result<TreeEntry, TestingError> {
    let target = match meta.is_symlink() {
        true => Some(fs::read_link(path).map_err(TestingError::file("read link", path))?),
        false => None,
    };
    Ok(TreeEntry {
        kind: kind(meta),
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        size: if meta.is_file() { meta.len() } else { 0 },
        mtime_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        // Of a directory the file system counts as it likes.
        links: if meta.is_file() { meta.nlink() } else { 1 },
        target,
        sha256: None,
    })
}

fn kind(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    match () {
        () if kind.is_file() => "file",
        () if kind.is_dir() => "dir",
        () if kind.is_symlink() => "link",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () if kind.is_block_device() => "block",
        () => "char",
    }
}

/// Hashes all files by one run of `sha256sum`, a program that shares no code with ours.
fn hash(root: &Path, tree: &mut TreeDigest) -> Result<(), TestingError> {
    let files = tree.0.iter().filter(|(_, entry)| entry.kind == "file");
    let input: Vec<u8> = files
        .flat_map(|(path, _)| [b"./", path.as_os_str().as_bytes(), b"\0"].concat())
        .collect();
    let mut command = Command::new("xargs");
    command
        .args(["-0", "-r", "sha256sum", "-z", "--"])
        .current_dir(root);
    let output = output_with_input(&mut command, &input)?;
    succeeded(&command, &output)?;
    for line in output
        .stdout
        .split(|byte| *byte == 0)
        .filter(|line| !line.is_empty())
    {
        let (sum, path) = line.split_at_checked(64).unwrap_or((line, b""));
        let path = Path::new(OsStr::from_bytes(
            path.strip_prefix(b"  ./").unwrap_or(path),
        ));
        let found = tree
            .0
            .get_mut(path)
            .ok_or_else(|| TestingError::Unexpected {
                what: "a line of sha256sum",
                found: String::from_utf8_lossy(line).into_owned(),
            })?;
        found.sha256 = Some(String::from_utf8_lossy(sum).into_owned());
    }
    let unhashed = tree
        .0
        .iter()
        .find(|(_, entry)| entry.kind == "file" && entry.sha256.is_none());
    unhashed.map_or(Ok(()), |(path, _)| {
        let found = path.display().to_string();
        Err(TestingError::Unexpected {
            what: "a hash of every file, but not of",
            found,
        })
    })
}
