//! Files that are hard to bring back, on purpose.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Mode, XattrFlags, lgetxattr, llistxattr, lsetxattr, makedev, mknodat,
};

use crate::TestingError;
use crate::data::file_tree;

/// Attributes of everything below one directory that has any, by relative path and name.
pub type Attributes = BTreeMap<PathBuf, BTreeMap<OsString, Vec<u8>>>;

/// What is left out of a point of [`populate_files`], relative to it: a socket.
pub const SOCKET: &str = "special/socket";

/// Fills the new directory `dir`: all of [`file_tree`], files with names in several directories, extended attributes
/// and access lists, directories that nobody may read or write, names that are no text, a socket; for root
/// also owners and devices. Some file systems have none of the attributes; then there are none.
///
/// # Errors
/// [`TestingError::File`].
pub fn populate_files(dir: &Path, seed: u64) -> Result<(), TestingError> {
    file_tree(dir, seed, 300)?;
    linked(dir)?;
    attributes(dir)?;
    special(dir)?;
    owners(dir)?;
    closed(dir)
}

/// One file with names in three directories, and two files of the same content that are not one.
fn linked(dir: &Path) -> Result<(), TestingError> {
    for name in ["linked/a", "linked/b/c"] {
        let path = dir.join(name);
        fs::create_dir_all(&path).map_err(TestingError::file("create", &path))?;
    }
    let first = dir.join("linked/z first");
    write(&first, b"one file, three names")?;
    for name in ["linked/a/second", "linked/b/c/third"] {
        let path = dir.join(name);
        fs::hard_link(&first, &path).map_err(TestingError::file("link", &path))?;
    }
    write(&dir.join("linked/twin 1"), b"twins")?;
    write(&dir.join("linked/twin 2"), b"twins")
}

fn attributes(dir: &Path) -> Result<(), TestingError> {
    let path = dir.join("attributes");
    fs::create_dir(&path).map_err(TestingError::file("create", &path))?;
    write(&path.join("file"), b"attributes")?;
    let long = vec![b'x'; 2000];
    let own: [(&str, &str, &[u8]); 5] = [
        ("file", "user.text", b"a text"),
        ("file", "user.binary \u{fc}", b"\0\xff\n"),
        ("file", "user.long", &long),
        ("", "user.of directory", b""),
        ("file", "system.posix_acl_access", &access_list()),
    ];
    for (name, attribute, value) in
        own.into_iter()
            .chain([("", "system.posix_acl_default", &access_list()[..])])
    {
        let path = path.join(name);
        match lsetxattr(&path, attribute, value, XattrFlags::empty()) {
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(errno) => {
                return Err(TestingError::file("set an attribute of", &path)(
                    errno.into(),
                ));
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// `user::rw-, user:1000:rwx, group::r--, mask::rwx, other::r--` in the kernel's own form. Source: the kernel's
/// `linux/posix_acl_xattr.h`.
fn access_list() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, u32::MAX),
        (0x02, 7, 1000),
        (0x04, 4, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 4, u32::MAX),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&rights.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

fn special(dir: &Path) -> Result<(), TestingError> {
    let path = dir.join("special");
    fs::create_dir(&path).map_err(TestingError::file("create", &path))?;
    let socket = dir.join(SOCKET);
    UnixListener::bind(&socket).map_err(TestingError::file("bind", &socket))?;
    let link = path.join("odd link");
    // Text: restic before 0.16 loses the bytes of any other target.
    symlink("\u{fc}n\u{ef} \"target\"\n/..", &link).map_err(TestingError::file("link", &link))?;
    if is_root() {
        for (name, kind) in [
            ("character", FileType::CharacterDevice),
            ("block", FileType::BlockDevice),
        ] {
            let path = path.join(name);
            mknodat(CWD, &path, kind, Mode::from_raw_mode(0o620), makedev(1, 3))
                .map_err(|errno| TestingError::file("make", &path)(errno.into()))?;
        }
    }
    Ok(())
}

fn owners(dir: &Path) -> Result<(), TestingError> {
    let path = dir.join("owned");
    fs::create_dir(&path).map_err(TestingError::file("create", &path))?;
    write(&path.join("file"), b"owned")?;
    symlink("file", path.join("link")).map_err(TestingError::file("link", &path))?;
    if is_root() {
        for (name, owner) in [("file", 999), ("", 70)] {
            let path = path.join(name);
            chown(&path, Some(owner), Some(owner + 1)).map_err(TestingError::file("own", &path))?;
        }
        let link = path.join("link");
        std::os::unix::fs::lchown(&link, Some(65534), Some(7))
            .map_err(TestingError::file("own", &link))?;
    }
    Ok(())
}

/// Only root can read all of it.
fn closed(dir: &Path) -> Result<(), TestingError> {
    for (name, mode) in [("closed", 0o000), ("shared", 0o3775), ("read only", 0o555)] {
        let path = dir.join(name);
        fs::create_dir(&path).map_err(TestingError::file("create", &path))?;
        write(&path.join("inside"), name.as_bytes())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(TestingError::file("set the mode of", &path))?;
    }
    Ok(())
}

/// Reads the attributes of everything below `dir`, access lists among them.
///
/// # Errors
/// [`TestingError`] if anything cannot be read.
pub fn attributes_of(dir: &Path) -> Result<Attributes, TestingError> {
    let mut found = BTreeMap::new();
    let mut paths = vec![dir.to_owned()];
    while let Some(path) = paths.pop() {
        let meta = fs::symlink_metadata(&path).map_err(TestingError::file("look at", &path))?;
        if meta.is_dir() {
            for child in fs::read_dir(&path).map_err(TestingError::file("list", &path))? {
                paths.push(child.map_err(TestingError::file("list", &path))?.path());
            }
        }
        let of_path = attributes_of_one(&path)
            .map_err(|errno| TestingError::file("read the attributes of", &path)(errno.into()))?;
        if !of_path.is_empty() {
            let relative = path.strip_prefix(dir).unwrap_or(&path).to_owned();
            found.insert(relative, of_path);
        }
    }
    Ok(found)
}

fn attributes_of_one(path: &Path) -> Result<BTreeMap<OsString, Vec<u8>>, rustix::io::Errno> {
    let mut buffer = vec![0; 64 << 10];
    let length = match llistxattr(path, &mut buffer[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut found = BTreeMap::new();
    for name in buffer[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 64 << 10];
        let length = lgetxattr(path, name, &mut value[..])?;
        value.truncate(length);
        found.insert(OsString::from_vec(name.to_vec()), value);
    }
    Ok(found)
}

/// Whether two paths are names of one file.
///
/// # Errors
/// [`TestingError::File`] if one is not there.
pub fn is_one_file(a: &Path, b: &Path) -> Result<bool, TestingError> {
    let id = |path: &Path| {
        let meta = fs::symlink_metadata(path).map_err(TestingError::file("look at", path))?;
        Ok::<_, TestingError>((meta.dev(), meta.ino()))
    };
    Ok(id(a)? == id(b)?)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn write(path: &Path, content: &[u8]) -> Result<(), TestingError> {
    fs::write(path, content).map_err(TestingError::file("write", path))
}
