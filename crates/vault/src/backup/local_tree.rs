//! A whole directory of this machine, walked in the order of names.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStrExt, fs::FileTypeExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    Backup, BackupError,
    local_file::{LocalFile, WhenMissing},
};
use crate::{
    chunk::Chunking,
    path::TreePath,
    tree::{ExtendedAttribute, Node, NodeKind},
};

/// A directory to be backed up.
pub struct LocalTree<'a> {
    /// The directory.
    pub source: PathBuf,
    /// Its place in the recovery point.
    pub at: TreePath,
    /// Whether to leave out an entry, by its path relative to the directory.
    pub leave_out: &'a dyn Fn(&Path) -> bool,
}

/// What the walk met.
#[derive(Debug, Default)]
pub struct TreeReport {
    /// Files that will be in the recovery point.
    pub files: u64,
    /// Entries that vanished between their listing and their reading.
    pub vanished: Vec<PathBuf>,
}

impl Backup {
    /// Adds a directory with everything in it.
    ///
    /// # Errors
    /// The first entry that cannot be read, or the first failure of the backup, wherever it was.
    pub fn add_local_tree(&self, tree: &LocalTree<'_>) -> Result<TreeReport, BackupError> {
        let mut report = TreeReport::default();
        let unreadable = |source| read_error(&tree.at, &tree.source, source);
        let metadata = fs::metadata(&tree.source).map_err(unreadable)?;
        let mut node = Node::of_metadata(&metadata);
        node.add_extended_attributes(&tree.source)
            .map_err(unreadable)?;
        self.add_node(&tree.at, node)?;
        self.walk(tree, &tree.source, &tree.at, &mut report)?;
        Ok(report)
    }

    fn walk(
        &self,
        tree: &LocalTree<'_>,
        directory: &Path,
        at: &TreePath,
        report: &mut TreeReport,
    ) -> Result<(), BackupError> {
        let unreadable = |source| read_error(at, directory, source);
        let entries: io::Result<Vec<_>> = fs::read_dir(directory)
            .and_then(|entries| entries.map(|e| Ok(e?.file_name())).collect());
        let mut names = entries.map_err(unreadable)?;
        names.sort_unstable();
        for name in names {
            let source = directory.join(&name);
            let relative = source.strip_prefix(&tree.source).unwrap_or(&source);
            if (tree.leave_out)(relative) {
                continue;
            }
            let Some(at) = at.join(&name) else { continue };
            match self.add_entry(tree, &source, at, report) {
                Err(BackupError::Read { source: error, .. })
                    if error.kind() == io::ErrorKind::NotFound =>
                {
                    report.vanished.push(source);
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn add_entry(
        &self,
        tree: &LocalTree<'_>,
        source: &Path,
        at: TreePath,
        report: &mut TreeReport,
    ) -> Result<(), BackupError> {
        let unreadable = |error| read_error(&at, source, error);
        let metadata = fs::symlink_metadata(source).map_err(unreadable)?;
        let mut node = Node::of_metadata(&metadata);
        node.add_extended_attributes(source).map_err(unreadable)?;
        match node.kind {
            NodeKind::Dir => {
                self.add_node(&at, node)?;
                self.walk(tree, source, &at, report)
            }
            NodeKind::File => {
                report.files += 1;
                let file = LocalFile {
                    source: source.to_owned(),
                    node,
                    most_bytes: metadata.len(),
                    chunking: Chunking::ContentDefined,
                    when_missing: WhenMissing::LeaveOut,
                    inspect: None,
                };
                self.add_local_file(at, file).map(drop)
            }
            NodeKind::Symlink => {
                let target = fs::read_link(source).map_err(unreadable)?;
                node.set_link_target(target.as_os_str().as_bytes());
                self.add_node(&at, node)
            }
            _ => self.add_node(&at, node),
        }
    }
}

fn read_error(path: &TreePath, source_path: &Path, source: io::Error) -> BackupError {
    let source_path = source_path.display().to_string();
    BackupError::Read {
        path: path.clone(),
        source_path,
        source,
    }
}

impl Node {
    /// A node of what the kernel says of a file; without name and content.
    #[must_use]
    pub fn of_metadata(metadata: &Metadata) -> Self {
        let file_type = metadata.file_type();
        let kind = if file_type.is_dir() {
            NodeKind::Dir
        } else if file_type.is_symlink() {
            NodeKind::Symlink
        } else if file_type.is_fifo() {
            NodeKind::Fifo
        } else if file_type.is_socket() {
            NodeKind::Socket
        } else if file_type.is_block_device() {
            NodeKind::Dev
        } else if file_type.is_char_device() {
            NodeKind::CharDev
        } else {
            NodeKind::File
        };
        let time = |seconds, nanoseconds: i64| {
            Timestamp::new(seconds, i32::try_from(nanoseconds).unwrap_or(0)).unwrap_or_default()
        };
        let mtime = time(metadata.mtime(), metadata.mtime_nsec());
        Self {
            kind,
            mode: Self::go_mode(kind, metadata.mode()),
            mtime,
            // A read is no change: with the real time of access every directory would differ in
            // every backup. restic does so too.
            atime: mtime,
            ctime: time(metadata.ctime(), metadata.ctime_nsec()),
            uid: metadata.uid(),
            gid: metadata.gid(),
            user: user_name(metadata.uid()),
            group: group_name(metadata.gid()),
            inode: metadata.ino(),
            device_id: metadata.dev(),
            size: if kind == NodeKind::File {
                metadata.len()
            } else {
                0
            },
            links: if kind == NodeKind::Dir {
                0
            } else {
                metadata.nlink()
            },
            device: if matches!(kind, NodeKind::Dev | NodeKind::CharDev) {
                metadata.rdev()
            } else {
                0
            },
            ..Self::default()
        }
    }

    /// Makes it belong to this user and group, by number and by name.
    pub fn set_owner(&mut self, uid: u32, gid: u32) {
        (self.uid, self.gid) = (uid, gid);
        (self.user, self.group) = (user_name(uid), group_name(gid));
    }

    /// Takes the extended attributes (ACLs among them) of `path` itself, not of what it links to.
    ///
    /// # Errors
    /// As the file system failed; one without extended attributes is fine.
    pub fn add_extended_attributes(&mut self, path: &Path) -> io::Result<()> {
        use rustix::io::Errno;
        let unsupported = [Errno::OPNOTSUPP, Errno::NOSYS, Errno::PERM, Errno::ACCESS];
        let names = match read_growing(|buffer| rustix::fs::llistxattr(path, buffer)) {
            Err(errno) if unsupported.contains(&errno) => return Ok(()),
            other => other?,
        };
        for name in names
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
        {
            let value = match read_growing(|buffer| rustix::fs::lgetxattr(path, name, buffer)) {
                Err(errno) if errno == Errno::NODATA || unsupported.contains(&errno) => continue,
                other => other?,
            };
            let name = String::from_utf8_lossy(name).into_owned();
            self.extended_attributes
                .push(ExtendedAttribute { name, value });
        }
        Ok(())
    }
}

/// Calls with a larger buffer until the answer fits.
fn read_growing(
    call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut length = 256;
    loop {
        let mut buffer = vec![0; length];
        match call(&mut buffer[..]) {
            Ok(filled) => {
                buffer.truncate(filled);
                return Ok(buffer);
            }
            Err(rustix::io::Errno::RANGE) if length < 1 << 20 => length *= 4,
            Err(error) => return Err(error),
        }
    }
}

/// Names are looked up once: a look-up may ask a server.
fn user_name(uid: u32) -> String {
    thread_local!(static CACHE: uzers::UsersCache = uzers::UsersCache::new());
    use uzers::Users;
    CACHE
        .with(|cache| cache.get_user_by_uid(uid))
        .map(|user| user.name().to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn group_name(gid: u32) -> String {
    thread_local!(static CACHE: uzers::UsersCache = uzers::UsersCache::new());
    use uzers::Groups;
    CACHE
        .with(|cache| cache.get_group_by_gid(gid))
        .map(|group| group.name().to_string_lossy().into_owned())
        .unwrap_or_default()
}
