//! The retention of a vault: planned, and done as planned.

use jiff::Timestamp;
use rekindle_stack::Stack;
use rekindle_vault::{LockMode, Vault};
use serde::Serialize;

use super::{PointPlan, RetentionPolicy, decide, facts::Facts};
use crate::{
    RecoveryError, services_with_postgres,
    wal::{WalRetentionPlan, apply_wal_retention_under, plan_wal_retention},
};

/// What the retention would do with the points and the WAL of a vault.
#[derive(Clone, Debug, Serialize)]
pub struct RetentionPlan {
    /// The time that it was made for.
    pub now: Timestamp,
    /// Where days begin and end: a name of the time zone database, as far as it is known.
    pub zone: Option<String>,
    /// The points.
    #[serde(flatten)]
    pub points: PointPlan,
    /// Why some points cannot be read. They are kept.
    pub unreadable: Vec<String>,
    /// The WAL of each service with a PostgreSQL dataset.
    pub wal: Vec<WalRetentionPlan>,
}

/// What was removed.
#[derive(Clone, Debug, Serialize)]
pub struct RetentionOutcome {
    /// What was planned, and done.
    pub plan: RetentionPlan,
    /// How many points were forgotten.
    pub forgotten: usize,
    /// How many files of WAL were removed.
    pub removed_files: u64,
}

/// Says what of the points and the WAL may go, and why the rest stays. Changes nothing.
///
/// # Errors
/// If a listing cannot be had. Points that cannot be read are in the plan, and stay.
pub fn plan_retention(
    vault: &Vault,
    stack: &Stack,
    policy: &RetentionPolicy,
    now: Timestamp,
) -> Result<RetentionPlan, RecoveryError> {
    let facts = Facts::gather(vault, stack, policy, now)?;
    let wal = services_with_postgres(stack)
        .iter()
        .map(|service| plan_wal_retention(vault, service, policy.wal_of(service), now))
        .collect::<Result<_, _>>()?;
    Ok(plan_of(&facts, policy, wal))
}

fn plan_of(facts: &Facts, policy: &RetentionPolicy, wal: Vec<WalRetentionPlan>) -> RetentionPlan {
    let zone = &facts.circumstances.zone;
    RetentionPlan {
        now: facts.circumstances.now,
        zone: zone.iana_name().map(str::to_owned),
        points: decide(&facts.points, policy, &facts.circumstances),
        unreadable: facts.unreadable.clone(),
        wal,
    }
}

/// Forgets points and removes WAL while nobody else uses the vault, planned under the same lock, so
/// that the plan is true when it is carried out. Points first: the base backups that stay decide
/// which WAL does.
///
/// # Errors
/// [`RecoveryError::RetentionBlocked`] if something stands in the way of forgetting anything;
/// [`VaultError::Locked`](rekindle_vault::VaultError::Locked) if a backup or restore runs; as the
/// store failed: what was not removed yet stays.
pub fn apply_retention(
    vault: &Vault,
    stack: &Stack,
    policy: &RetentionPolicy,
    now: Timestamp,
) -> Result<RetentionOutcome, RecoveryError> {
    let lock = vault.lock(LockMode::Exclusive)?;
    let facts = Facts::gather(vault, stack, policy, now)?;
    let mut plan = plan_of(&facts, policy, Vec::new());
    if !plan.points.blocks.is_empty() {
        return Err(RecoveryError::RetentionBlocked {
            blocks: plan.points.blocks,
        });
    }
    // Holds need no lock: one may have come while the points were looked at.
    if vault.holds()?.all != facts.holds.all {
        return Err(RecoveryError::HoldsChanged);
    }
    let forgotten = vault.forget_under(&lock, &plan.points.to_forget())?;
    if forgotten > 0 {
        tracing::info!(forgotten, "recovery points forgotten");
    }
    let mut removed_files = 0;
    for service in services_with_postgres(stack) {
        let wal = policy.wal_of(&service);
        let (of_service, files) = apply_wal_retention_under(&lock, vault, &service, wal, now)?;
        plan.wal.push(of_service);
        removed_files += files;
    }
    Ok(RetentionOutcome {
        plan,
        forgotten,
        removed_files,
    })
}
