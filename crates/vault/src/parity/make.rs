//! Makes the parity of one group.

use super::{
    code::add_member,
    found::{FoundGroup, key_of},
    kind::{self, Kind},
    object::{Checksums, Group, Member, ShardHead},
    plan::Step,
};
use crate::{
    error::VaultError,
    id::Id,
    lock::Lock,
    progress::Progress,
    store::{ObjectKey, StoreErrorKind},
    vault::Vault,
};

/// What a step came to.
#[derive(Default)]
pub(super) struct Made {
    /// The group, if there is one now.
    pub id: Option<Id>,
    /// What is protected now.
    pub members: Vec<String>,
    /// What is not, because it is damaged or gone.
    pub left_out: Vec<String>,
    /// Bytes of files that were read.
    pub read_bytes: u64,
    /// Bytes of parity objects that were written.
    pub written_bytes: u64,
    /// Parity objects that were written.
    pub objects: u64,
}

/// Parity in the making: in memory, all shards of one group.
struct Making {
    group: Group,
    shards: Vec<Vec<u8>>,
}

/// Does a step. Its parity objects are durable when this returns.
pub(super) fn make(
    vault: &Vault,
    lock: &Lock,
    step: &Step,
    groups: &[FoundGroup],
    progress: &Progress,
) -> Result<Made, VaultError> {
    let mut made = Made::default();
    let base = step.base.and_then(|number| groups.get(number));
    let changed = match base {
        Some(base) => change(vault, step, base, progress, &mut made)?,
        None => None,
    };
    let making = match changed {
        Some(making) => making,
        None => anew(vault, step, progress, &mut made)?,
    };
    if making.group.members.is_empty() {
        return Ok(made);
    }
    write(vault, lock, making, &mut made)?;
    Ok(made)
}

/// From the members alone.
fn anew(
    vault: &Vault,
    step: &Step,
    progress: &Progress,
    made: &mut Made,
) -> Result<Making, VaultError> {
    *made = Made {
        read_bytes: made.read_bytes,
        ..Made::default()
    };
    let mut making = Making {
        group: Group {
            data: step.data,
            parity: step.parity,
            block_bytes: step.block_bytes,
            members: Vec::new(),
        },
        shards: vec![Vec::new(); usize::from(step.parity)],
    };
    for (slot, key, bytes) in &step.members {
        making.add(vault, *slot, (key, *bytes), progress, made)?;
    }
    Ok(making)
}

/// From the parity that is there, by those who come and go. `None` if that parity, or a file that goes, is damaged.
fn change(
    vault: &Vault,
    step: &Step,
    base: &FoundGroup,
    progress: &Progress,
    made: &mut Made,
) -> Result<Option<Making>, VaultError> {
    let mut shards = Vec::with_capacity(usize::from(step.parity));
    for shard in &base.shards {
        match shard.body(&*vault.store)? {
            Ok(body) => shards.push(body),
            Err(_) => return Ok(None),
        }
    }
    let mut making = Making {
        group: base.group.clone(),
        shards,
    };
    let stays = |member: &Member| step.members.iter().any(|(_, key, _)| *key == member.key);
    let (stay, go): (Vec<_>, Vec<_>) = base.group.members.iter().cloned().partition(stays);
    making.group.members = stay;
    for member in go {
        match read_member(vault, &member.key)? {
            Some(bytes) if Id::of(&bytes) == member.sha256 => {
                progress.did_bytes(bytes.len() as u64);
                made.read_bytes += bytes.len() as u64;
                add_member(&mut making.shards, member.slot, &bytes);
            }
            _ => return Ok(None),
        }
    }
    made.members
        .extend(making.group.members.iter().map(|m| m.key.clone()));
    for (slot, key, bytes) in &step.members {
        if making.group.member(key).is_none() {
            making.add(vault, *slot, (key, *bytes), progress, made)?;
        }
    }
    Ok(Some(making))
}

impl Making {
    /// Takes a file in, if it is whole.
    fn add(
        &mut self,
        vault: &Vault,
        slot: u8,
        (key, length): (&str, u64),
        progress: &Progress,
        made: &mut Made,
    ) -> Result<(), VaultError> {
        let read = read_member(vault, key)?;
        progress.did_bytes(length);
        let Some(bytes) = read.filter(|bytes| bytes.len() as u64 == length) else {
            made.left_out.push(key.to_owned());
            return Ok(());
        };
        made.read_bytes += length;
        let sha256 = Id::of(&bytes);
        let is_whole = match kind::kind(key) {
            Some(Kind::Pack(id) | Kind::Named(id)) => id == sha256,
            Some(Kind::Wal) => true,
            None => false,
        };
        if !is_whole {
            made.left_out.push(key.to_owned());
            return Ok(());
        }
        let room = bytes
            .len()
            .next_multiple_of(self.group.block_bytes as usize);
        for shard in &mut self.shards {
            shard.resize(shard.len().max(room), 0);
        }
        add_member(&mut self.shards, slot, &bytes);
        self.group.members.push(Member {
            slot,
            key: key.to_owned(),
            bytes: length,
            sha256,
            blocks: Checksums::of(&bytes, self.group.block_bytes),
        });
        made.members.push(key.to_owned());
        Ok(())
    }
}

/// A file; `None` if it is gone or cannot be read.
fn read_member(vault: &Vault, key: &str) -> Result<Option<Vec<u8>>, VaultError> {
    let Some(object) = ObjectKey::parse(key) else {
        return Ok(None);
    };
    match vault.store.read(&object).map_err(VaultError::from) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_damage_or_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(vault: &Vault, lock: &Lock, making: Making, made: &mut Made) -> Result<(), VaultError> {
    let Making { mut group, shards } = making;
    group.members.sort_by_key(|member| member.slot);
    let (id, length) = (group.id()?, group.shard_bytes() as usize);
    made.id = Some(id);
    for (shard, mut body) in (0..).zip(shards) {
        // After the longest member has gone, its part of the parity is nothing.
        body.truncate(length);
        let object = ShardHead::new(&group, shard, &body).object(&body)?;
        drop(body);
        let Some(key) = key_of(&id, shard) else {
            continue;
        };
        lock.ensure_held()?;
        match vault.store.create(&key, &object) {
            // The same group and so the same bytes; or the object is damaged.
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                vault.store.replace(&key, &object)?;
            }
            other => other?,
        }
        made.objects += 1;
        made.written_bytes += object.len() as u64;
    }
    Ok(())
}
