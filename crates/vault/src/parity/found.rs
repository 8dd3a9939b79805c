//! The groups that lie in a vault, and their blocks.

use std::collections::BTreeMap;

use super::object::{
    BadHead, Checksums, Group, Member, ShardHead, frame_bytes, head_bytes, parse_head, parse_tail,
    tail_bytes,
};
use crate::{
    error::VaultError,
    id::Id,
    store::{ObjectKey, Store, StoreErrorKind},
    together,
};

pub(super) const FOLDER: &str = "rekindle/parity";
/// Parity objects lie here, beside nothing else.
pub(super) const GROUPS: &str = "rekindle/parity/groups";

/// Most heads fit into so much, so that one read is enough.
const FIRST_READ: u64 = 64 << 10;
/// Heads that are in memory at a time while they are read.
const HEADS_AT_ONCE: usize = 64;

/// The parity object of this group and number.
pub(super) fn key_of(group: &Id, shard: u8) -> Option<ObjectKey> {
    ObjectKey::parse(&format!("{GROUPS}/{group}-{shard}"))
}

/// A parity object that is there and says what it is.
pub(super) struct Shard {
    pub key: ObjectKey,
    pub size_bytes: u64,
    /// Which of its group's parity objects it is.
    pub number: u8,
    group: Id,
    block_bytes: u32,
    /// Of its own blocks.
    blocks: Checksums,
    /// Where its body begins.
    body: u64,
    /// What is wrong with it, as far as was looked.
    pub fault: Option<String>,
}

/// A group as it lies there.
pub(super) struct FoundGroup {
    pub id: Id,
    pub group: Group,
    /// Those that are there, in order of their numbers.
    pub shards: Vec<Shard>,
}

/// All parity of a vault.
#[derive(Default)]
pub(super) struct Found {
    /// In order of their ids.
    pub groups: Vec<FoundGroup>,
    /// Objects of which not even the head can be read, and why. They are not of a newer version.
    pub unreadable: Vec<(ObjectKey, String)>,
    /// Objects that only a newer version understands.
    pub newer: Vec<ObjectKey>,
    /// Length of all objects.
    pub bytes: u64,
}

impl Found {
    /// Reads the heads of all parity objects. Damage is in what is returned.
    pub fn load(store: &dyn Store) -> Result<Self, VaultError> {
        let listed = store.list(GROUPS)?;
        let mut found = Self::default();
        // All objects of a group say the same of it, so it is kept once.
        let mut groups: BTreeMap<Id, FoundGroup> = BTreeMap::new();
        for some in listed.chunks(HEADS_AT_ONCE) {
            let heads = together::each(some, |object| {
                Shard::read(store, &object.key, object.size_bytes)
            });
            for (object, shard) in some.iter().zip(heads) {
                found.bytes += object.size_bytes;
                match shard? {
                    ReadHead::Shard(group, shard) => {
                        let id = shard.group;
                        let shards = Vec::new();
                        let known = groups.entry(id);
                        let known = known.or_insert_with(|| FoundGroup { id, group, shards });
                        known.shards.push(shard);
                    }
                    ReadHead::Newer => found.newer.push(object.key.clone()),
                    ReadHead::Unreadable(why) => found.unreadable.push((object.key.clone(), why)),
                    ReadHead::Gone => {}
                }
            }
        }
        found.groups = groups.into_values().collect();
        for group in &mut found.groups {
            group.shards.sort_by_key(|shard| shard.number);
        }
        Ok(found)
    }
}

#[allow(clippy::large_enum_variant, reason = "nearly all are of this variant")]
enum ReadHead {
    Shard(Group, Shard),
    Unreadable(String),
    Newer,
    Gone,
}

impl Shard {
    fn read(store: &dyn Store, key: &ObjectKey, size: u64) -> Result<ReadHead, VaultError> {
        let head = read_frame(store, key, size, End::Head);
        let (head, fault) = match head {
            Ok(head) => (Ok(head), None),
            Err(Unread::Bad(BadHead::Newer)) => return Ok(ReadHead::Newer),
            Err(Unread::Bad(bad)) => {
                let tail = read_frame(store, key, size, End::Tail);
                (tail, Some(bad.to_string()))
            }
            Err(other) => (Err(other), None),
        };
        let head = match head {
            Ok(head) => head,
            Err(Unread::Bad(BadHead::Newer)) => return Ok(ReadHead::Newer),
            Err(Unread::Bad(bad)) => return Ok(ReadHead::Unreadable(bad.to_string())),
            Err(Unread::Gone) => return Ok(ReadHead::Gone),
            Err(Unread::Failed(error)) => return Err(error),
        };
        let id = head.group.id()?;
        if key_of(&id, head.shard).as_ref() != Some(key) {
            return Ok(ReadHead::Unreadable(
                "its name is not what it says".to_owned(),
            ));
        }
        let body = frame_bytes(serde_json::to_vec(&head)?.len()) as u64;
        let whole = 2 * body + head.group.shard_bytes();
        let fault = fault
            .or_else(|| (size != whole).then(|| format!("{size} bytes, and {whole} are expected")));
        let shard = Self {
            key: key.clone(),
            size_bytes: size,
            number: head.shard,
            group: id,
            block_bytes: head.group.block_bytes,
            blocks: head.blocks,
            body,
            fault,
        };
        Ok(ReadHead::Shard(head.group, shard))
    }

    /// The block of this row; `None` if it is damaged or gone.
    pub fn block(&self, store: &dyn Store, row: usize) -> Result<Option<Vec<u8>>, VaultError> {
        let length = self.block_bytes;
        let offset = self.body + row as u64 * u64::from(length);
        let block = read_part(store, &self.key, offset, u64::from(length))?;
        Ok(block.filter(|block| self.blocks.fits(row, block)))
    }

    /// The whole parity of this shard, verified; why not, if it is damaged.
    pub fn body(&self, store: &dyn Store) -> Result<Result<Vec<u8>, String>, VaultError> {
        if let Some(fault) = &self.fault {
            return Ok(Err(fault.clone()));
        }
        let mut bytes = match store.read(&self.key).map_err(VaultError::from) {
            Ok(bytes) => bytes,
            Err(error) if error.is_damage_or_missing() => return Ok(Err(error.in_full())),
            Err(error) => return Err(error),
        };
        let (Some(head), body) = (tail_bytes(&bytes), self.body as usize) else {
            return Ok(Err("its tail is damaged".to_owned()));
        };
        if bytes.len() as u64 != self.size_bytes || head != body {
            return Ok(Err("its tail is damaged".to_owned()));
        }
        if !self.says(&parse_tail(&bytes[bytes.len() - head..]))? {
            return Ok(Err("its tail is damaged".to_owned()));
        }
        bytes.truncate(bytes.len() - head);
        bytes.drain(..body);
        let length = self.block_bytes as usize;
        let mut blocks = bytes.chunks(length).enumerate();
        let damaged = blocks.find(|(row, block)| !self.blocks.fits(*row, block));
        Ok(match damaged {
            Some((row, _)) => Err(format!("its block {row} is damaged")),
            None => Ok(bytes),
        })
    }

    /// Whether a tail says what the head said.
    fn says(&self, tail: &Result<ShardHead, BadHead>) -> Result<bool, VaultError> {
        let Ok(tail) = tail else {
            return Ok(false);
        };
        let is_same = tail.shard == self.number && tail.blocks == self.blocks;
        Ok(is_same && tail.group.id()? == self.group)
    }
}

impl FoundGroup {
    /// Whether all its parity is there and sound, as far as was looked.
    pub fn is_sound(&self) -> bool {
        self.shards.len() == usize::from(self.group.parity)
            && self.shards.iter().all(|shard| shard.fault.is_none())
    }
}

impl Member {
    /// The block of this row as it lies there; `None` if it is damaged or gone.
    pub fn block(
        &self,
        store: &dyn Store,
        block_bytes: u32,
        row: usize,
    ) -> Result<Option<Vec<u8>>, VaultError> {
        let offset = row as u64 * u64::from(block_bytes);
        let length = u64::from(block_bytes).min(self.bytes.saturating_sub(offset));
        let Some(object) = self.object() else {
            return Ok(None);
        };
        let block = read_part(store, &object, offset, length)?;
        Ok(block.filter(|block| self.blocks.fits(row, block)))
    }
}

/// A part of an object; `None` if the object ends before it, is gone, or lies on a bad place of the disk.
fn read_part(
    store: &dyn Store,
    key: &ObjectKey,
    offset: u64,
    length: u64,
) -> Result<Option<Vec<u8>>, VaultError> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    match store
        .read_range(key, offset, &mut bytes)
        .map_err(VaultError::from)
    {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.is_damage_or_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Clone, Copy)]
enum End {
    Head,
    Tail,
}

enum Unread {
    Bad(BadHead),
    Gone,
    Failed(VaultError),
}

/// The head or the tail of an object of this size.
fn read_frame(
    store: &dyn Store,
    key: &ObjectKey,
    size: u64,
    end: End,
) -> Result<ShardHead, Unread> {
    let read = |length: u64| {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let offset = match end {
            End::Head => 0,
            End::Tail => size - length,
        };
        match store.read_range(key, offset, &mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind == StoreErrorKind::NotFound => Err(Unread::Gone),
            Err(error) => Err(match VaultError::from(error) {
                error if error.is_damage_or_missing() => Unread::Bad(BadHead::Damaged),
                error => Unread::Failed(error),
            }),
        }
    };
    let mut bytes = read(size.min(FIRST_READ))?;
    let length = match end {
        End::Head => head_bytes(&bytes),
        End::Tail => tail_bytes(&bytes),
    };
    let length = length.filter(|length| *length as u64 <= size);
    let length = length.ok_or(Unread::Bad(BadHead::Damaged))?;
    if length > bytes.len() {
        bytes = read(length as u64)?;
    }
    let parsed = match end {
        End::Head => parse_head(&bytes[..length]),
        End::Tail => parse_tail(&bytes[bytes.len() - length..]),
    };
    parsed.map_err(Unread::Bad)
}
