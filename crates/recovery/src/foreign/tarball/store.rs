//! Entries on their way into a backup.

use std::{
    collections::HashSet,
    io::{self, Read},
    path::Path,
};

use jiff::{SignedDuration, Timestamp};
use rekindle_vault::{
    Backup, BackupError, Chunking, ExtendedAttribute, FileWriter, Node, NodeKind, TreePath,
};
use tar::{Entry, EntryType, Header};

use super::{
    entry::{Contents, each_entry},
    refuse,
};
use crate::RecoveryError;

const XATTR: &str = "SCHILY.xattr.";
/// Tells files with several names apart from those of real file systems, whose devices have small numbers.
const DEVICE: u64 = 0x7461_7200_0000_0000;

/// One archive and where it goes.
pub(super) struct Storing<'a> {
    pub(super) backup: &'a Backup,
    pub(super) at: &'a str,
    /// Which archive of the point it is.
    pub(super) number: u64,
    pub(super) contents: &'a Contents,
}

impl Storing<'_> {
    /// Stores all entries. `directories` are those that are stored already: the first one counts.
    pub(super) fn store(
        &self,
        from: &Path,
        directories: &mut HashSet<Vec<u8>>,
    ) -> Result<(), RecoveryError> {
        let mut inode = 0;
        each_entry(from, |entry, name| {
            inode += 1;
            let mut node = node_of(entry, from)?;
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    self.store_file(entry, &name, node, inode, from)
                }
                // Stored with the file whose name it is.
                EntryType::Link => Ok(()),
                EntryType::Symlink => {
                    node.kind = NodeKind::Symlink;
                    let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                    match String::from_utf8(target) {
                        Ok(text) => node.linktarget = text,
                        Err(error) => node.linktarget_raw = error.into_bytes(),
                    }
                    self.add(&name, node)
                }
                EntryType::Directory if !directories.insert(name.as_bytes().to_vec()) => Ok(()),
                EntryType::Directory => {
                    node.kind = NodeKind::Dir;
                    self.add(&name, node)
                }
                other => {
                    node.kind = match other {
                        EntryType::Char => NodeKind::CharDev,
                        EntryType::Block => NodeKind::Dev,
                        _ => NodeKind::Fifo,
                    };
                    node.device = device_of(entry.header());
                    self.add(&name, node)
                }
            }
        })
    }

    fn add(&self, name: &TreePath, mut node: Node) -> Result<(), RecoveryError> {
        node.mode = Node::go_mode(node.kind, node.mode);
        let path = self.path(name)?;
        Ok(self.backup.add_node(&path, node)?)
    }

    fn path(&self, name: &TreePath) -> Result<TreePath, RecoveryError> {
        let at = TreePath::new(self.at).map_err(BackupError::from)?;
        Ok(at.append(name))
    }

    fn store_file(
        &self,
        entry: &mut Entry<'_, impl Read>,
        name: &TreePath,
        mut node: Node,
        inode: u64,
        from: &Path,
    ) -> Result<(), RecoveryError> {
        node.mode = Node::go_mode(NodeKind::File, node.mode);
        let links = self.contents.links.get(name.as_bytes());
        let names: Vec<&TreePath> = links.into_iter().flatten().chain([name]).collect();
        node.links = names.len() as u64;
        if names.len() > 1 {
            (node.device_id, node.inode) = (DEVICE + self.number, inode);
        }
        let mut writers = Vec::new();
        for name in names {
            let writer = self.backup.file_writer_sized(
                self.path(name)?,
                node.clone(),
                Chunking::ContentDefined,
                entry.size(),
            );
            writers.push(writer);
        }
        let copied = self.copy(entry, &mut writers)?;
        copied.map_err(|error| refuse(from, error.to_string()))?;
        for writer in writers {
            writer.finish()?;
        }
        Ok(())
    }

    /// The outer error is the vault's, the inner one the archive's.
    fn copy(
        &self,
        entry: &mut impl Read,
        writers: &mut [FileWriter],
    ) -> Result<io::Result<()>, RecoveryError> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = match entry.read(&mut buffer) {
                Err(error) => return Ok(Err(error)),
                Ok(0) => return Ok(Ok(())),
                Ok(count) => count,
            };
            for writer in &mut *writers {
                writer.write(&buffer[..count])?;
            }
        }
    }
}

fn node_of(entry: &mut Entry<'_, impl Read>, from: &Path) -> Result<Node, RecoveryError> {
    let unread = |error: io::Error| refuse(from, error.to_string());
    let header = entry.header().clone();
    let number = |value: io::Result<u64>| -> Result<u32, RecoveryError> {
        u32::try_from(value.map_err(unread)?).map_err(|error| refuse(from, error.to_string()))
    };
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let seconds = header.mtime().map_err(unread)?;
    let mut node = Node {
        mode: header.mode().map_err(unread)? & 0o7777,
        uid: number(header.uid())?,
        gid: number(header.gid())?,
        user: text(header.username_bytes()),
        group: text(header.groupname_bytes()),
        mtime: Timestamp::from_second(seconds.try_into().unwrap_or(0)).unwrap_or_default(),
        ..Node::default()
    };
    for extension in entry
        .pax_extensions()
        .map_err(unread)?
        .into_iter()
        .flatten()
    {
        let extension = extension.map_err(unread)?;
        let Ok(key) = extension.key() else { continue };
        let value = extension.value_bytes();
        if let Some(name) = key.strip_prefix(XATTR) {
            node.extended_attributes.push(ExtendedAttribute {
                name: name.to_owned(),
                value: value.to_vec(),
            });
            continue;
        }
        let text = String::from_utf8_lossy(value).into_owned();
        match key {
            "mtime" => node.mtime = time(&text).unwrap_or(node.mtime),
            "uid" => node.uid = text.parse().unwrap_or(node.uid),
            "gid" => node.gid = text.parse().unwrap_or(node.gid),
            "uname" => node.user = text,
            "gname" => node.group = text,
            _ => {}
        }
    }
    (node.atime, node.ctime) = (node.mtime, node.mtime);
    Ok(node)
}

/// Seconds since 1970 with a fraction. Source: POSIX, "pax Extended Header".
fn time(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut digits: String = fraction.chars().take(9).collect();
    while digits.len() < 9 {
        digits.push('0');
    }
    let whole = Timestamp::from_second(seconds.parse().ok()?).ok()?;
    let nanoseconds = SignedDuration::from_nanos(digits.parse().ok()?);
    let sum = match seconds.starts_with('-') {
        true => whole.checked_sub(nanoseconds),
        false => whole.checked_add(nanoseconds),
    };
    sum.ok()
}

fn device_of(header: &Header) -> u64 {
    let number = |value: io::Result<Option<u32>>| value.ok().flatten().unwrap_or(0);
    rustix::fs::makedev(number(header.device_major()), number(header.device_minor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_fraction() {
        let at = |text: &str| time(text).map(|time| time.to_string());
        assert_eq!(at("0.5"), Some("1970-01-01T00:00:00.5Z".to_owned()));
        assert_eq!(
            at("1.000000001"),
            Some("1970-01-01T00:00:01.000000001Z".to_owned())
        );
        assert_eq!(at("-1.5"), Some("1969-12-31T23:59:58.5Z".to_owned()));
        assert_eq!(at("7"), Some("1970-01-01T00:00:07Z".to_owned()));
        assert_eq!(at("x"), None);
    }
}
