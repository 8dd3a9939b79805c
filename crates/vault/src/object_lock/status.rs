//! What is locked, and what was hidden by whoever could not destroy it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    REQUESTS_AT_ONCE,
    history::{Hiding, History, each_history},
    locks_of,
};
use crate::{
    error::VaultError,
    id::Id,
    store::{LockSupport, ObjectKey, ObjectLocks, Store, StoreError, StoreErrorKind, is_lockable},
    together,
    vault::Vault,
};

/// Of deleted packs so many are asked for their locks, those that were deleted last.
const ASKED_OF_HIDDEN: usize = 1_000;

/// What a place says about locks, and what is hidden in it. Needs no password.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectLockStatus {
    /// Where.
    pub location: String,
    /// The period of the configuration, in days.
    pub days: u16,
    /// Whether the place keeps locks.
    pub is_kept: bool,
    /// What is hidden, by kind.
    pub hidden: Vec<HiddenObjects>,
}

/// Objects of one kind that are hidden in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HiddenObjects {
    /// How.
    pub kind: HiddenKind,
    /// The folder they lie in.
    pub folder: String,
    /// How many.
    pub count: u64,
    /// Some of their names.
    pub some: Vec<String>,
    /// When the first of them was hidden.
    pub first: Timestamp,
    /// When the last of them was.
    pub last: Timestamp,
}

/// How objects are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenKind {
    /// Deleted, as it happens in the life of a vault: forgotten points, packs after a prune, old index files.
    Removed,
    /// Deleted although it is still locked, or is never deleted at all. We wait for the end of a lock: somebody else was it.
    Deleted,
    /// Written over, though it never is.
    Rewritten,
}

impl ObjectLockStatus {
    /// Looks at every version that the store has of the vault.
    ///
    /// # Errors
    /// [`VaultError::NoObjectLocks`] if none are configured; as the store failed.
    pub fn of(store: &dyn Store, now: Timestamp) -> Result<Self, VaultError> {
        let locks = locks_of(store)?;
        let is_kept = locks.support()? == LockSupport::On;
        Ok(Self {
            location: store.location(),
            days: locks.period().days(),
            is_kept,
            hidden: if is_kept {
                hidden(store, locks, now)?
            } else {
                Vec::new()
            },
        })
    }

    /// Whether somebody deleted or overwrote what must not be.
    #[must_use]
    pub fn is_tampered(&self) -> bool {
        self.tampering().next().is_some()
    }

    /// What somebody deleted or overwrote.
    pub fn tampering(&self) -> impl Iterator<Item = &HiddenObjects> {
        let is_bad = |hidden: &&HiddenObjects| hidden.kind != HiddenKind::Removed;
        self.hidden.iter().filter(is_bad)
    }
}

struct Found {
    key: ObjectKey,
    since: Timestamp,
    hiding: Hiding,
    /// The version below, and the hash of its content if that is its name.
    version: String,
    id: Option<Id>,
}

fn hidden(
    store: &dyn Store,
    locks: &dyn ObjectLocks,
    now: Timestamp,
) -> Result<Vec<HiddenObjects>, VaultError> {
    let mut found = Vec::new();
    each_history(locks, &mut |history| found.extend(look(&history)))?;
    // The newest first: these are asked for.
    found.sort_by(|a, b| (b.since, &a.key).cmp(&(a.since, &b.key)));
    let (packs, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| {
        found.hiding == Hiding::Deleted && found.key.as_str().starts_with("data/")
    });
    let mut groups = Groups::default();
    for (number, result) in judge_packs(locks, &packs, now)?.into_iter().enumerate() {
        groups.add(&packs[number], result);
    }
    let kinds = together::each_of(REQUESTS_AT_ONCE, &rest, |found| judge(locks, found));
    for (found, kind) in rest.iter().zip(kinds) {
        if let Some(kind) = kind? {
            groups.add(found, kind);
        }
    }
    let mut hidden: Vec<HiddenObjects> = groups.0.into_values().collect();
    for group in &mut hidden {
        // Some are removed in the life of a vault, and never all.
        let is_emptied = ["keys", "snapshots"].contains(&group.folder.as_str())
            && group.kind == HiddenKind::Removed
            && store.list(&group.folder)?.is_empty();
        if is_emptied {
            group.kind = HiddenKind::Deleted;
        }
    }
    Ok(hidden)
}

fn look(history: &History) -> Option<Found> {
    if !is_lockable(&history.key) {
        return None;
    }
    let (hiding, since) = history.hiding()?;
    let mut contents = history.versions.iter().filter(|version| !version.is_marker);
    let version = match hiding {
        Hiding::Deleted => contents.next()?,
        Hiding::Rewritten => contents.next_back()?,
    };
    Some(Found {
        key: history.key.clone(),
        since,
        hiding,
        version: version.id.clone(),
        id: history.content_id(),
    })
}

/// A prune removes packs when their locks are over, and nobody else may.
fn judge_packs(
    locks: &dyn ObjectLocks,
    packs: &[Found],
    now: Timestamp,
) -> Result<Vec<HiddenKind>, StoreError> {
    let asked = &packs[..packs.len().min(ASKED_OF_HIDDEN)];
    let ends = together::each_of(REQUESTS_AT_ONCE, asked, |found| {
        locks.locked_until(&found.key, Some(&found.version))
    });
    let kind = |end: Result<Option<Timestamp>, StoreError>| match end {
        Ok(Some(end)) if end > now => Ok(HiddenKind::Deleted),
        Ok(_) => Ok(HiddenKind::Removed),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(HiddenKind::Removed),
        Err(error) => Err(error),
    };
    let mut kinds = ends.into_iter().map(kind).collect::<Result<Vec<_>, _>>()?;
    kinds.resize(packs.len(), HiddenKind::Removed);
    Ok(kinds)
}

/// `None` if it is right after all.
fn judge(locks: &dyn ObjectLocks, found: &Found) -> Result<Option<HiddenKind>, StoreError> {
    if found.hiding == Hiding::Deleted {
        let is_doorway = found.key.as_str() == "config";
        return Ok(Some(match is_doorway {
            true => HiddenKind::Deleted,
            false => HiddenKind::Removed,
        }));
    }
    let Some(now) = seen(locks, found)? else {
        return Ok(None);
    };
    let is_right = match &found.id {
        Some(id) => Id::of(&now) == *id,
        None => locks.read_version(&found.key, &found.version)? == now,
    };
    Ok((!is_right).then_some(HiddenKind::Rewritten))
}

/// What readers see; `None` if it was deleted just now.
fn seen(locks: &dyn ObjectLocks, found: &Found) -> Result<Option<Vec<u8>>, StoreError> {
    let page = locks.versions(found.key.as_str(), None)?;
    let newest = page.versions.iter().find(|version| version.is_latest);
    match newest.filter(|version| !version.is_marker) {
        Some(version) => locks.read_version(&found.key, &version.id).map(Some),
        None => Ok(None),
    }
}

/// Names that are told of each group.
const NAMES_TOLD: usize = 3;

#[derive(Default)]
struct Groups(BTreeMap<(HiddenKind, String), HiddenObjects>);

impl Groups {
    fn add(&mut self, found: &Found, kind: HiddenKind) {
        let key = found.key.as_str();
        let depth = if key.starts_with("rekindle/") { 2 } else { 1 };
        let folder = key.split('/').take(depth).collect::<Vec<_>>().join("/");
        let group = self.0.entry((kind, folder.clone()));
        let group = group.or_insert_with(|| HiddenObjects {
            kind,
            folder,
            count: 0,
            some: Vec::new(),
            first: found.since,
            last: found.since,
        });
        group.count += 1;
        group.first = group.first.min(found.since);
        group.last = group.last.max(found.since);
        if group.some.len() < NAMES_TOLD {
            group.some.push(key.to_owned());
        }
    }
}

/// The locks of what a vault needs, asked of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LockStatus {
    /// Objects that are needed.
    pub needed: u64,
    /// How many of them were asked for.
    pub asked: u64,
    /// Of those: how many have no lock.
    pub unlocked: u64,
    /// How many have one that ends sooner than promised.
    pub short: u64,
    /// Needed and not there.
    pub missing: u64,
    /// The first end of a lock.
    pub earliest: Option<Timestamp>,
}

impl Vault {
    /// Asks the store for the locks of what is needed: of each object, or of `most` that are spread evenly.
    ///
    /// # Errors
    /// [`VaultError::NoObjectLocks`] if none are configured; as the store failed, or the index cannot be read.
    pub fn object_lock_status(
        &self,
        most: Option<usize>,
        now: Timestamp,
    ) -> Result<LockStatus, VaultError> {
        let locks = locks_of(&*self.store)?;
        let mut needed = self.needed_objects()?;
        if let Some(error) = needed.unreadable.pop() {
            return Err(error);
        }
        let objects = needed.objects;
        let step = most.map_or(1, |most| objects.len().div_ceil(most.max(1)).max(1));
        let asked: Vec<&ObjectKey> = objects.iter().step_by(step).collect();
        let mut status = LockStatus {
            needed: objects.len() as u64,
            asked: asked.len() as u64,
            ..LockStatus::default()
        };
        let ends = together::each_of(REQUESTS_AT_ONCE, &asked, |key| {
            locks.locked_until(key, None)
        });
        for end in ends {
            match end {
                Ok(None) => status.unlocked += 1,
                Ok(Some(end)) => {
                    status.short += u64::from(locks.period().is_broken(end, now));
                    let earliest = status.earliest.map_or(end, |earliest| earliest.min(end));
                    status.earliest = Some(earliest);
                }
                Err(error) if error.kind == StoreErrorKind::NotFound => status.missing += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(status)
    }
}
