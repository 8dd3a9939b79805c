//! Trees: directory listings as blobs.
//!
//! A tree blob is JSON with nodes sorted by name, and a line feed. Source: restic's design
//! document, "Trees and Data", and its Go types where the document is silent.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{goquote, id::Id};

/// A directory's listing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Tree {
    /// Entries, sorted by the bytes of their names.
    #[serde(deserialize_with = "null_is_empty")]
    pub nodes: Vec<Node>,
}

impl Tree {
    /// The blob's bytes.
    ///
    /// # Errors
    /// Never for nodes that this crate makes.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The entry of this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Node> {
        // Other writers' trees may be out of order, so this is a plain search.
        self.nodes.iter().find(|node| node.name == name)
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A regular file.
    #[default]
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A block device.
    Dev,
    /// A character device.
    CharDev,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Something this program does not know.
    #[serde(other)]
    Irregular,
}

/// One entry of a directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Node {
    /// The name, any bytes but `/` and NUL.
    #[serde(serialize_with = "quoted", deserialize_with = "unquoted")]
    pub name: Vec<u8>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: NodeKind,
    /// Permission and type bits, in the layout of Go's `os.FileMode`; see [`Node::unix_mode`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: u32,
    /// Last change of content.
    #[serde(default)]
    pub mtime: Timestamp,
    /// Last read.
    #[serde(default)]
    pub atime: Timestamp,
    /// Last change of anything.
    #[serde(default)]
    pub ctime: Timestamp,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
    /// Owner's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Group's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Inode number, for telling whether a file is the same one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub inode: u64,
    /// Device number of the file system.
    #[serde(default, skip_serializing_if = "is_default")]
    pub device_id: u64,
    /// Length in bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub size: u64,
    /// Hard links.
    #[serde(default, skip_serializing_if = "is_default")]
    pub links: u64,
    /// A symbolic link's target, where it is text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub linktarget: String,
    /// A symbolic link's target, where it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "base64_bytes")]
    pub linktarget_raw: Vec<u8>,
    /// Extended attributes.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub extended_attributes: Vec<ExtendedAttribute>,
    /// A device file's numbers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub device: u64,
    /// A file's content, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Vec<Id>>,
    /// A directory's tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtree: Option<Id>,
}

/// A named value attached to a file.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ExtendedAttribute {
    /// Its name, with the namespace.
    pub name: String,
    /// Its value.
    #[serde(with = "base64_bytes")]
    pub value: Vec<u8>,
}

const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_PIPE: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHAR_DEVICE: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;

impl Node {
    /// The twelve permission bits as chmod(2) takes them.
    #[must_use]
    pub const fn unix_mode(&self) -> u32 {
        let mut mode = self.mode & 0o777;
        if self.mode & GO_SETUID != 0 {
            mode |= 0o4000;
        }
        if self.mode & GO_SETGID != 0 {
            mode |= 0o2000;
        }
        if self.mode & GO_STICKY != 0 {
            mode |= 0o1000;
        }
        mode
    }

    /// Go's mode for an entry of this kind with these twelve permission bits.
    #[must_use]
    pub const fn go_mode(kind: NodeKind, unix: u32) -> u32 {
        let mut mode = unix & 0o777;
        if unix & 0o4000 != 0 {
            mode |= GO_SETUID;
        }
        if unix & 0o2000 != 0 {
            mode |= GO_SETGID;
        }
        if unix & 0o1000 != 0 {
            mode |= GO_STICKY;
        }
        mode | match kind {
            NodeKind::File | NodeKind::Irregular => 0,
            NodeKind::Dir => GO_DIR,
            NodeKind::Symlink => GO_SYMLINK,
            NodeKind::Dev => GO_DEVICE,
            NodeKind::CharDev => GO_DEVICE | GO_CHAR_DEVICE,
            NodeKind::Fifo => GO_PIPE,
            NodeKind::Socket => GO_SOCKET,
        }
    }

    /// A symbolic link's target as bytes.
    #[must_use]
    pub fn link_target(&self) -> &[u8] {
        if self.linktarget_raw.is_empty() {
            self.linktarget.as_bytes()
        } else {
            &self.linktarget_raw
        }
    }

    /// Sets a symbolic link's target.
    pub fn set_link_target(&mut self, target: &[u8]) {
        match std::str::from_utf8(target) {
            Ok(text) => text.clone_into(&mut self.linktarget),
            Err(_) => {
                self.linktarget = String::from_utf8_lossy(target).into_owned();
                self.linktarget_raw = target.to_vec();
            }
        }
    }

    /// The name for people; bytes that are not text are replaced.
    #[must_use]
    pub fn display_name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

fn quoted<S: Serializer>(name: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&goquote::quote(name))
}

fn unquoted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    goquote::unquote(&text).ok_or_else(|| serde::de::Error::custom("a name with a bad escape"))
}

mod base64_bytes {
    use super::{BASE64, Cow, Deserialize, Deserializer, Engine, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = Option::<Cow<str>>::deserialize(deserializer)?.unwrap_or_default();
        BASE64
            .decode(text.as_bytes())
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_survives_its_bytes() {
        let mut node = Node {
            name: b"a \"b\" \xff\n".to_vec(),
            kind: NodeKind::Symlink,
            mode: Node::go_mode(NodeKind::Symlink, 0o777),
            ..Node::default()
        };
        node.set_link_target(b"\xfe/x");
        let tree = Tree { nodes: vec![node] };
        let bytes = tree.to_bytes().unwrap();
        assert_eq!(bytes.last(), Some(&b'\n'));
        assert_eq!(serde_json::from_slice::<Tree>(&bytes).unwrap(), tree);
    }

    #[test]
    fn modes_are_gos() {
        assert_eq!(Node::go_mode(NodeKind::Dir, 0o700), 2_147_484_096);
        let node = Node {
            mode: Node::go_mode(NodeKind::File, 0o6755),
            ..Node::default()
        };
        assert_eq!(node.unix_mode(), 0o6755);
    }

    #[test]
    fn a_tree_of_restic_reads() {
        let json = r#"{"nodes":[{"name":"x\\n","type":"file","mode":420,
            "mtime":"2026-01-02T03:04:05.123456789+01:00","atime":"2026-01-02T03:04:05+01:00",
            "ctime":"2026-01-02T03:04:05+01:00","uid":0,"gid":0,"user":"root","group":"root",
            "inode":12,"device_id":3,"size":0,"links":1,"content":null}]}"#;
        let tree: Tree = serde_json::from_str(json).unwrap();
        assert_eq!(tree.nodes[0].name, b"x\n");
        assert_eq!(tree.nodes[0].mtime.subsec_nanosecond(), 123_456_789);
        assert_eq!(
            serde_json::from_str::<Tree>(r#"{"nodes":null}"#).unwrap(),
            Tree::default()
        );
    }
}
