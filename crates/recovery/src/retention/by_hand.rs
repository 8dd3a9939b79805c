//! Single points forgotten by hand, with the guards of the retention.

use std::{collections::BTreeSet, fmt};

use jiff::Timestamp;
use rekindle_stack::Stack;
use rekindle_vault::{Id, LockMode, Vault};
use serde::Serialize;

use super::{ForgetGuard, PointPlan, RetentionPolicy, decide, facts::Facts};
use crate::RecoveryError;

/// Which points, and what is overridden.
#[derive(Clone, Debug, Default)]
pub struct ForgetRequest {
    /// Ids, beginnings of ids, or `latest`.
    pub points: Vec<String>,
    /// Guards that are overridden.
    pub force: BTreeSet<ForgetGuard>,
    /// Whether to only say what would be done.
    pub is_dry_run: bool,
}

/// What was forgotten, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct ForgetOutcome {
    /// The points.
    pub points: Vec<Id>,
    /// What was in the way, and was overridden.
    pub overridden: Vec<HeldBack>,
    /// How many snapshot files were removed; `None` if nothing was to be done.
    pub forgotten: Option<usize>,
}

/// A point that a guard keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldBack {
    /// The point.
    pub point: Id,
    /// By whose name it is overridden.
    pub guard: ForgetGuard,
    /// Why.
    pub text: String,
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { point, guard, text } = self;
        write!(f, "{}: {text} [{guard}]", point.short())
    }
}

/// Forgets these points, unless a guard that is not overridden by its name keeps one of them: then
/// none is forgotten.
///
/// # Errors
/// [`RecoveryError::HeldBack`]; [`VaultError::NoSnapshot`](rekindle_vault::VaultError::NoSnapshot);
/// [`VaultError::Locked`](rekindle_vault::VaultError::Locked) if a backup or restore runs; as the
/// store failed.
pub fn forget_points(
    vault: &Vault,
    stack: &Stack,
    policy: &RetentionPolicy,
    request: &ForgetRequest,
    now: Timestamp,
) -> Result<ForgetOutcome, RecoveryError> {
    let mode = match request.is_dry_run {
        true => LockMode::Shared,
        false => LockMode::Exclusive,
    };
    let lock = vault.lock(mode)?;
    let mut points = BTreeSet::new();
    for wanted in &request.points {
        points.insert(vault.find_snapshot(wanted)?.id);
    }
    let facts = Facts::gather(vault, stack, policy, now)?;
    let plan = decide(&facts.points, policy, &facts.circumstances);
    let (overridden, refused): (Vec<_>, Vec<_>) = held_back(&plan, &points)
        .into_iter()
        .partition(|held| request.force.contains(&held.guard));
    if !refused.is_empty() {
        return Err(RecoveryError::HeldBack { refused });
    }
    let points: Vec<Id> = points.into_iter().collect();
    let forgotten = match request.is_dry_run {
        true => None,
        false => Some(vault.forget_under(&lock, &points)?),
    };
    Ok(ForgetOutcome {
        points,
        overridden,
        forgotten,
    })
}

/// Everything that keeps one of these points, by guards and not by rules.
fn held_back(plan: &PointPlan, wanted: &BTreeSet<Id>) -> Vec<HeldBack> {
    let mut held = Vec::new();
    for planned in &plan.points {
        let point = planned.point.id;
        if !wanted.contains(&point) {
            continue;
        }
        let blocks = plan.blocks.iter();
        held.extend(blocks.filter_map(|block| {
            Some(HeldBack {
                point,
                guard: block.guard?,
                text: block.text.clone(),
            })
        }));
        held.extend(planned.reasons.iter().filter_map(|reason| {
            Some(HeldBack {
                point,
                guard: reason.guard()?,
                text: reason.to_string(),
            })
        }));
    }
    held
}
