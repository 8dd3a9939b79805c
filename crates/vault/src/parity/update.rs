//! Brings the parity of a vault up to what is stored.
//!
//! The order is always: a new group is durable, then the one that it replaces is removed, and that only if all that
//! counts of its members is in another group. Whatever interrupts this leaves too much parity, and never too little.
//!
//! Another update may be at work, for another scheme even, and about to remove the very group that we count on. A group of
//! our own making may be counted on: whoever removes it has made a newer one. On any other only who is alone in the vault
//! counts: whoever comes later sees our lock, and counts on none but his own.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    thread,
    time::Duration,
};

use serde::Serialize;

use super::{
    found::{FOLDER, Found, FoundGroup, GROUPS},
    kind,
    make::{self, Made},
    plan::{self, Facts, KnownGroup, Plan},
    scheme::ParityScheme,
    there::There,
};
use crate::{
    error::VaultError,
    id::Id,
    lock::{Lock, LockMode},
    progress::Progress,
    store::{FileKind, ObjectKey, StoreErrorKind},
    together,
    vault::Vault,
};

/// Groups made at a time at most: each takes the room of its parity and of one pack.
const MOST_THREADS: usize = 4;

/// How long to wait for whoever is alone in the vault: the last part of a prune takes seconds.
const WAIT: Duration = Duration::from_secs(2 * 60);

/// What an update did, or would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ParityReport {
    /// Groups that were made, or made anew.
    pub groups_made: u64,
    /// Groups that were removed.
    pub groups_removed: u64,
    /// Bytes of files that were read.
    pub read_bytes: u64,
    /// Bytes of parity objects that were written.
    pub written_bytes: u64,
    /// Files that are not protected because they are damaged or gone. Groups that may bring them back stay.
    pub left_out: Vec<String>,
    /// Files that are not protected because they are too long.
    pub too_long: Vec<String>,
}

/// What an update is to know beyond what lies in the vault.
#[derive(Default)]
pub(crate) struct Known {
    /// Packs that are about to be removed.
    pub leaving: HashSet<Id>,
    /// Files that were rightly written anew.
    pub changed: HashSet<String>,
    /// Groups whose parity is damaged.
    pub damaged: HashSet<Id>,
}

impl Vault {
    /// Protects what is not protected, and gives up what protects nothing any more. May be interrupted at any time, and
    /// is then gone on with.
    ///
    /// Its lock is shared: nothing that it reads may be removed meanwhile, and backups go on.
    ///
    /// # Errors
    /// [`VaultError::Locked`], or as the store failed. No file lost protection then.
    pub fn update_parity(
        &self,
        scheme: ParityScheme,
        progress: &Arc<Progress>,
    ) -> Result<ParityReport, VaultError> {
        let vault = self.without_cache();
        let lock = vault.lock_within(LockMode::Shared, WAIT)?;
        vault.update_parity_under(&lock, scheme, &Known::default(), progress)
    }

    /// Says what [`Vault::update_parity`] would do: bytes are those that would be read and written. Changes nothing.
    ///
    /// # Errors
    /// As [`Vault::update_parity`].
    pub fn plan_parity(&self, scheme: ParityScheme) -> Result<ParityReport, VaultError> {
        let vault = self.without_cache();
        let _lock = vault.lock_for_reading()?;
        let (found, there) = (Found::load(&*vault.store)?, There::look(&vault)?);
        let (plan, _) = decide(&found, &there, scheme, &Known::default());
        let mut report = ParityReport {
            groups_made: plan.steps.len() as u64,
            groups_removed: plan.replaced.len() as u64,
            too_long: plan.too_long.clone(),
            ..ParityReport::default()
        };
        for step in &plan.steps {
            let longest = step
                .members
                .iter()
                .map(|member| member.2)
                .max()
                .unwrap_or(0);
            report.written_bytes += longest * u64::from(step.parity);
            report.read_bytes += bytes_to_read(step, &found.groups);
        }
        Ok(report)
    }

    /// As [`Vault::update_parity`], under a lock of the caller's.
    pub(crate) fn update_parity_under(
        &self,
        lock: &Lock,
        scheme: ParityScheme,
        known: &Known,
        progress: &Progress,
    ) -> Result<ParityReport, VaultError> {
        self.mirror_config()?;
        let (found, there) = (Found::load(&*self.store)?, There::look(self)?);
        let (plan, living) = decide(&found, &there, scheme, known);
        let bytes = plan
            .steps
            .iter()
            .map(|step| bytes_to_read(step, &found.groups));
        progress.expect_bytes(bytes.sum());
        let threads = thread::available_parallelism().map_or(2, usize::from);
        let outcomes = together::each_of(threads.min(MOST_THREADS), &plan.steps, |step| {
            make::make(self, lock, step, &found.groups, progress)
        });
        let mut report = ParityReport {
            too_long: plan.too_long.clone(),
            ..ParityReport::default()
        };
        let (mut ours, mut ids) = (HashSet::new(), HashSet::new());
        for made in outcomes {
            let made = made?;
            ids.extend(made.id);
            report.take(made, &mut ours);
        }
        let is_alone = lock.is_alone()?;
        let mut of_others = HashSet::new();
        for kept in plan
            .kept
            .iter()
            .filter_map(|number| found.groups.get(*number))
        {
            of_others.extend(kept.group.members.iter().map(|member| &*member.key));
        }
        for group in plan
            .replaced
            .iter()
            .filter_map(|number| found.groups.get(*number))
        {
            let members = group.group.members.iter().map(|member| &*member.key);
            let not_ours: Vec<_> = members
                .filter(|key| living.contains(*key) && !ours.contains(*key))
                .collect();
            let is_needed = not_ours.iter().any(|key| !of_others.contains(key));
            // Made anew of the same members, a group has the same name.
            if is_needed || ids.contains(&group.id) {
                continue;
            }
            if !not_ours.is_empty() && !is_alone {
                continue;
            }
            lock.ensure_held()?;
            self.remove_replaced(group)?;
            report.groups_removed += 1;
        }
        Ok(report)
    }

    fn remove_replaced(&self, group: &FoundGroup) -> Result<(), VaultError> {
        for shard in &group.shards {
            delete(self, &shard.key)?;
        }
        Ok(())
    }

    /// Removes all parity. Returns how many objects there were.
    ///
    /// # Errors
    /// [`VaultError::Locked`], or as the store failed.
    pub fn remove_parity(&self) -> Result<u64, VaultError> {
        // Alone, so that nobody is making what is removed.
        let lock = self.lock(LockMode::Exclusive)?;
        let mut removed = 0;
        for object in self.store.list(FOLDER)? {
            lock.ensure_held()?;
            delete(self, &object.key)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// The scheme of the parity that is there, if there is some.
    ///
    /// # Errors
    /// As the store failed.
    pub fn parity_scheme(&self) -> Result<Option<ParityScheme>, VaultError> {
        if self.store.list(GROUPS)?.is_empty() {
            return Ok(None);
        }
        Ok(Found::load(&*self.store)?.scheme())
    }
}

impl ParityReport {
    fn take(&mut self, made: Made, covered: &mut HashSet<String>) {
        self.groups_made += u64::from(made.objects > 0);
        self.read_bytes += made.read_bytes;
        self.written_bytes += made.written_bytes;
        self.left_out.extend(made.left_out);
        covered.extend(made.members);
    }

    /// Whether there was nothing to do.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.groups_made == 0 && self.groups_removed == 0
    }
}

impl Found {
    /// The scheme of most groups.
    pub fn scheme(&self) -> Option<ParityScheme> {
        let mut counts: BTreeMap<(u8, u8), usize> = BTreeMap::new();
        for found in &self.groups {
            *counts
                .entry((found.group.data, found.group.parity))
                .or_default() += 1;
        }
        let (data, parity) = counts.into_iter().max_by_key(|(_, count)| *count)?.0;
        ParityScheme::new(data, parity).ok()
    }
}

/// The plan, and the files whose protection must not end.
fn decide(
    found: &Found,
    there: &There,
    scheme: ParityScheme,
    known: &Known,
) -> (Plan, HashSet<String>) {
    let pack = |id: &Id| ObjectKey::of(FileKind::Pack, id).as_str().to_owned();
    let leaving: HashSet<String> = known.leaving.iter().map(pack).collect();
    // Packs on their way out stay in their groups: a point may come to count on them.
    let groups = found.groups.iter();
    let members = groups.clone().flat_map(|found| &found.group.members);
    let waiting = members
        .filter(|member| kind::class(&member.key, member.bytes).is_some())
        .filter_map(|member| there.files.get_key_value(&member.key));
    let waiting = waiting.map(|(key, bytes)| (key.as_str(), *bytes));
    let facts = Facts {
        scheme,
        groups: groups
            .map(|found| KnownGroup {
                id: found.id,
                group: &found.group,
                is_sound: found.is_sound() && !known.damaged.contains(&found.id),
            })
            .collect(),
        living: there.living().chain(waiting).collect(),
        there: &there.files,
        lost: there.lost_packs(),
        leaving: &leaving,
        changed: &known.changed,
    };
    let living = facts.living.keys().map(|key| (*key).to_owned());
    let living = living.chain(facts.lost.iter().cloned());
    let living = living.filter(|key| !leaving.contains(key)).collect();
    (plan::decide(&facts), living)
}

fn bytes_to_read(step: &plan::Step, groups: &[FoundGroup]) -> u64 {
    let base = step.base.and_then(|number| groups.get(number));
    let Some(base) = base else {
        return step.members.iter().map(|member| member.2).sum();
    };
    let is_new = |key: &str| base.group.member(key).is_none();
    let new = step.members.iter().filter(|member| is_new(&member.1));
    let stays = |key: &str| step.members.iter().any(|member| member.1 == key);
    let going = base
        .group
        .members
        .iter()
        .filter(|member| !stays(&member.key));
    new.map(|member| member.2).sum::<u64>() + going.map(|member| member.bytes).sum::<u64>()
}

pub(super) fn delete(vault: &Vault, key: &ObjectKey) -> Result<(), VaultError> {
    match vault.store.delete(key) {
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
        other => Ok(other?),
    }
}
