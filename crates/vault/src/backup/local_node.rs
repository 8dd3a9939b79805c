//! What the kernel says of a file, as an entry of a tree.

use std::{
    collections::HashMap,
    fs::Metadata,
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
    sync::{PoisonError, RwLock},
};

use jiff::Timestamp;
use rustix::io::Errno;

use crate::tree::{ExtendedAttribute, Node, NodeKind};

impl Node {
    /// A node of what the kernel says of a file; without name and content.
    #[must_use]
    pub fn of_metadata(metadata: &Metadata) -> Self {
        let kind = NodeKind::of_file_type(metadata.file_type());
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
    /// As the file system failed; one without extended attributes is fine. `InvalidData` if the name of an attribute is
    /// no text, which a tree cannot hold; all others have been taken then.
    pub fn add_extended_attributes(&mut self, path: &Path) -> io::Result<()> {
        let unsupported = [Errno::OPNOTSUPP, Errno::NOSYS, Errno::PERM, Errno::ACCESS];
        let names = match read_growing(|buffer| rustix::fs::llistxattr(path, buffer)) {
            Err(errno) if unsupported.contains(&errno) => return Ok(()),
            other => other?,
        };
        let mut odd = None;
        for name in names
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
        {
            let Ok(text) = std::str::from_utf8(name) else {
                odd = Some(String::from_utf8_lossy(name).into_owned());
                continue;
            };
            let value = match read_growing(|buffer| rustix::fs::lgetxattr(path, name, buffer)) {
                Err(errno) if errno == Errno::NODATA || unsupported.contains(&errno) => continue,
                other => other?,
            };
            let name = text.to_owned();
            self.extended_attributes
                .push(ExtendedAttribute { name, value });
        }
        match odd {
            Some(name) => {
                let reason = format!("the attribute `{name}` has a name that is no text");
                Err(io::Error::new(io::ErrorKind::InvalidData, reason))
            }
            None => Ok(()),
        }
    }
}

impl NodeKind {
    /// The kind of what a listing or a look at it says.
    #[must_use]
    pub fn of_file_type(file_type: std::fs::FileType) -> Self {
        match file_type {
            t if t.is_dir() => Self::Dir,
            t if t.is_symlink() => Self::Symlink,
            t if t.is_fifo() => Self::Fifo,
            t if t.is_socket() => Self::Socket,
            t if t.is_block_device() => Self::Dev,
            t if t.is_char_device() => Self::CharDev,
            _ => Self::File,
        }
    }
}

/// Calls with a larger buffer until the answer fits. Most files have no attributes, and cost no memory.
fn read_growing(
    call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut short = [0; 256];
    match call(&mut short) {
        Ok(filled) => return Ok(short[..filled].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut length = 1024;
    loop {
        let mut buffer = vec![0; length];
        match call(&mut buffer[..]) {
            Ok(filled) => {
                buffer.truncate(filled);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if length < 1 << 20 => length *= 4,
            Err(error) => return Err(error),
        }
    }
}

/// Names by number, looked up once for all threads: a look-up may ask a server.
type Names = RwLock<Option<HashMap<u32, String>>>;

fn user_name(uid: u32) -> String {
    static NAMES: Names = RwLock::new(None);
    known_name(&NAMES, uid, || {
        uzers::get_user_by_uid(uid).map(|user| user.name().to_string_lossy().into_owned())
    })
}

fn group_name(gid: u32) -> String {
    static NAMES: Names = RwLock::new(None);
    known_name(&NAMES, gid, || {
        uzers::get_group_by_gid(gid).map(|group| group.name().to_string_lossy().into_owned())
    })
}

fn known_name(names: &Names, number: u32, look_up: impl FnOnce() -> Option<String>) -> String {
    let known = names.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = known.as_ref().and_then(|known| known.get(&number)) {
        return name.clone();
    }
    drop(known);
    let name = look_up().unwrap_or_default();
    let mut known = names.write().unwrap_or_else(PoisonError::into_inner);
    known.get_or_insert_default().insert(number, name.clone());
    name
}
