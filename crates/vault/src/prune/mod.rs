//! Removes what no recovery point uses, in two phases with a grace between them.
//!
//! 1. Beside running backups ([`Vault::plan_prune`] ends here): the index and all snapshots are
//!    read, all trees walked, and what is used of packs with much waste is packed anew.
//! 2. Alone in the vault, for a short time: what is new since is looked at, and packs that nothing
//!    needs are marked in the index as on their way out. The next prune after the grace removes
//!    them, or takes them back if a point counts on them after all.
//!
//! A pack that the store locks against deletion stays marked until that lock is over.
//!
//! A writer that takes no lock may count on a pack that is being marked; within the grace, nothing
//! it wrote is lost. Whatever cannot be read or listed whole ends a prune with nothing removed. Where
//! there is not one recovery point, nothing is removed unless that is asked for by [`Grace::None`]: a
//! vault that lost its snapshot files looks the same, and a salvage finds its points in the packs.

mod error;
mod ledger;
mod options;
mod plan;
mod reading;
mod repack;
mod report;
mod settle;
mod survey;
mod used;

use std::{collections::HashSet, sync::Arc};

pub use error::PruneError;
pub use options::{Grace, MaxUnused, PruneOptions};
pub use plan::{PackStep, PlannedPack, PrunePlan};
pub use report::PruneReport;

use ledger::Ledger;
use plan::{Decision, Fate};
use settle::Settling;
use used::Missing;

use crate::{
    error::VaultError,
    id::Id,
    lock::{Lock, LockMode},
    progress::Progress,
    vault::Vault,
};

/// How often a prune begins anew when somebody else prunes at the same time.
const TRIES: usize = 3;

/// What there is and what of it is used.
struct Survey {
    ledger: Ledger,
    /// Those whose trees were walked.
    snapshots: HashSet<Id>,
    decision: Decision,
}

impl Vault {
    /// Says what [`Vault::prune`] would do now, and why. Changes nothing.
    ///
    /// # Errors
    /// [`PruneError`], also if something that is used is missing.
    pub fn plan_prune(&self, options: &PruneOptions) -> Result<PrunePlan, PruneError> {
        let _lock = self.lock_to_prune(LockMode::Shared, options)?;
        Ok(self.survey_to_prune(options)?.decision.plan)
    }

    /// Prunes. Backups may run meanwhile; for the short part that is done alone it waits for them.
    ///
    /// # Errors
    /// [`PruneError`]. Whatever it is, nothing that a point uses is lost, and the next prune goes on
    /// with what was done.
    pub fn prune(
        &self,
        options: &PruneOptions,
        progress: &Arc<Progress>,
    ) -> Result<PruneReport, PruneError> {
        self.prune_announced(options, progress, &mut |_| {})
    }

    /// As [`Vault::prune`], and calls `announce` with the plan before anything is done; again if it
    /// begins anew because somebody else changed the index.
    ///
    /// # Errors
    /// As [`Vault::prune`].
    pub fn prune_announced(
        &self,
        options: &PruneOptions,
        progress: &Arc<Progress>,
        announce: &mut dyn FnMut(&PrunePlan),
    ) -> Result<PruneReport, PruneError> {
        let mut tries = 1;
        loop {
            match self.prune_once(options, progress, announce) {
                Err(PruneError::ChangedMeanwhile) if tries < TRIES => tries += 1,
                other => return other,
            }
        }
    }

    fn prune_once(
        &self,
        options: &PruneOptions,
        progress: &Arc<Progress>,
        announce: &mut dyn FnMut(&PrunePlan),
    ) -> Result<PruneReport, PruneError> {
        let shared = self.lock_to_prune(LockMode::Shared, options)?;
        let mut survey = self.survey_to_prune(options)?;
        let Survey {
            ledger, decision, ..
        } = &survey;
        announce(&decision.plan);
        let repacked = repack::run(self, ledger, &decision.fates, options, progress)?;
        shared.ensure_held()?;
        self.release_from_parity(&shared, going(ledger, decision, options.grace), progress)?;
        shared.ensure_held()?;
        drop(shared);
        let mut report = PruneReport::new(&decision.plan, repacked);
        if decision.is_idle() && !settle::has_many_files(ledger) {
            let fates = &decision.fates;
            report.count(ledger, fates, options.grace, options.time());
            report.count_locked();
            return Ok(report);
        }
        let lock = self.lock_to_prune(LockMode::Exclusive, options)?;
        let settling = Settling {
            vault: self,
            lock: &lock,
            ledger: &mut survey.ledger,
            snapshots: &mut survey.snapshots,
            options,
        };
        settling.run(survey.decision, &mut report)?;
        Ok(report)
    }

    fn lock_to_prune(&self, mode: LockMode, options: &PruneOptions) -> Result<Lock, PruneError> {
        self.lock_within(mode, options.wait)
            .map_err(|error| match error {
                VaultError::Locked(source) => PruneError::InUse {
                    waited: options.wait,
                    source,
                },
                other => other.into(),
            })
    }

    /// Reads everything, and decides. To be called under a lock.
    fn survey_to_prune(&self, options: &PruneOptions) -> Result<Survey, PruneError> {
        let now = options.time();
        if !options::is_possible(now) {
            return Err(PruneError::Clock { now });
        }
        // In the order opposite to that of a backup, so that what is read refers to what is read
        // later: snapshots, index files, packs.
        let mut snapshots = HashSet::new();
        let roots = survey::new_roots(self, &mut snapshots)?;
        let mut ledger = Ledger::default();
        survey::read_index(self, &mut ledger)?;
        let unlisted = survey::list_packs(self, &mut ledger)?;
        used::mark(self, &ledger, &roots)?;
        let decided = plan::decide(&ledger, unlisted, options, now);
        let mut decision = decided.map_err(Missing::into_error)?;
        decision.plan.snapshots = snapshots.len() as u64;
        let packs = decision.removals();
        if snapshots.is_empty() && packs > 0 && options.grace != Grace::None {
            return Err(PruneError::NoPoints { packs });
        }
        let locked = self.locked_packs(&decision.to_remove(&ledger), now)?;
        decision.wait_for_locks(&ledger, &locked);
        Ok(Survey {
            ledger,
            snapshots,
            decision,
        })
    }
}

/// Packs that the last part of a prune would remove.
fn going(ledger: &Ledger, decision: &Decision, grace: Grace) -> HashSet<Id> {
    let is_at_once = grace == Grace::None;
    let goes = |fate: &Fate| match fate {
        Fate::Remove => true,
        Fate::Leave | Fate::Repack => is_at_once,
        _ => false,
    };
    let packs = ledger.packs.iter().zip(&decision.fates);
    let listed = packs
        .filter(|(_, fate)| goes(fate))
        .map(|(pack, _)| pack.id);
    let unlisted = decision.unlisted.iter().filter(|_| is_at_once);
    listed.chain(unlisted.map(|pack| pack.id)).collect()
}
