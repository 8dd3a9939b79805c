//! A check that reads so many bytes a day, and so sees everything within some days.

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;

use super::{BadPlaces, CheckReport, Thoroughness, VerifiedRecord};
use crate::{error::VaultError, id::Id, progress::Progress, vault::Vault, wal::WalListed};

/// A check within a budget, and how far the vault is covered by this one and those before.
#[derive(Clone, Debug)]
pub struct BudgetedCheck {
    /// What was found.
    pub report: CheckReport,
    /// How much of the vault was verified, and when.
    pub coverage: Coverage,
}

/// How much of what is stored was read and verified, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Bytes of packs and WAL files that are there.
    pub stored_bytes: u64,
    /// Bytes that this check or an earlier one found whole.
    pub verified_bytes: u64,
    /// Packs and WAL files that are there.
    pub files: usize,
    /// Those that were found whole.
    pub verified_files: usize,
    /// When the file was verified whose verification is the oldest, of those that were.
    pub oldest: Option<Timestamp>,
}

impl Coverage {
    /// The moment since which all data was verified; `None` while some never was.
    #[must_use]
    pub fn all_since(&self) -> Option<Timestamp> {
        self.oldest.filter(|_| self.verified_files == self.files)
    }

    fn count(&mut self, size_bytes: u64, verified: Option<Timestamp>) {
        self.stored_bytes += size_bytes;
        self.files += 1;
        if let Some(verified) = verified {
            self.verified_bytes += size_bytes;
            self.verified_files += 1;
            self.oldest = Some(self.oldest.map_or(verified, |oldest| oldest.min(verified)));
        }
    }
}

/// What may be read: a pack, or a file of the WAL archive.
enum Item {
    Pack(Id),
    Wal(WalListed),
}

struct Candidate {
    name: Id,
    size_bytes: u64,
    item: Item,
}

impl Vault {
    /// Checks the structure, and reads at least one and at most about `budget_bytes` bytes of packs and WAL files:
    /// what was never verified first, then what was verified longest ago. What is known to be damaged is read each time
    /// beyond the budget, so that it is told until it is healed. The record is changed; the caller saves it.
    ///
    /// # Errors
    /// As [`Vault::check`].
    pub fn check_within(
        &self,
        budget_bytes: u64,
        record: &mut VerifiedRecord,
        progress: &Arc<Progress>,
    ) -> Result<BudgetedCheck, VaultError> {
        if self.has_cache() {
            let store = self.without_cache();
            return store.check_within(budget_bytes, record, progress);
        }
        let _lock = self.lock_for_reading()?;
        let mut report = CheckReport::default();
        let survey = self.survey(&mut report)?;
        let mut candidates: Vec<Candidate> = Vec::new();
        candidates.extend(survey.there.iter().map(|(id, size)| Candidate {
            name: *id,
            size_bytes: *size,
            item: Item::Pack(*id),
        }));
        let wal = self.check_wal(Thoroughness::Structure, progress, &mut report)?;
        candidates.extend(wal.into_iter().map(|listed| Candidate {
            name: wal_name(&listed),
            size_bytes: listed.stored_bytes,
            item: Item::Wal(listed),
        }));
        let names: HashSet<Id> = candidates.iter().map(|candidate| candidate.name).collect();
        record.keep_only(|name| names.contains(name));
        let chosen = choose(&mut candidates, budget_bytes, record);
        progress.expect_bytes(chosen.iter().map(|candidate| candidate.size_bytes).sum());
        let packs: Vec<Id> = chosen.iter().filter_map(Candidate::pack).collect();
        let damaged = self.read_packs(&survey.index, &packs, progress, &mut report)?;
        let mut bad = BadPlaces::default();
        bad.add(&damaged);
        report.damaged_packs(&damaged, &survey.index, &bad);
        let files: Vec<WalListed> = chosen.iter().filter_map(Candidate::wal).collect();
        let damaged_wal = self.read_wal(&files, progress, &mut report)?;
        let damaged: HashSet<Id> = damaged.iter().filter_map(|pack| pack.id).collect();
        let now = Timestamp::now();
        for candidate in chosen {
            let is_damaged = match &candidate.item {
                Item::Pack(id) => damaged.contains(id),
                Item::Wal(listed) => damaged_wal.contains(&listed.file),
            };
            if is_damaged {
                record.note_damaged(candidate.name);
            } else {
                record.note_whole(candidate.name, now);
            }
        }
        self.check_snapshots(&survey.index, &bad, &mut report)?;
        report.lost_packs(&survey.lost);
        self.check_parity(Thoroughness::Structure, progress, &mut report)?;
        let mut coverage = Coverage::default();
        for candidate in &candidates {
            coverage.count(candidate.size_bytes, record.verified(&candidate.name));
        }
        Ok(BudgetedCheck { report, coverage })
    }
}

impl Candidate {
    fn pack(&self) -> Option<Id> {
        match self.item {
            Item::Pack(id) => Some(id),
            Item::Wal(_) => None,
        }
    }

    fn wal(&self) -> Option<WalListed> {
        match &self.item {
            Item::Pack(_) => None,
            Item::Wal(listed) => Some(listed.clone()),
        }
    }
}

/// Sorts what is known to be damaged, what was never verified, and then what was verified longest ago, to the front;
/// returns what the budget is enough for: at least one file that is not known to be damaged, so that a small budget
/// gets somewhere too.
fn choose<'a>(
    candidates: &'a mut [Candidate],
    budget_bytes: u64,
    record: &VerifiedRecord,
) -> &'a [Candidate] {
    candidates.sort_by_key(|candidate| {
        let name = candidate.name;
        (!record.is_damaged(&name), record.verified(&name), name)
    });
    let damaged = candidates
        .iter()
        .take_while(|candidate| record.is_damaged(&candidate.name))
        .count();
    let (mut left, mut count) = (budget_bytes, damaged);
    for candidate in &candidates[damaged..] {
        if candidate.size_bytes > left && count > damaged {
            break;
        }
        left = left.saturating_sub(candidate.size_bytes);
        count += 1;
    }
    &candidates[..count]
}

/// The name of a WAL file in the record. A `.partial` that has grown is another file.
fn wal_name(listed: &WalListed) -> Id {
    Id::of(format!("{:?} {}", listed.file, listed.stored_bytes).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(sizes: &[u64]) -> Vec<Candidate> {
        let candidate = |(number, size): (usize, &u64)| {
            let name = Id::of(&number.to_le_bytes());
            Candidate {
                name,
                size_bytes: *size,
                item: Item::Pack(name),
            }
        };
        sizes.iter().enumerate().map(candidate).collect()
    }

    #[test]
    fn what_is_new_comes_first_and_what_was_seen_longest_ago_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = VerifiedRecord::open(dir.path(), "v").unwrap();
        let mut all = candidates(&[10, 10, 10, 10]);
        let names: Vec<Id> = all.iter().map(|candidate| candidate.name).collect();
        let at = |second| Timestamp::from_second(second).unwrap();
        record.note_whole(names[0], at(300));
        record.note_whole(names[1], at(100));
        record.note_whole(names[2], at(200));
        let order = |chosen: &[Candidate]| chosen.iter().map(|c| c.name).collect::<Vec<_>>();
        assert_eq!(
            order(choose(&mut all, 35, &record)),
            [names[3], names[1], names[2]]
        );
        assert_eq!(order(choose(&mut all, 1, &record)), [names[3]]);
        record.note_damaged(names[0]);
        assert_eq!(
            order(choose(&mut all, 15, &record)),
            [names[0], names[3]],
            "beyond the budget"
        );
        assert_eq!(order(choose(&mut all, 1000, &record)).len(), 4);
        assert!(choose(&mut [], 1000, &record).is_empty());
    }

    #[test]
    fn all_is_verified_only_when_nothing_was_never_seen() {
        let mut coverage = Coverage::default();
        coverage.count(5, Some(Timestamp::UNIX_EPOCH));
        assert_eq!(coverage.all_since(), Some(Timestamp::UNIX_EPOCH));
        coverage.count(7, None);
        assert_eq!(coverage.all_since(), None);
        assert_eq!((coverage.verified_bytes, coverage.stored_bytes), (5, 12));
    }
}
