//! Damaged recovery points and key files.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

use super::{HealReport, bring::put_aside, sources::Source};
use crate::{
    error::VaultError,
    hold::{Hold, HoldScope},
    id::Id,
    set_aside::SetAside,
    snapshot::{Snapshot, StoredSnapshot},
    store::{FileKind, ObjectKey},
    unpacked,
    vault::Vault,
};

/// Where a damaged recovery point can be had.
enum Remedy {
    /// The file itself, byte for byte.
    Same(Vec<u8>),
    /// The same point in a vault with other keys.
    Known(Box<StoredSnapshot>),
}

/// The root trees of all recovery points that can be read, and of those that a source knows.
pub(super) fn roots(vault: &Vault, sources: &[Source]) -> Result<Vec<Id>, VaultError> {
    let (snapshots, _) = vault.readable_snapshots()?;
    let mut roots: Vec<Id> = snapshots.iter().map(|s| s.stored.tree).collect();
    for (_, remedy) in remedies(vault, sources)? {
        if let Some(Remedy::Known(stored)) = remedy {
            roots.push(stored.tree);
        }
    }
    Ok(roots)
}

pub(super) fn plan(
    vault: &Vault,
    sources: &[Source],
    report: &mut HealReport,
) -> Result<(), VaultError> {
    for (id, remedy) in remedies(vault, sources)? {
        match remedy {
            Some(_) => report.points_healed.push((id, id)),
            None => report.points_lost.push(id),
        }
    }
    for id in damaged_keys(vault)? {
        match same_file(sources, FileKind::Key, &id) {
            Some(_) => report.keys_healed.push(id),
            None => report.keys_lost.push(id),
        }
    }
    Ok(())
}

pub(super) fn run(
    vault: &Vault,
    sources: &[Source],
    aside: &SetAside,
    report: &mut HealReport,
) -> Result<(), VaultError> {
    for (id, remedy) in remedies(vault, sources)? {
        let object = ObjectKey::of(FileKind::Snapshot, &id);
        match remedy {
            Some(Remedy::Same(bytes)) => {
                report.points_healed.push((id, id));
                replace(vault, aside, &object, &bytes, report)?;
            }
            Some(Remedy::Known(stored)) => {
                let kind = FileKind::Snapshot;
                let new = unpacked::save(&*vault.store, &vault.key, kind, &*stored)?;
                report.points_healed.push((id, new));
                put_aside(vault, aside, &object, report)?;
            }
            None => report.points_lost.push(id),
        }
    }
    for id in damaged_keys(vault)? {
        match same_file(sources, FileKind::Key, &id) {
            Some(bytes) => {
                report.keys_healed.push(id);
                let object = ObjectKey::of(FileKind::Key, &id);
                replace(vault, aside, &object, &bytes, report)?;
            }
            None => report.keys_lost.push(id),
        }
    }
    Ok(())
}

/// Puts the right bytes in the place of damaged ones, which are set aside. A reader finds the one or the other.
pub(crate) fn replace(
    vault: &Vault,
    aside: &SetAside,
    object: &ObjectKey,
    bytes: &[u8],
    report: &mut HealReport,
) -> Result<(), VaultError> {
    let copied = match aside.copy(&*vault.store, object) {
        Ok(copied) => copied,
        // What cannot be read cannot be kept, and is worth nothing.
        Err(error) if error.is_damage_or_missing() => None,
        Err(error) => return Err(error),
    };
    report.set_aside.extend(copied.map(|key| key.to_string()));
    Ok(vault.store.replace(object, bytes)?)
}

fn damaged_snapshots(vault: &Vault) -> Result<Vec<Id>, VaultError> {
    let mut damaged = Vec::new();
    for id in vault.list_ids(FileKind::Snapshot)? {
        let kind = FileKind::Snapshot;
        match unpacked::load::<StoredSnapshot>(&*vault.store, &vault.key, kind, &id) {
            Err(error) if error.is_not_found() => {}
            Err(error) if error.is_damage_or_missing() => damaged.push(id),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Ok(damaged)
}

/// Key files whose bytes are not what their names say.
fn damaged_keys(vault: &Vault) -> Result<Vec<Id>, VaultError> {
    let mut damaged = Vec::new();
    for id in vault.list_ids(FileKind::Key)? {
        match vault.store.read(&ObjectKey::of(FileKind::Key, &id)) {
            Ok(bytes) if Id::of(&bytes) == id => {}
            Ok(_) => damaged.push(id),
            Err(error) => {
                let error = VaultError::from(error);
                if !error.is_damage_or_missing() {
                    return Err(error);
                }
                damaged.extend((!error.is_not_found()).then_some(id));
            }
        }
    }
    Ok(damaged)
}

fn same_file(sources: &[Source], kind: FileKind, id: &Id) -> Option<Vec<u8>> {
    sources.iter().find_map(|source| source.same_file(kind, id))
}

/// For each damaged recovery point, what can be put in its place.
fn remedies(vault: &Vault, sources: &[Source]) -> Result<Vec<(Id, Option<Remedy>)>, VaultError> {
    let damaged = damaged_snapshots(vault)?;
    if damaged.is_empty() {
        return Ok(Vec::new());
    }
    let holds = vault.holds()?.all;
    let mut missed = held_and_missed(vault, &holds, sources)?;
    let remedy = |id: Id| {
        let same = same_snapshot(vault, sources, &id).map(Remedy::Same);
        let known = || {
            let mut stored = known(sources, &id).or_else(|| missed.pop())?;
            fit(vault, &holds, &mut stored);
            Some(Remedy::Known(Box::new(stored)))
        };
        (id, same.or_else(known))
    };
    Ok(damaged.into_iter().map(remedy).collect())
}

fn same_snapshot(vault: &Vault, sources: &[Source], id: &Id) -> Option<Vec<u8>> {
    let kind = FileKind::Snapshot;
    let opens = |bytes: &Vec<u8>| {
        unpacked::parsed::<StoredSnapshot>(&vault.key, kind, id, bytes.clone()).is_ok()
    };
    same_file(sources, kind, id).filter(opens)
}

/// The recovery point as a source knows it.
fn known(sources: &[Source], id: &Id) -> Option<StoredSnapshot> {
    let all = sources.iter().flat_map(|source| &source.snapshots);
    let mut is_it = all.filter(|s| s.id == *id || s.stored.original == Some(*id));
    let mut stored = is_it.next()?.stored.clone();
    stored.original = Some(*id);
    Some(stored)
}

/// Points that a hold of this vault keeps by their lasting ids, that are not among those that can be
/// read, and that a source has. A point whose tags were changed, as a hold does it, has another id
/// than in any copy; but what is under a hold was not forgotten, so what is missed of it is among
/// the damaged.
fn held_and_missed(
    vault: &Vault,
    holds: &[Hold],
    sources: &[Source],
) -> Result<Vec<StoredSnapshot>, VaultError> {
    let (snapshots, _) = vault.readable_snapshots()?;
    let there: HashSet<Id> = snapshots
        .iter()
        .flat_map(|snapshot| [snapshot.id, snapshot.lasting_id()])
        .collect();
    let now = Timestamp::now();
    let held = holds.iter().filter(|hold| !hold.is_over(now));
    let held: BTreeSet<Id> = held
        .filter_map(|hold| match hold.scope {
            HoldScope::Point(id) => Some(id),
            HoldScope::All | HoldScope::Below(_) => None,
        })
        .collect();
    let missed = held.iter().filter(|id| !there.contains(id));
    Ok(missed.filter_map(|id| known(sources, id)).collect())
}

/// Makes a point of a source ready for this vault: with the tags of the holds that are on it here.
fn fit(vault: &Vault, holds: &[Hold], stored: &mut StoredSnapshot) {
    // The source's own names of its points say nothing here.
    let is_ours = |parent: &Id| {
        let key = ObjectKey::of(FileKind::Snapshot, parent);
        vault.store.read(&key).is_ok()
    };
    stored.parent = stored.parent.filter(is_ours);
    let Some(id) = stored.original else { return };
    let now = Timestamp::now();
    let snapshot = Snapshot {
        id,
        stored: stored.clone(),
    };
    let on_it = holds.iter().filter(|hold| {
        hold.scope != HoldScope::All && !hold.is_over(now) && hold.covers(&snapshot)
    });
    for tag in on_it.map(Hold::tag) {
        if !stored.tags.contains(&tag) {
            stored.tags.push(tag);
        }
    }
}
