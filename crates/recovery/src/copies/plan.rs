//! What a run would copy.

use rekindle_datasets::with_causes;
use rekindle_stack::{Stack, VaultCopy};
use rekindle_vault::{Id, Snapshot, Vault};
use serde::Serialize;

use super::{
    open::{WhenAbsent, enter},
    removes_wal, wanted,
    worth::worth_having,
};
use crate::{PointSummary, RecoveryError};

/// What a run would do for one copy.
#[derive(Debug, Serialize)]
pub struct CopyPlan {
    /// The copy's name.
    pub name: String,
    /// Where it lies.
    pub location: String,
    /// Whether its vault would have to be made.
    pub is_new: bool,
    /// Points that it lacks, in the order in which it would get them.
    pub missing: Vec<PointSummary>,
    /// Stored bytes of what it lacks of them; an upper bound for a copy that is not there yet.
    pub bytes: u64,
    /// WAL files that it lacks.
    pub wal_files: u64,
    /// Their stored bytes.
    pub wal_bytes: u64,
    /// Why nothing could be copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Says what [`run_copies`](super::run_copies) would do. Changes nothing.
///
/// # Errors
/// [`RecoveryError::UnknownCopy`], or as the main vault cannot be read.
pub fn plan_copies(
    main: &Vault,
    stack: &Stack,
    names: &[String],
) -> Result<Vec<CopyPlan>, RecoveryError> {
    let (points, _) = main.readable_snapshots()?;
    let plans = wanted(&stack.vault, names)?;
    let one = |copy: &VaultCopy| {
        let mut plan = CopyPlan {
            name: copy.name.to_string(),
            location: copy.at.to_string(),
            is_new: false,
            missing: Vec::new(),
            bytes: 0,
            wal_files: 0,
            wal_bytes: 0,
            problem: None,
        };
        let filled = fill(main, stack, copy, &points, &mut plan);
        plan.problem = filled.err().map(|error| with_causes(&error));
        plan
    };
    Ok(plans.into_iter().map(one).collect())
}

fn fill(
    main: &Vault,
    stack: &Stack,
    copy: &VaultCopy,
    points: &[Snapshot],
    plan: &mut CopyPlan,
) -> Result<(), RecoveryError> {
    let failed = |source| RecoveryError::CopyTo {
        name: copy.name.to_string(),
        source: Box::new(source),
    };
    let opened = match enter(main, &stack.vault, copy, WhenAbsent::Refuse) {
        Ok(opened) => opened,
        Err(error) if error.is_absent_copy() => {
            plan.is_new = true;
            plan.missing = points.iter().rev().map(PointSummary::of).collect();
            plan.bytes = main.stored_bytes()?;
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let copied = opened.vault.copied_snapshots()?;
    let points: Vec<_> = worth_having(copy, points, &copied)
        .into_iter()
        .cloned()
        .collect();
    let estimate = main
        .estimate_copy_to(&opened.vault, &points)
        .map_err(failed)?;
    let is_missing = |id: &Id| estimate.missing.contains(id);
    let missing = points.iter().filter(|point| is_missing(&point.id));
    plan.missing = missing.map(PointSummary::of).collect();
    plan.bytes = estimate.bytes;
    let Some(ours) = main.existing_wal_archive()? else {
        return Ok(());
    };
    let lacking = match opened.vault.existing_wal_archive()? {
        Some(theirs) => ours.lacking(&theirs, removes_wal(copy)).map_err(failed)?,
        None => {
            let mut all = Vec::new();
            for system in ours.systems()? {
                all.extend(ours.list(system)?);
            }
            all
        }
    };
    plan.wal_files = lacking.len() as u64;
    plan.wal_bytes = lacking.iter().map(|listed| listed.stored_bytes).sum();
    Ok(())
}
