//! Decides what becomes of each pack. Changes nothing, and looks at nothing but the ledger.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    ledger::{Entry, Ledger, Pack},
    options::{Age, PruneOptions},
    survey::UnlistedPack,
    used::Missing,
};
use crate::{blob::BlobKind, id::Id};

/// A pack of less than this part of a full one is small.
const SMALL_PART: u64 = 4;
/// So many small packs are joined even if they make no full one.
const MANY_SMALL: usize = 100;

/// What a prune would do, and why.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PrunePlan {
    /// Recovery points.
    pub snapshots: u64,
    /// Packs that are there and count.
    pub packs: u64,
    /// Entries of the index, those of packs on their way out among them.
    pub blobs: u64,
    /// Stored bytes of pieces that recovery points use, each once.
    pub used_bytes: u64,
    /// Stored bytes of pieces that none uses.
    pub unused_bytes: u64,
    /// Stored bytes of pieces that lie elsewhere, too.
    pub duplicate_bytes: u64,
    /// How much of the waste may stay.
    pub tolerated_bytes: u64,
    /// How much of the waste stays.
    pub remaining_waste_bytes: u64,
    /// Bytes that are read and stored anew.
    pub repack_bytes: u64,
    /// Bytes of packs that are marked by this run as on their way out.
    pub leaving_bytes: u64,
    /// Bytes of packs that were marked earlier, and whose grace is not over.
    pub waiting_bytes: u64,
    /// Bytes of packs that this run removes.
    pub removed_bytes: u64,
    /// Packs of which something becomes; all others stay as they are.
    pub steps: Vec<PlannedPack>,
}

/// What becomes of a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedPack {
    /// The pack.
    pub pack: Id,
    /// Length of its file; 0 if there is none.
    pub size_bytes: u64,
    /// Of its pieces: what recovery points use.
    pub used_bytes: u64,
    /// What none uses.
    pub unused_bytes: u64,
    /// What lies in another pack, too, and stays there.
    pub duplicate_bytes: u64,
    /// What is done with it.
    #[serde(flatten)]
    pub step: PackStep,
}

/// What is done with a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum PackStep {
    /// It is marked as on its way out: no recovery point uses what is in it.
    Leave,
    /// What is used of it is packed anew, then it is marked: too much of it is waste.
    RepackWaste,
    /// What is used of it is packed anew with others, then it is marked: it is small.
    RepackSmall,
    /// It is marked: no index file names it, so an interrupted backup left it.
    LeaveUnlisted,
    /// The index no longer names it: its file is gone, and nothing in it is needed.
    DropFromIndex,
    /// It was marked, and stays after all: a recovery point uses what only it has.
    TakeBack,
    /// It was marked, and waits for the end of its grace.
    Wait {
        /// When that is.
        until: Timestamp,
    },
    /// It was marked at a time that cannot be right, and its grace begins anew.
    WaitAnew,
    /// It was marked, its grace is over, and the store keeps it until its object lock is over.
    Locked {
        /// When that is.
        until: Timestamp,
    },
    /// It was marked, its grace is over, and nothing needs it: its file is removed.
    Remove,
}

impl PackStep {
    /// Why, in words.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Leave => "no recovery point uses what is in it",
            Self::RepackWaste => "too much of it is waste",
            Self::RepackSmall => "it is small, like many others",
            Self::LeaveUnlisted => "an interrupted backup left it",
            Self::DropFromIndex => "its file is gone, and nothing in it is needed",
            Self::TakeBack => "a recovery point counts on it after all",
            Self::Wait { .. } => "its grace is not over",
            Self::WaitAnew => "it was marked by a clock that was wrong",
            Self::Locked { .. } => "its grace is over, and its object lock is not",
            Self::Remove => "its grace is over, and nothing needs it",
        }
    }
}

/// What is to become of a pack that the ledger knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stay,
    Leave,
    Repack,
    Gone,
    Back,
    Wait,
    WaitAnew,
    Remove,
}

/// A plan, and what it is for each pack by its number.
pub(super) struct Decision {
    pub plan: PrunePlan,
    pub fates: Vec<Fate>,
    pub unlisted: Vec<UnlistedPack>,
}

/// What is in a pack, in stored bytes.
#[derive(Clone, Copy, Default)]
struct Figures {
    used: u64,
    unused: u64,
    duplicate: u64,
    has_trees: bool,
}

impl Figures {
    const fn waste(&self) -> u64 {
        self.unused + self.duplicate
    }

    /// Per million of the pack.
    fn waste_share(&self) -> u64 {
        let all = u128::from(self.used + self.waste()).max(1);
        u64::try_from(u128::from(self.waste()) * 1_000_000 / all).unwrap_or(u64::MAX)
    }
}

/// Makes a plan of what the ledger says at `now`.
///
/// # Errors
/// What is used and lies nowhere.
pub(super) fn decide(
    ledger: &Ledger,
    unlisted: Vec<UnlistedPack>,
    options: &PruneOptions,
    now: Timestamp,
) -> Result<Decision, Missing> {
    let figures = figures(ledger)?;
    let mut decision = Decision {
        plan: PrunePlan::default(),
        fates: vec![Fate::Stay; ledger.packs.len()],
        unlisted: Vec::new(),
    };
    for (number, pack) in ledger.packs.iter().enumerate() {
        decision.first_look(number, pack, figures[number], options, now);
    }
    decision.choose_waste(ledger, &figures, options);
    if options.join_small {
        decision.join_small(ledger, &figures, options);
    }
    decision.take_unlisted(unlisted);
    decision.plan.blobs = ledger.len() as u64;
    if options.grace == super::Grace::None {
        decision.plan.removed_bytes += std::mem::take(&mut decision.plan.leaving_bytes);
    }
    Ok(decision)
}

/// What is in each pack. A blob that lies in several packs counts as used in the one that has the
/// least waste, so that the others can leave.
fn figures(ledger: &Ledger) -> Result<Vec<Figures>, Missing> {
    let mut shares = vec![(0_u64, 0_u64); ledger.packs.len()];
    for entry in ledger.blobs().flatten() {
        let (used, all) = &mut shares[entry.pack() as usize];
        *used += if entry.is_used() { entry.bytes() } else { 0 };
        *all += entry.bytes();
    }
    let better = |a: u32, b: u32| {
        let ((used_a, all_a), (used_b, all_b)) = (shares[a as usize], shares[b as usize]);
        let (left, right) = (
            u128::from(used_a) * u128::from(all_b),
            u128::from(used_b) * u128::from(all_a),
        );
        left.cmp(&right).then(b.cmp(&a)).is_gt()
    };
    let mut figures = vec![Figures::default(); ledger.packs.len()];
    let mut missing = Missing::default();
    for places in ledger.blobs() {
        let is_used = places[0].is_used();
        let keeper = is_used.then(|| keeper(ledger, places, better)).flatten();
        if is_used && keeper.is_none() {
            missing.add(places[0].id);
        }
        for entry in places {
            let pack = &mut figures[entry.pack() as usize];
            pack.has_trees |= entry.kind() == BlobKind::Tree;
            match keeper {
                None => pack.unused += entry.bytes(),
                Some(keeper) if std::ptr::eq(keeper, entry) => pack.used += entry.bytes(),
                Some(_) => pack.duplicate += entry.bytes(),
            }
        }
    }
    if missing.count > 0 {
        return Err(missing);
    }
    Ok(figures)
}

/// The place of a used blob that is to stay.
fn keeper<'a>(
    ledger: &Ledger,
    places: &'a [Entry],
    better: impl Fn(u32, u32) -> bool,
) -> Option<&'a Entry> {
    let best = |best: &'a Entry, other: &'a Entry| {
        if better(other.pack(), best.pack()) {
            other
        } else {
            best
        }
    };
    let live = places
        .iter()
        .filter(|entry| ledger.pack_of(entry).is_live());
    let leaving = || {
        let mut places = places.iter();
        places.find(|entry| ledger.pack_of(entry).is_leaving())
    };
    live.reduce(best).or_else(leaving)
}

/// Makes sure that every used blob stays somewhere: a pack that was to leave and has the only copy
/// stays. This, and not the plan, is what everything depends on.
///
/// # Errors
/// What is used and lies nowhere.
pub(super) fn hold_used(ledger: &Ledger, fates: &mut [Fate]) -> Result<(), Missing> {
    let mut missing = Missing::default();
    for places in ledger.blobs().filter(|places| places[0].is_used()) {
        let fate = |entry: &Entry| fates[entry.pack() as usize];
        let there = |entry: &&Entry| ledger.pack_of(entry).is_there();
        let mut kept = places.iter().filter(there);
        if kept.any(|entry| matches!(fate(entry), Fate::Stay | Fate::Back)) {
            continue;
        }
        let live = places.iter().find(|entry| ledger.pack_of(entry).is_live());
        let leaving = || {
            places
                .iter()
                .find(|entry| ledger.pack_of(entry).is_leaving())
        };
        match (live, leaving()) {
            (Some(entry), _) => fates[entry.pack() as usize] = Fate::Stay,
            (None, Some(entry)) => fates[entry.pack() as usize] = Fate::Back,
            (None, None) => missing.add(places[0].id),
        }
    }
    if missing.count > 0 {
        return Err(missing);
    }
    Ok(())
}

impl Decision {
    /// Whether there is nothing to do at all.
    pub fn is_idle(&self) -> bool {
        let is_idle = |step: &PlannedPack| {
            matches!(step.step, PackStep::Wait { .. } | PackStep::Locked { .. })
        };
        self.plan.steps.iter().all(is_idle)
    }

    /// Packs that were to be removed.
    pub fn to_remove(&self, ledger: &Ledger) -> Vec<Id> {
        let pairs = ledger.packs.iter().zip(&self.fates);
        let going = pairs.filter(|(pack, fate)| **fate == Fate::Remove && pack.size.is_some());
        going.map(|(pack, _)| pack.id).collect()
    }

    /// Lets packs wait that the store keeps until these times.
    pub fn wait_for_locks(&mut self, ledger: &Ledger, locked: &HashMap<Id, Timestamp>) {
        for (number, pack) in ledger.packs.iter().enumerate() {
            if self.fates[number] == Fate::Remove && locked.contains_key(&pack.id) {
                self.fates[number] = Fate::Wait;
            }
        }
        for step in &mut self.plan.steps {
            if let (PackStep::Remove, Some(until)) = (step.step, locked.get(&step.pack)) {
                step.step = PackStep::Locked { until: *until };
                self.plan.removed_bytes -= step.size_bytes;
                self.plan.waiting_bytes += step.size_bytes;
            }
        }
    }

    /// How many packs it removes whose grace is over.
    pub fn removals(&self) -> usize {
        let removed = self.fates.iter().filter(|fate| **fate == Fate::Remove);
        removed.count()
    }

    fn step(&mut self, pack: &Pack, figures: Figures, step: PackStep) {
        self.plan.steps.push(PlannedPack {
            pack: pack.id,
            size_bytes: pack.size.unwrap_or(0),
            used_bytes: figures.used,
            unused_bytes: figures.unused,
            duplicate_bytes: figures.duplicate,
            step,
        });
    }

    /// What needs no comparison with other packs.
    fn first_look(
        &mut self,
        number: usize,
        pack: &Pack,
        figures: Figures,
        options: &PruneOptions,
        now: Timestamp,
    ) {
        let size = pack.size.unwrap_or(0);
        let (fate, step) = match (pack.is_listed, pack.size) {
            (_, None) => (Fate::Gone, PackStep::DropFromIndex),
            (true, Some(_)) => {
                let plan = &mut self.plan;
                plan.packs += 1;
                plan.used_bytes += figures.used;
                plan.unused_bytes += figures.unused;
                plan.duplicate_bytes += figures.duplicate;
                if figures.used > 0 {
                    return;
                }
                plan.leaving_bytes += size;
                (Fate::Leave, PackStep::Leave)
            }
            (false, Some(_)) if figures.used > 0 => (Fate::Back, PackStep::TakeBack),
            (false, Some(_)) => match options.grace.age(pack.mark.flatten(), now) {
                Age::Due => {
                    self.plan.removed_bytes += size;
                    (Fate::Remove, PackStep::Remove)
                }
                Age::Until(until) => {
                    self.plan.waiting_bytes += size;
                    (Fate::Wait, PackStep::Wait { until })
                }
                Age::Unknown => {
                    self.plan.waiting_bytes += size;
                    (Fate::WaitAnew, PackStep::WaitAnew)
                }
            },
        };
        self.fates[number] = fate;
        self.step(pack, figures, step);
    }

    /// Packs with the largest share of waste are packed anew, until the rest may stay.
    fn choose_waste(&mut self, ledger: &Ledger, figures: &[Figures], options: &PruneOptions) {
        let mut candidates: Vec<usize> = (0..figures.len())
            .filter(|&n| self.fates[n] == Fate::Stay && figures[n].waste() > 0)
            .collect();
        candidates.sort_by_key(|&n| (std::cmp::Reverse(figures[n].waste_share()), n));
        let mut waste: u64 = candidates.iter().map(|&n| figures[n].waste()).sum();
        self.plan.tolerated_bytes = options.max_unused.bytes(self.plan.used_bytes);
        for number in candidates {
            if waste <= self.plan.tolerated_bytes {
                break;
            }
            if self.repack(
                ledger,
                number,
                figures[number],
                PackStep::RepackWaste,
                options,
            ) {
                waste -= figures[number].waste();
            }
        }
        self.plan.remaining_waste_bytes = waste;
    }

    /// Small packs are joined when they make a full one, or are many: so each byte is packed anew
    /// only a few times in its life.
    fn join_small(&mut self, ledger: &Ledger, figures: &[Figures], options: &PruneOptions) {
        let full = options.pack_bytes as u64;
        for has_trees in [true, false] {
            let is_small = |&n: &usize| {
                let size = ledger.packs[n].size.unwrap_or(u64::MAX);
                self.fates[n] == Fate::Stay
                    && size < full / SMALL_PART
                    && figures[n].has_trees == has_trees
            };
            let small: Vec<usize> = (0..figures.len()).filter(is_small).collect();
            let bytes: u64 = small.iter().map(|&n| figures[n].used).sum();
            if small.len() < 2 || (bytes < full && small.len() < MANY_SMALL) {
                continue;
            }
            for number in small {
                let step = PackStep::RepackSmall;
                if self.repack(ledger, number, figures[number], step, options) {
                    self.plan.remaining_waste_bytes -= figures[number].waste();
                }
            }
        }
    }

    /// Plans to pack anew what is used of a pack, if that is not too much for one run.
    fn repack(
        &mut self,
        ledger: &Ledger,
        number: usize,
        figures: Figures,
        step: PackStep,
        options: &PruneOptions,
    ) -> bool {
        let after = self.plan.repack_bytes + figures.used;
        if options.max_repack_bytes.is_some_and(|most| after > most) {
            return false;
        }
        let pack = &ledger.packs[number];
        self.plan.repack_bytes = after;
        self.plan.leaving_bytes += pack.size.unwrap_or(0);
        self.fates[number] = Fate::Repack;
        self.step(pack, figures, step);
        true
    }

    fn take_unlisted(&mut self, unlisted: Vec<UnlistedPack>) {
        for pack in &unlisted {
            self.plan.leaving_bytes += pack.size_bytes;
            self.plan.steps.push(PlannedPack {
                pack: pack.id,
                size_bytes: pack.size_bytes,
                used_bytes: 0,
                unused_bytes: pack.size_bytes,
                duplicate_bytes: 0,
                step: PackStep::LeaveUnlisted,
            });
        }
        self.unlisted = unlisted;
    }
}
