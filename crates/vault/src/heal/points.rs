//! Damaged recovery points and key files.

use super::{HealReport, bring::put_aside, sources::Source};
use crate::{
    error::VaultError,
    id::Id,
    set_aside::SetAside,
    snapshot::StoredSnapshot,
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
    for id in damaged_snapshots(vault)? {
        roots.extend(known(vault, sources, &id).map(|stored| stored.tree));
    }
    Ok(roots)
}

pub(super) fn plan(
    vault: &Vault,
    sources: &[Source],
    report: &mut HealReport,
) -> Result<(), VaultError> {
    for id in damaged_snapshots(vault)? {
        match remedy(vault, sources, &id) {
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
    for id in damaged_snapshots(vault)? {
        let object = ObjectKey::of(FileKind::Snapshot, &id);
        match remedy(vault, sources, &id) {
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
fn replace(
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

fn remedy(vault: &Vault, sources: &[Source], id: &Id) -> Option<Remedy> {
    let opens = |bytes: &Vec<u8>| {
        unpacked::parsed::<StoredSnapshot>(&vault.key, FileKind::Snapshot, id, bytes.clone())
            .is_ok()
    };
    let same = same_file(sources, FileKind::Snapshot, id).filter(opens);
    same.map(Remedy::Same).or_else(|| {
        let stored = known(vault, sources, id)?;
        Some(Remedy::Known(Box::new(stored)))
    })
}

/// The recovery point as a source knows it, made ready for this vault.
fn known(vault: &Vault, sources: &[Source], id: &Id) -> Option<StoredSnapshot> {
    let all = sources.iter().flat_map(|source| &source.snapshots);
    let mut is_it = all.filter(|s| s.id == *id || s.stored.original == Some(*id));
    let mut stored = is_it.next()?.stored.clone();
    stored.original = Some(*id);
    // The source's own names of its points say nothing here.
    let is_ours = |parent: &Id| {
        let key = ObjectKey::of(FileKind::Snapshot, parent);
        vault.store.read(&key).is_ok()
    };
    stored.parent = stored.parent.filter(is_ours);
    Some(stored)
}
