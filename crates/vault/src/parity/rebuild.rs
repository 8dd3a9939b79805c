//! Brings back files from parity.

use super::{
    code::Row,
    found::{Found, FoundGroup},
    object::Member,
};
use crate::{
    error::VaultError,
    id::Id,
    store::{Store, StoreErrorKind},
};

/// What became of a file that is damaged or gone.
pub(super) enum Rebuilt {
    /// Its bytes, proven by their SHA-256.
    Whole(Vec<u8>),
    /// Some of its rows have more damaged blocks than parity.
    Beyond(Beyond),
    /// No group has it.
    Unprotected,
}

/// A file of which a part does not come back.
pub(super) struct Beyond {
    /// How many of its blocks are lost.
    pub lost: usize,
    pub of: usize,
    /// The file with zeros for those, if other blocks came back.
    pub better: Option<Vec<u8>>,
}

impl Found {
    /// A file as it was when its parity was made. It is in memory, and one row of its group.
    pub fn rebuild(&self, store: &dyn Store, key: &str) -> Result<Rebuilt, VaultError> {
        let mut outcome = Rebuilt::Unprotected;
        for group in &self.groups {
            let Some(member) = group.group.member(key) else {
                continue;
            };
            match rebuild(store, group, member)? {
                whole @ Rebuilt::Whole(_) => return Ok(whole),
                other => outcome = other,
            }
        }
        Ok(outcome)
    }
}

fn rebuild(store: &dyn Store, group: &FoundGroup, member: &Member) -> Result<Rebuilt, VaultError> {
    let of = member.blocks.0.len();
    let mut bytes = Vec::with_capacity(usize::try_from(member.bytes).unwrap_or(0));
    let (mut lost, mut regained) = (0, 0);
    let whole = read_whole(store, member)?;
    let block_bytes = group.group.block_bytes;
    for row in 0..of {
        let start = row * block_bytes as usize;
        let end = (start + block_bytes as usize).min(usize::try_from(member.bytes).unwrap_or(0));
        let there = match &whole {
            Some(whole) => whole
                .get(start..end)
                .filter(|b| member.blocks.fits(row, b))
                .map(<[u8]>::to_vec),
            None => member.block(store, block_bytes, row)?,
        };
        let block = match there {
            Some(block) => Some(block),
            None => {
                let solved = solve(store, group, member, row)?;
                regained += usize::from(solved.is_some());
                solved
            }
        };
        lost += usize::from(block.is_none());
        bytes.extend(block.into_iter().flatten().take(end - start));
        bytes.resize(end, 0);
    }
    if lost > 0 {
        let better = (regained > 0).then_some(bytes);
        return Ok(Rebuilt::Beyond(Beyond { lost, of, better }));
    }
    if Id::of(&bytes) != member.sha256 {
        // A damaged block whose checksum fits, or a head that lies: nothing of it can be believed.
        let (lost, better) = (of, None);
        return Ok(Rebuilt::Beyond(Beyond { lost, of, better }));
    }
    Ok(Rebuilt::Whole(bytes))
}

/// The file as it lies there; `None` if a part of it cannot be read, so that it is read block by block.
fn read_whole(store: &dyn Store, member: &Member) -> Result<Option<Vec<u8>>, VaultError> {
    let Some(object) = member.object() else {
        return Ok(None);
    };
    match store.read(&object) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Some(Vec::new())),
        Err(error) => match VaultError::from(error) {
            error if error.is_damage_or_missing() => Ok(None),
            error => Err(error),
        },
    }
}

/// The block of a member from the others of its row; `None` if too few are left.
fn solve(
    store: &dyn Store,
    group: &FoundGroup,
    wanted: &Member,
    row: usize,
) -> Result<Option<Vec<u8>>, VaultError> {
    let (mut lost, mut there) = (vec![wanted.slot], Vec::new());
    for member in &group.group.members {
        if member.slot == wanted.slot || row >= member.blocks.0.len() {
            continue;
        }
        match member.block(store, group.group.block_bytes, row)? {
            Some(block) => there.push((member.slot, block)),
            None => lost.push(member.slot),
        }
    }
    let mut parity = Vec::new();
    for shard in &group.shards {
        if parity.len() < lost.len()
            && let Some(block) = shard.block(store, row)?
        {
            parity.push((shard.number, block));
        }
    }
    let Some(mut row) = Row::new(lost, parity) else {
        return Ok(None);
    };
    for (slot, block) in &there {
        row.take_out(*slot, block);
    }
    Ok(row.solve(wanted.slot))
}
