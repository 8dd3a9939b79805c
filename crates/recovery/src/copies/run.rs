//! Fills the copies.

use std::sync::Arc;

use jiff::Timestamp;
use rekindle_datasets::with_causes;
use rekindle_stack::{Stack, VaultCopy};
use rekindle_vault::{
    CopyOptions, CopyReport, CopyToError, Progress, Snapshot, Vault, WalCopyReport,
};

use super::{
    holds::carry_holds,
    open::{OpenedCopy, WhenAbsent, enter},
    removes_wal, wanted,
    worth::worth_having,
};
use crate::{RecoveryError, object_lock};

/// What was done for one copy.
#[derive(Debug)]
pub struct CopyOutcome {
    /// The copy's name.
    pub name: String,
    /// Where it lies.
    pub location: String,
    /// Whether its vault was made just now.
    pub is_new: bool,
    /// What was copied; also if it ended early.
    pub work: CopyWork,
    /// Why it ended early.
    pub error: Option<RecoveryError>,
    /// What a person should know: points that cannot be read, and so cannot be copied.
    pub warnings: Vec<String>,
}

/// What was copied.
#[derive(Debug, Default)]
pub struct CopyWork {
    /// Recovery points.
    pub points: CopyReport,
    /// WAL.
    pub wal: WalCopyReport,
    /// Names of holds that the copy did not have.
    pub holds: Vec<String>,
}

impl CopyOutcome {
    /// Whether the copy has everything now.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.error.is_none() && self.warnings.is_empty() && self.work.is_complete()
    }
}

impl CopyWork {
    fn is_complete(&self) -> bool {
        self.points.is_complete() && self.wal.is_complete()
    }
}

/// Brings to each copy, or to those named, the points and the WAL that it lacks. A copy that is not there yet is made; one that vanished is an error. What goes wrong with
/// one copy does not hinder the others.
///
/// # Errors
/// [`RecoveryError::UnknownCopy`], or as the main vault could not list its points.
pub fn run_copies(
    main: &Vault,
    stack: &Stack,
    names: &[String],
    progress: &Arc<Progress>,
) -> Result<Vec<CopyOutcome>, RecoveryError> {
    let copies = wanted(&stack.vault, names)?;
    let (points, unreadable) = main.readable_snapshots()?;
    let warnings: Vec<String> = unreadable
        .iter()
        .map(|error| format!("a recovery point cannot be copied: {}", with_causes(error)))
        .collect();
    let one = |copy: &&VaultCopy| {
        let mut outcome = run_one(main, stack, copy, &points, progress);
        outcome.warnings.extend(warnings.iter().cloned());
        outcome
    };
    Ok(copies.iter().map(one).collect())
}

fn run_one(
    main: &Vault,
    stack: &Stack,
    copy: &VaultCopy,
    points: &[Snapshot],
    progress: &Arc<Progress>,
) -> CopyOutcome {
    let mut outcome = CopyOutcome {
        name: copy.name.to_string(),
        location: copy.at.to_string(),
        is_new: false,
        work: CopyWork::default(),
        error: None,
        warnings: Vec::new(),
    };
    let opened = match enter(main, &stack.vault, copy, WhenAbsent::Make) {
        Ok(opened) => opened,
        Err(error) => {
            note_failure(main, copy, with_causes(&error));
            outcome.error = Some(error);
            return outcome;
        }
    };
    outcome.is_new = opened.is_new;
    let filled = fill(
        main,
        stack,
        copy,
        &opened.vault,
        points,
        progress,
        &mut outcome,
    );
    outcome.error = filled.err().map(|source| RecoveryError::CopyTo {
        name: copy.name.to_string(),
        source: Box::new(source),
    });
    outcome
        .warnings
        .extend(object_lock::after_writing(&opened.vault));
    remember(main, opened, &outcome);
    outcome
}

fn fill(
    main: &Vault,
    stack: &Stack,
    copy: &VaultCopy,
    to: &Vault,
    points: &[Snapshot],
    progress: &Arc<Progress>,
    outcome: &mut CopyOutcome,
) -> Result<(), CopyToError> {
    let mut options = CopyOptions::default();
    let pack_size = stack
        .vault
        .pack_size
        .and_then(|size| usize::try_from(size).ok());
    options.pack_bytes = pack_size.unwrap_or(options.pack_bytes);
    let copied = to
        .copied_snapshots()
        .map_err(|error| CopyToError::of_target(to, error))?;
    // First, because it is quick, and protects what is there already.
    let carried = carry_holds(main, to, points, &copied)?;
    outcome.warnings.extend(carried.warnings);
    let work = &mut outcome.work;
    work.holds = carried.added;
    let points: Vec<_> = worth_having(copy, points, &copied)
        .into_iter()
        .cloned()
        .collect();
    work.points = main.copy_snapshots_to(to, &points, &options, progress)?;
    let Some(ours) = main
        .existing_wal_archive()
        .map_err(|error| CopyToError::of_source(main, error.into()))?
    else {
        return Ok(());
    };
    let theirs = to
        .wal_archive()
        .map_err(|error| CopyToError::of_target(to, error.into()))?;
    work.wal = ours.copy_to(&theirs, removes_wal(copy), progress)?;
    Ok(())
}

/// What became of it is remembered for `status`; that it could not be is no reason to fail.
fn remember(main: &Vault, opened: OpenedCopy, outcome: &CopyOutcome) {
    let mut record = opened.record;
    let now = Timestamp::now();
    match reason(outcome) {
        None => record.last_success = Some(now),
        Some(reason) => {
            record.last_failure = Some(now);
            record.last_error = Some(reason);
        }
    }
    if let Err(error) = main.remember_copy(&outcome.name, &record) {
        tracing::warn!(copy = %outcome.name, error = with_causes(&error), "the run cannot be noted");
    }
}

/// Why a copy lacks something; `None` if it has everything.
fn reason(outcome: &CopyOutcome) -> Option<String> {
    if let Some(error) = &outcome.error {
        return Some(with_causes(error));
    }
    let work = &outcome.work;
    if let Some(damage) = work.points.damages.first() {
        let (point, path) = (damage.snapshot.short(), &damage.path);
        return Some(format!(
            "{path} of recovery point {point} is damaged in the vault"
        ));
    }
    let of_wal = work.wal.damaged.iter().chain(&work.wal.refused);
    let mut told = of_wal.map(|(_, reason)| reason.clone());
    told.next().or_else(|| outcome.warnings.first().cloned())
}

/// As [`remember`], for a copy that could not be opened.
fn note_failure(main: &Vault, copy: &VaultCopy, reason: String) {
    let name = copy.name.as_str();
    let Ok(Some(mut record)) = main.copy_record(name) else {
        return;
    };
    record.last_failure = Some(Timestamp::now());
    record.last_error = Some(reason);
    if let Err(error) = main.remember_copy(name, &record) {
        tracing::warn!(
            copy = name,
            error = with_causes(&error),
            "the run cannot be noted"
        );
    }
}
