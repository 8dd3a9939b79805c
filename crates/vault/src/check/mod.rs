//! Says whether a vault is whole: its structure, and on request every stored byte. The part of the
//! WAL archive is in `wal/check.rs`.
//!
//! Damage is reported by what it hits: which recovery points, and which files in them.

mod budget;
mod packs;
mod record;
mod walk;

use std::sync::Arc;

pub use budget::{BudgetedCheck, Coverage};
pub(crate) use packs::BadPlaces;
pub use record::{VerifiedRecord, VerifiedRecordError};

use crate::{error::VaultError, id::Id, path::TreePath, progress::Progress, vault::Vault};

/// How thoroughly to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thoroughness {
    /// Index against packs, snapshots against index, names of the WAL archive.
    Structure,
    /// All that, and every byte of every pack and of the WAL archive.
    AllData,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In words, with the name of the file.
    pub text: String,
    /// Whether data is lost by it. Otherwise it is waste or an oddity.
    pub is_loss: bool,
}

/// A file or directory of a recovery point that cannot be restored whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// The recovery point.
    pub snapshot: Id,
    /// The place in it.
    pub path: TreePath,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Snapshots that were looked at.
    pub snapshots: usize,
    /// Packs that are there.
    pub packs: usize,
    /// Blobs in the index.
    pub blobs: usize,
    /// Files in the WAL archive.
    pub wal_files: usize,
    /// Stored bytes that were read and verified.
    pub verified_bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is hit by it, in the order of points and paths.
    pub hits: Vec<Hit>,
    /// Recovery points that are whole as far as was looked.
    pub whole_snapshots: Vec<Id>,
}

impl CheckReport {
    /// Whether nothing is lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.hits.is_empty() && !self.problems.iter().any(|problem| problem.is_loss)
    }

    pub(crate) fn loss(&mut self, text: impl ToString) {
        self.problems.push(Problem {
            text: text.to_string(),
            is_loss: true,
        });
    }

    /// Files that could not be read, because they are damaged. A store that only failed to answer
    /// says nothing about what it holds.
    pub(crate) fn losses(&mut self, failed: Vec<VaultError>) -> Result<(), VaultError> {
        for error in failed {
            if !error.is_damage_or_missing() {
                return Err(error);
            }
            self.loss(error.in_full());
        }
        Ok(())
    }

    pub(crate) fn oddity(&mut self, text: impl ToString) {
        self.problems.push(Problem {
            text: text.to_string(),
            is_loss: false,
        });
    }
}

impl Vault {
    /// Checks the vault. Damage is in the report; an error means that the check itself could not
    /// be done.
    ///
    /// # Errors
    /// As the store failed, or [`VaultError::Locked`].
    pub fn check(
        &self,
        thoroughness: Thoroughness,
        progress: &Arc<Progress>,
    ) -> Result<CheckReport, VaultError> {
        if self.has_cache() {
            // What lies in the store is to be checked, not what was kept of it.
            return self.without_cache().check(thoroughness, progress);
        }
        let _lock = self.lock_for_reading()?;
        let mut report = CheckReport::default();
        let survey = self.survey(&mut report)?;
        let mut bad = BadPlaces::default();
        if thoroughness == Thoroughness::AllData {
            let packs: Vec<Id> = survey.there.iter().map(|(id, _)| *id).collect();
            progress.expect_bytes(survey.there.iter().map(|(_, size)| size).sum());
            let damaged = self.read_packs(&survey.index, &packs, progress, &mut report)?;
            bad.add(&damaged);
            report.damaged_packs(&damaged, &survey.index, &bad);
        }
        self.check_snapshots(&survey.index, &bad, &mut report)?;
        report.lost_packs(&survey.lost);
        self.check_wal(thoroughness, progress, &mut report)?;
        self.check_parity(thoroughness, progress, &mut report)?;
        Ok(report)
    }
}
