//! A directory of a point as a tar stream, with all that restic's format knows of its entries.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rekindle_vault::{Index, Node, NodeKind, Progress, Vault};
use tar::{Builder, EntryType, Header};

/// A tar's header has this much room for where a link leads.
const SHORT_TARGET: usize = 100;

/// Writes trees.
pub(super) struct TarWriter<'a, W: Write> {
    vault: &'a Vault,
    index: &'a Index,
    progress: &'a Progress,
    tar: Builder<W>,
    /// Where files with several names were first: the others become links to that.
    linked: HashMap<(u64, u64), PathBuf>,
    /// What a tar cannot hold.
    left_out: Vec<String>,
}

impl<'a, W: Write> TarWriter<'a, W> {
    pub(super) fn new(vault: &'a Vault, index: &'a Index, progress: &'a Progress, out: W) -> Self {
        Self {
            vault,
            index,
            progress,
            tar: Builder::new(out),
            linked: HashMap::new(),
            left_out: Vec::new(),
        }
    }

    /// Adds an entry and all that is below it.
    pub(super) fn add(&mut self, path: &Path, node: &Node) -> io::Result<()> {
        self.add_one(path, node)?;
        let Some(subtree) = &node.subtree else {
            return Ok(());
        };
        let tree = self.vault.read_tree(self.index, subtree);
        for child in tree.map_err(io::Error::other)?.nodes {
            self.add(&path.join(OsStr::from_bytes(&child.name)), &child)?;
        }
        Ok(())
    }

    /// Writes the end; returns what could not be written at all.
    pub(super) fn finish(self) -> io::Result<(W, Vec<String>)> {
        Ok((self.tar.into_inner()?, self.left_out))
    }

    fn add_one(&mut self, path: &Path, node: &Node) -> io::Result<()> {
        let mut header = header_of(node);
        match node.kind {
            NodeKind::Dir => {
                header.set_entry_type(EntryType::Directory);
                self.append(&mut header, path, node, io::empty())
            }
            NodeKind::File => self.add_file(&mut header, path, node),
            NodeKind::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                self.append_attributes(node)?;
                let target = node.link_target();
                if target.len() <= SHORT_TARGET {
                    // As it is: `./x` and `x//y` are other texts than `x` and `x/y`.
                    header.set_link_name_literal(target)?;
                    return self.tar.append_data(&mut header, path, io::empty());
                }
                let target = Path::new(OsStr::from_bytes(target));
                self.tar.append_link(&mut header, path, target)
            }
            NodeKind::Dev | NodeKind::CharDev => {
                header.set_entry_type(match node.kind {
                    NodeKind::Dev => EntryType::Block,
                    _ => EntryType::Char,
                });
                header.set_device_major(rustix::fs::major(node.device))?;
                header.set_device_minor(rustix::fs::minor(node.device))?;
                self.append(&mut header, path, node, io::empty())
            }
            NodeKind::Fifo => {
                header.set_entry_type(EntryType::Fifo);
                self.append(&mut header, path, node, io::empty())
            }
            NodeKind::Socket | NodeKind::Irregular => {
                let path = path.display();
                self.left_out.push(format!("{path}: a tar holds no socket"));
                Ok(())
            }
        }
    }

    fn add_file(&mut self, header: &mut Header, path: &Path, node: &Node) -> io::Result<()> {
        if node.links > 1 {
            let identity = (node.device_id, node.inode);
            if let Some(first) = self.linked.get(&identity) {
                header.set_entry_type(EntryType::Link);
                let first = first.clone();
                return self.tar.append_link(header, path, &first);
            }
            self.linked.insert(identity, path.to_owned());
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(node.size);
        let content = Exactly {
            content: self.vault.file_reader(self.index, node),
            left: node.size,
        };
        let progress = self.progress;
        self.append(header, path, node, content)?;
        progress.did_bytes(node.size);
        Ok(())
    }

    fn append(
        &mut self,
        header: &mut Header,
        path: &Path,
        node: &Node,
        content: impl Read,
    ) -> io::Result<()> {
        self.append_attributes(node)?;
        self.tar.append_data(header, path, content)
    }

    /// Extended attributes as GNU tar and bsdtar write them, and times below a second.
    fn append_attributes(&mut self, node: &Node) -> io::Result<()> {
        let attributes = node.extended_attributes.iter();
        let mut records: Vec<(String, Vec<u8>)> = attributes
            .map(|one| (format!("SCHILY.xattr.{}", one.name), one.value.clone()))
            .collect();
        let nanoseconds = node.mtime.subsec_nanosecond();
        if nanoseconds > 0 {
            let text = format!("{}.{nanoseconds:09}", node.mtime.as_second());
            records.push(("mtime".to_owned(), text.into_bytes()));
        }
        if records.is_empty() {
            return Ok(());
        }
        let records = records
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        self.tar.append_pax_extensions(records)
    }
}

fn header_of(node: &Node) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(node.unix_mode());
    header.set_uid(u64::from(node.uid));
    header.set_gid(u64::from(node.gid));
    // Names that do not fit are left to the numbers.
    drop(header.set_username(&node.user));
    drop(header.set_groupname(&node.group));
    header.set_mtime(node.mtime.as_second().try_into().unwrap_or(0));
    header.set_size(0);
    header
}

/// A stored file that has less content than it says would shift all that comes behind it.
struct Exactly<R> {
    content: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)? as u64;
        let is_wrong = if count == 0 {
            self.left > 0 && !buffer.is_empty()
        } else {
            count > self.left
        };
        if is_wrong {
            return Err(io::Error::other(
                "a stored file is not as long as its entry says",
            ));
        }
        self.left -= count;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }
}
