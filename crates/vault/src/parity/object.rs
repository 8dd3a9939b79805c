//! A parity object: which files it protects, by what hashes damage in them is found, and the parity itself.
//!
//! ```text
//! head     `RKPARITY`, length of the text (u32), text (JSON), SHA-256 of all that
//! body     the parity blocks of this shard, one for each row
//! tail     text, SHA-256, length, `RKPARITY`: the head again, to be read from the end
//! ```
//!
//! It says nothing that the sealed files do not say, so it is not sealed itself.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::{
    code::{MOST_SHARDS, MOST_SLOTS},
    kind::{self, Class},
};
use crate::{id::Id, store::ObjectKey};

const MAGIC: [u8; 8] = *b"RKPARITY";
const FORMAT: u32 = 1;
/// Magic and length.
const PREFIX: usize = 12;
const DIGEST: usize = 32;
/// A text that says it is longer is not believed: 128 files of 160 MiB take less than 4 MiB.
pub(super) const MOST_TEXT_BYTES: usize = 8 << 20;

/// CRC-32C of each block: finds what is damaged. What was rebuilt is proven by its SHA-256.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Checksums(pub Vec<u32>);

impl Checksums {
    pub fn of(bytes: &[u8], block_bytes: u32) -> Self {
        let blocks = bytes.chunks(block_bytes.max(1) as usize);
        Self(blocks.map(crc32c::crc32c).collect())
    }

    /// Whether this is the block of that number.
    pub fn fits(&self, number: usize, block: &[u8]) -> bool {
        self.0.get(number) == Some(&crc32c::crc32c(block))
    }
}

impl Serialize for Checksums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Checksums {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        let (sums, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(serde::de::Error::custom("part of a checksum"));
        }
        Ok(Self(
            sums.iter().map(|sum| u32::from_le_bytes(*sum)).collect(),
        ))
    }
}

/// A file in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    /// Its number in the code.
    pub slot: u8,
    pub key: String,
    pub bytes: u64,
    pub sha256: Id,
    /// Of its blocks; the last one may be shorter.
    pub blocks: Checksums,
}

impl Member {
    /// Where it lies. Its group was read by [`parse_head`] or made by us, so the key is one.
    pub fn object(&self) -> Option<ObjectKey> {
        ObjectKey::parse(&self.key)
    }
}

/// Files that are protected together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    /// How many members there may be.
    pub data: u8,
    /// How many parity objects there are.
    pub parity: u8,
    pub block_bytes: u32,
    /// In order of their slots.
    pub members: Vec<Member>,
}

impl Group {
    /// Its name: the hash of what it says.
    pub fn id(&self) -> Result<Id, serde_json::Error> {
        Ok(Id::of(&serde_json::to_vec(self)?))
    }

    /// Length of the parity of each shard.
    pub fn shard_bytes(&self) -> u64 {
        let longest = self.members.iter().map(|member| member.bytes).max();
        longest
            .unwrap_or(0)
            .next_multiple_of(u64::from(self.block_bytes.max(1)))
    }

    pub fn member(&self, key: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.key == key)
    }

    /// Whose kind and size all its members are of.
    pub fn class(&self) -> Option<Class> {
        let mut classes = self.members.iter().map(|m| kind::class(&m.key, m.bytes));
        let first = classes.next()??;
        classes.all(|class| class == Some(first)).then_some(first)
    }

    /// Why it cannot be a group, if so.
    fn fault(&self) -> Option<&'static str> {
        if !(1..=MOST_SLOTS).contains(&self.data) || !(1..=MOST_SHARDS).contains(&self.parity) {
            return Some("it has too many members or none");
        }
        if !kind::BLOCK_SIZES.contains(&self.block_bytes) {
            return Some("its blocks have an odd size");
        }
        if !self.members.is_sorted_by(|a, b| a.slot < b.slot) {
            return Some("its members are in no order");
        }
        let is_fine = |member: &Member| {
            let blocks = member.bytes.div_ceil(u64::from(self.block_bytes));
            member.slot < self.data
                && kind::class(&member.key, member.bytes).is_some()
                && member.blocks.0.len() as u64 == blocks
        };
        (!self.members.iter().all(is_fine)).then_some("a member cannot be what it says")
    }
}

/// What a parity object says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardHead {
    pub format: u32,
    /// Which of the group's parity objects it is, from 0.
    pub shard: u8,
    pub group: Group,
    /// Of its own blocks.
    pub blocks: Checksums,
}

/// Why a head cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHead {
    #[error("its head is damaged")]
    Damaged,
    #[error("it was made by a newer version of this program")]
    Newer,
    #[error("{0}")]
    Fault(&'static str),
}

impl ShardHead {
    pub fn new(group: &Group, shard: u8, body: &[u8]) -> Self {
        Self {
            format: FORMAT,
            shard,
            group: group.clone(),
            blocks: Checksums::of(body, group.block_bytes),
        }
    }

    /// The whole object.
    pub fn object(&self, body: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let text = serde_json::to_vec(self)?;
        let length = (text.len() as u32).to_le_bytes();
        let mut object = Vec::with_capacity(2 * frame_bytes(text.len()) + body.len());
        object.extend(MAGIC);
        object.extend(length);
        object.extend(&text);
        let digest = Sha256::digest(&object);
        object.extend(digest);
        object.extend(body);
        object.extend(&text);
        object.extend(digest);
        object.extend(length);
        object.extend(MAGIC);
        Ok(object)
    }
}

/// Length of a head, and of a tail, whose text is so long.
pub(super) const fn frame_bytes(text_bytes: usize) -> usize {
    PREFIX + text_bytes + DIGEST
}

/// Where the body begins, as the first bytes of an object say.
pub(super) fn head_bytes(start: &[u8]) -> Option<usize> {
    let (magic, rest) = start.split_first_chunk::<8>()?;
    let length = u32::from_le_bytes(*rest.first_chunk::<4>()?) as usize;
    (*magic == MAGIC && length <= MOST_TEXT_BYTES).then_some(frame_bytes(length))
}

/// How long the tail is, as the last bytes of an object say.
pub(super) fn tail_bytes(end: &[u8]) -> Option<usize> {
    let (rest, magic) = end.split_last_chunk::<8>()?;
    let length = u32::from_le_bytes(*rest.last_chunk::<4>()?) as usize;
    (*magic == MAGIC && length <= MOST_TEXT_BYTES).then_some(frame_bytes(length))
}

/// Reads a head, which is all of `bytes`.
pub(super) fn parse_head(bytes: &[u8]) -> Result<ShardHead, BadHead> {
    let (rest, digest) = bytes.split_last_chunk::<DIGEST>().ok_or(BadHead::Damaged)?;
    let prefix = rest.get(..PREFIX).ok_or(BadHead::Damaged)?;
    if head_bytes(prefix) != Some(bytes.len()) || *Id::of(rest).as_bytes() != *digest {
        return Err(BadHead::Damaged);
    }
    parse_text(&rest[PREFIX..])
}

/// Reads a tail, which is all of `bytes`.
pub(super) fn parse_tail(bytes: &[u8]) -> Result<ShardHead, BadHead> {
    let text_bytes = bytes
        .len()
        .checked_sub(PREFIX + DIGEST)
        .ok_or(BadHead::Damaged)?;
    let (text, rest) = bytes.split_at(text_bytes);
    let (digest, end) = rest.split_at(DIGEST);
    let mut head = Vec::with_capacity(frame_bytes(text_bytes));
    head.extend(MAGIC);
    head.extend(&end[..4]);
    head.extend(text);
    head.extend(digest);
    if end[4..] != MAGIC {
        return Err(BadHead::Damaged);
    }
    parse_head(&head)
}

fn parse_text(text: &[u8]) -> Result<ShardHead, BadHead> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let version: Version = serde_json::from_slice(text).map_err(|_| BadHead::Damaged)?;
    if version.format != FORMAT {
        return Err(BadHead::Newer);
    }
    let head: ShardHead = serde_json::from_slice(text).map_err(|_| BadHead::Damaged)?;
    if let Some(fault) = head.group.fault() {
        return Err(BadHead::Fault(fault));
    }
    let blocks = head.group.shard_bytes() / u64::from(head.group.block_bytes);
    if head.shard >= head.group.parity || head.blocks.0.len() as u64 != blocks {
        return Err(BadHead::Fault("its number or its length cannot be"));
    }
    Ok(head)
}

/// For fuzzers: whatever an object's bytes are, or those of its text, nothing panics, and what is read is written the
/// same.
pub(crate) fn fuzz(bytes: &[u8]) {
    let head = head_bytes(bytes).and_then(|length| bytes.get(..length));
    let tail = tail_bytes(bytes).and_then(|length| bytes.get(bytes.len().checked_sub(length)?..));
    let heads = [
        head.and_then(|head| parse_head(head).ok()),
        tail.and_then(|tail| parse_tail(tail).ok()),
        parse_text(bytes).ok(),
    ];
    for head in heads.into_iter().flatten() {
        let text = serde_json::to_vec(&head).unwrap_or_default();
        assert_eq!(parse_text(&text).as_ref(), Ok(&head), "a parity object");
        let _ = (head.group.shard_bytes(), head.group.class());
        assert!(
            head.group
                .members
                .iter()
                .all(|member| member.object().is_some())
        );
    }
}

/// The text of an object, for fuzzers to begin with.
pub(crate) fn fuzz_text(object: &[u8]) -> Option<&[u8]> {
    object.get(PREFIX..head_bytes(object)?.checked_sub(DIGEST)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn member(slot: u8, content: &[u8], block_bytes: u32) -> Member {
        let sha256 = Id::of(content);
        Member {
            slot,
            key: format!("index/{sha256}"),
            bytes: content.len() as u64,
            sha256,
            blocks: Checksums::of(content, block_bytes),
        }
    }

    fn object() -> (ShardHead, Vec<u8>) {
        let group = Group {
            data: 20,
            parity: 2,
            block_bytes: 1 << 10,
            members: vec![member(0, b"one", 1 << 10), member(3, b"two", 1 << 10)],
        };
        let head = ShardHead::new(&group, 1, &[7; 1 << 10]);
        let object = head.object(&[7; 1 << 10]).unwrap();
        (head, object)
    }

    #[test]
    fn a_head_is_read_from_either_end() {
        let (head, object) = object();
        let length = head_bytes(&object[..12]).unwrap();
        assert_eq!(tail_bytes(&object[object.len() - 12..]), Some(length));
        assert_eq!(parse_head(&object[..length]).as_ref(), Ok(&head));
        assert_eq!(
            parse_tail(&object[object.len() - length..]).as_ref(),
            Ok(&head)
        );
        assert_eq!(object.len(), 2 * length + (1 << 10));
    }

    #[test]
    fn no_changed_byte_of_a_head_goes_unnoticed() {
        let (_, object) = object();
        let length = head_bytes(&object).unwrap();
        for at in 0..length {
            let mut head = object[..length].to_vec();
            head[at] ^= 0x10;
            assert!(parse_head(&head).is_err(), "{at}");
            let mut tail = object[object.len() - length..].to_vec();
            tail[at] ^= 0x10;
            assert!(parse_tail(&tail).is_err(), "{at}");
        }
    }

    #[test]
    fn a_head_that_would_have_us_write_elsewhere_is_refused() {
        for key in [
            "keys/1",
            "config",
            "../x",
            "index/short",
            "rekindle/keys/wal.age",
        ] {
            let (mut head, _) = object();
            head.group.members[0].key = key.to_owned();
            let object = head.object(&[7; 1 << 10]).unwrap();
            let length = head_bytes(&object).unwrap();
            assert!(
                matches!(parse_head(&object[..length]), Err(BadHead::Fault(_))),
                "{key}"
            );
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let (mut head, _) = object();
        head.format = 2;
        let object = head.object(&[7; 1 << 10]).unwrap();
        let length = head_bytes(&object).unwrap();
        assert_eq!(parse_head(&object[..length]), Err(BadHead::Newer));
    }
}
