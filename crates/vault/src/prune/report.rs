//! What a prune did.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Fate, Grace, PackStep, PrunePlan, ledger::Ledger, options::Age, repack::Repacked,
    survey::UnlistedPack,
};

/// What a prune did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PruneReport {
    /// What was planned.
    pub plan: PrunePlan,
    /// Stored bytes that were packed anew.
    pub repacked_bytes: u64,
    /// Packs that were marked as on their way out.
    pub marked_packs: u64,
    /// Their bytes.
    pub marked_bytes: u64,
    /// Packs that were marked earlier and wait.
    pub waiting_packs: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Of those: packs whose grace is over, and whose object locks are not.
    pub locked_packs: u64,
    /// When the last of these locks ends.
    pub locked_until: Option<Timestamp>,
    /// When the last of all marked packs may be removed, if nothing comes to need it.
    pub due: Option<Timestamp>,
    /// Packs that were removed.
    pub removed_packs: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Packs that had been marked, and stay because a point counts on them.
    pub taken_back_packs: u64,
    /// Packs that were to leave and stay, because something in them is needed after all.
    pub stayed_packs: u64,
    /// Packs that were to be removed and stay for now, because parity needs them to bring back others.
    pub held_for_parity: u64,
    /// Index files that were written.
    pub index_files_written: u64,
    /// Pieces that are damaged where they lie, in words; their packs stay as they are.
    pub damaged: Vec<String>,
    /// Why packing anew ended early, if it did: the store has no room.
    pub repack_stopped: Option<String>,
}

impl PruneReport {
    pub(super) fn new(plan: &PrunePlan, repacked: Repacked) -> Self {
        Self {
            plan: plan.clone(),
            repacked_bytes: repacked.bytes,
            damaged: repacked.damaged,
            repack_stopped: repacked.no_space.map(|error| error.in_full()),
            ..Self::default()
        }
    }

    /// Counts what becomes of the packs; what is removed is counted when it is.
    pub(super) fn count(&mut self, ledger: &Ledger, fates: &[Fate], grace: Grace, now: Timestamp) {
        for (pack, fate) in ledger.packs.iter().zip(fates) {
            let size = pack.size.unwrap_or(0);
            match fate {
                Fate::Leave | Fate::Repack => self.mark(size, grace, now),
                Fate::Wait | Fate::WaitAnew => {
                    self.waiting_packs += 1;
                    self.waiting_bytes += size;
                    let mark = pack.mark.flatten().filter(|_| *fate == Fate::Wait);
                    self.wait_for(mark.or(Some(now)), grace, now);
                }
                Fate::Back => self.taken_back_packs += 1,
                Fate::Remove => self.removed_bytes += size,
                Fate::Stay | Fate::Gone => {}
            }
        }
    }

    /// Counts packs that no index file named.
    pub(super) fn count_unlisted(
        &mut self,
        marked: &[UnlistedPack],
        going: &[UnlistedPack],
        grace: Grace,
        now: Timestamp,
    ) {
        self.removed_bytes += going.iter().map(|pack| pack.size_bytes).sum::<u64>();
        for pack in marked {
            self.mark(pack.size_bytes, grace, now);
        }
    }

    /// Counts what waits for the end of its object lock, as planned.
    pub(super) fn count_locked(&mut self) {
        for pack in &self.plan.steps {
            if let PackStep::Locked { until } = pack.step {
                self.locked_packs += 1;
                self.locked_until = self.locked_until.max(Some(until));
            }
        }
    }

    /// Counts a pack that was to be removed without a grace.
    pub(super) fn count_kept(&mut self, until: Timestamp) {
        self.locked_packs += 1;
        self.locked_until = self.locked_until.max(Some(until));
    }

    fn mark(&mut self, size: u64, grace: Grace, now: Timestamp) {
        self.marked_packs += 1;
        self.marked_bytes += size;
        self.wait_for(Some(now), grace, now);
    }

    fn wait_for(&mut self, mark: Option<Timestamp>, grace: Grace, now: Timestamp) {
        if let Age::Until(until) = grace.age(mark, now) {
            self.due = self.due.max(Some(until));
        }
    }
}
