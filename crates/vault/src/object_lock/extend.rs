//! Extends the locks of what is needed.

use std::{collections::HashSet, path::Path};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    REQUESTS_AT_ONCE, locks_of,
    plan::{LockPlan, plan},
    record::LockRecord,
};
use crate::{
    error::VaultError,
    store::{LockPeriod, ObjectKey, ObjectLocks, StoreError, StoreErrorKind},
    together,
    vault::Vault,
};

/// Failures that are told; more are counted.
const FAILURES_TOLD: usize = 10;

/// When locks are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenToExtend {
    /// About once a day.
    IfDue,
    /// Now.
    Now,
    /// Now, and the store is asked for each, whatever this machine remembers.
    NowAskingAll,
}

/// What was done about locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExtendReport {
    /// Whether anything was looked at: `false` if it was not time yet.
    pub looked: bool,
    /// Objects that are needed.
    pub needed: u64,
    /// How many of them had to be asked for.
    pub asked: u64,
    /// Locks that were set or extended.
    pub extended: u64,
    /// Of those: objects that had no lock.
    pub had_none: u64,
    /// Needed objects that are not there: `vault check` tells what is hit.
    pub missing: u64,
    /// Objects whose locks could not be extended.
    pub failed: u64,
    /// Some reasons.
    pub reasons: Vec<String>,
    /// The first end of a lock now.
    pub earliest: Option<Timestamp>,
}

impl ExtendReport {
    /// Whether all that is needed is locked for long enough.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failed == 0 && self.missing == 0
    }

    fn fail(&mut self, count: u64, reason: String) {
        self.failed += count;
        if self.reasons.len() < FAILURES_TOLD {
            self.reasons.push(reason);
        }
    }
}

impl Vault {
    /// Extends the locks of all that is needed and would be locked for a shorter time than promised. `directory` is where this
    /// machine remembers until when what is locked: what it knows is not asked for again.
    ///
    /// # Errors
    /// [`VaultError::NoObjectLocks`] if the store has none; as it failed to list, or the record cannot be kept. What becomes of
    /// single objects is in the report.
    pub fn extend_object_locks(
        &self,
        directory: &Path,
        when: WhenToExtend,
        now: Timestamp,
    ) -> Result<ExtendReport, VaultError> {
        let locks = locks_of(&*self.store)?;
        let mut record = LockRecord::open(directory, &self.config().id)?;
        let mut report = ExtendReport::default();
        if when == WhenToExtend::IfDue && !record.is_due(locks.period(), now) {
            report.earliest = record.earliest();
            return Ok(report);
        }
        report.looked = true;
        let needed = self.needed_objects()?;
        for error in needed.unreadable {
            report.fail(1, error.in_full());
        }
        report.needed = needed.objects.len() as u64;
        let all: HashSet<ObjectKey> = match when {
            WhenToExtend::NowAskingAll => HashSet::new(),
            _ => needed.objects.iter().cloned().collect(),
        };
        record.keep_only(&all);
        drop(all);
        let mut work = Work {
            locks,
            period: locks.period(),
            now,
            record: &mut record,
            report: &mut report,
        };
        work.run(needed.objects);
        record.set_looked((report.failed == 0).then_some(now));
        report.earliest = record.earliest();
        record.save()?;
        Ok(report)
    }
}

struct Work<'a> {
    locks: &'a dyn ObjectLocks,
    period: LockPeriod,
    now: Timestamp,
    record: &'a mut LockRecord,
    report: &'a mut ExtendReport,
}

impl Work<'_> {
    fn run(&mut self, needed: Vec<ObjectKey>) {
        let LockPlan {
            ask, mut extend, ..
        } = plan(needed, self.record, self.period, self.now);
        self.ask(ask, &mut extend);
        self.extend(&extend);
    }

    /// What is locked for long enough is remembered; the rest is to be extended.
    fn ask(&mut self, unknown: Vec<ObjectKey>, extend: &mut Vec<ObjectKey>) {
        self.report.asked = unknown.len() as u64;
        let answers = together::each_of(REQUESTS_AT_ONCE, &unknown, |key| {
            self.locks.locked_until(key, None)
        });
        for (key, answer) in unknown.into_iter().zip(answers) {
            match answer {
                Ok(Some(end)) if !self.period.is_short(end, self.now) => {
                    self.record.note(&key, end);
                }
                Ok(end) => {
                    self.report.had_none += u64::from(end.is_none());
                    extend.push(key);
                }
                Err(error) => self.note_failure(&key, &error),
            }
        }
    }

    fn extend(&mut self, keys: &[ObjectKey]) {
        let end = self.period.end(self.now);
        let outcomes = together::each_of(REQUESTS_AT_ONCE, keys, |key| {
            self.locks.lock_until(key, end)
        });
        for (key, outcome) in keys.iter().zip(outcomes) {
            match outcome {
                Ok(()) => {
                    self.report.extended += 1;
                    self.record.note(key, end);
                }
                Err(error) => self.note_failure(key, &error),
            }
        }
    }

    fn note_failure(&mut self, key: &ObjectKey, error: &StoreError) {
        self.record.drop(key);
        if error.kind == StoreErrorKind::NotFound {
            self.report.missing += 1;
        } else {
            self.report.fail(1, format!("{error}: {}", error.source));
        }
    }
}
