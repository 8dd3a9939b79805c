//! Object Lock, as the configuration asks for it: locks extended after what needs them, looked at, and what somebody hid
//! brought back.

use jiff::Timestamp;
use rekindle_datasets::with_causes;
use rekindle_stack as stack;
use rekindle_vault::{
    ExtendReport, LockRecord, LockStatus, ObjectLockStatus, UndeletePlan, Vault, VaultError,
    WhenToExtend,
    store::{LockSupport, ObjectLocks},
};

use crate::{RecoveryError, damage::state_directory, doctor::Findings, vault::store_of};

/// Objects that `doctor` asks for their locks.
const SAMPLE: usize = 64;
/// Locks are looked at after each backup, once a day at most. Days without that are told.
const LONG_AGO_HOURS: i64 = 3 * 24;

/// Extends the locks of what a vault needs.
///
/// # Errors
/// [`VaultError::NoObjectLocks`] if the configuration asks for none; as the store failed.
pub fn extend(vault: &Vault, when: WhenToExtend) -> Result<ExtendReport, VaultError> {
    vault.extend_object_locks(&state_directory(), when, Timestamp::now())
}

/// What the store says about locks, and what is hidden in it. The vault need not open.
///
/// # Errors
/// If its place cannot be used, or fails.
pub fn look(settings: &stack::Vault) -> Result<ObjectLockStatus, RecoveryError> {
    Ok(ObjectLockStatus::of(
        &*store_of(settings)?,
        Timestamp::now(),
    )?)
}

/// What is to be done for the vault's files to be as they were at a time. The vault need not open.
///
/// # Errors
/// If its place cannot be used, or fails.
pub fn plan_undelete(
    settings: &stack::Vault,
    at: Timestamp,
) -> Result<UndeletePlan, RecoveryError> {
    Ok(UndeletePlan::make(&*store_of(settings)?, at)?)
}

/// Does it.
///
/// # Errors
/// As [`plan_undelete`]; what becomes of single objects is in the report.
pub fn undelete(
    settings: &stack::Vault,
    plan: &UndeletePlan,
) -> Result<rekindle_vault::UndeleteReport, RecoveryError> {
    Ok(plan.run(&*store_of(settings)?)?)
}

/// After something was written: extends locks if it is time, and returns why not all is locked.
pub(crate) fn after_writing(vault: &Vault) -> Option<String> {
    vault.object_locks()?;
    match extend(vault, WhenToExtend::IfDue) {
        Ok(report) => {
            if report.looked {
                let ExtendReport {
                    needed, extended, ..
                } = report;
                tracing::info!(needed, extended, "object locks looked at");
            }
            untold(&report)
        }
        Err(error) => Some(format!("object locks: {}", with_causes(&error))),
    }
}

fn untold(report: &ExtendReport) -> Option<String> {
    let ExtendReport {
        needed,
        failed,
        missing,
        reasons,
        ..
    } = report;
    let reason = reasons.first().map_or("", String::as_str);
    match (failed, missing) {
        (0, 0) => None,
        (0, _) => Some(format!(
            "object locks: {missing} of {needed} needed objects are gone"
        )),
        _ => Some(format!(
            "object locks: {failed} of {needed} could not be looked at or extended: {reason}"
        )),
    }
}

/// For `doctor`: whether the place keeps locks, and whether what is needed has them.
pub(crate) fn look_for_doctor(subject: &str, vault: &Vault, findings: &mut Findings) {
    let Some(locks) = vault.object_locks() else {
        return;
    };
    match locks.support() {
        Ok(LockSupport::On) => {}
        Ok(_) => {
            let text = "the configuration asks for Object Lock, and the bucket has none: nothing can be written";
            let fix = "Object Lock is turned on when a bucket is made: make another one with it, or take \
                       `object_lock` out of the configuration";
            return findings.problem(subject, text, Some(fix.to_owned()));
        }
        Err(error) => {
            let text = format!(
                "whether the bucket keeps object locks: {}",
                with_causes(&error)
            );
            let hint = rekindle_stores::hint_of(&error).map(str::to_owned);
            return findings.problem(subject, text, hint);
        }
    }
    look_at_sample(subject, vault, locks, findings);
    look_at_record(subject, vault, findings);
}

fn look_at_sample(subject: &str, vault: &Vault, locks: &dyn ObjectLocks, findings: &mut Findings) {
    let days = locks.period().days();
    let LockStatus {
        asked,
        unlocked,
        short,
        missing,
        ..
    } = match vault.object_lock_status(Some(SAMPLE), Timestamp::now()) {
        Ok(status) => status,
        Err(error) => return findings.problem(subject, with_causes(&error), None),
    };
    let extend = Some("`rekindle vault object-lock extend` locks them".to_owned());
    if unlocked + short > 0 {
        let bad = unlocked + short;
        let text = format!("{bad} of {asked} needed objects are not locked for {days} days");
        findings.problem(subject, text, extend);
    } else if missing > 0 {
        let text = format!("{missing} of {asked} needed objects are gone");
        let fix =
            "`rekindle vault object-lock status` tells whether somebody deleted them".to_owned();
        findings.problem(subject, text, Some(fix));
    } else {
        findings.fine(
            subject,
            format!(
                "the bucket keeps object locks; {asked} objects asked, all locked for {days} days"
            ),
        );
    }
}

fn look_at_record(subject: &str, vault: &Vault, findings: &mut Findings) {
    let record = match LockRecord::open(&state_directory(), &vault.config().id) {
        Ok(record) => record,
        Err(error) => {
            let text = format!("when object locks were extended: {}", with_causes(&error));
            return findings.problem(subject, text, None);
        }
    };
    let hours = |looked: Timestamp| Timestamp::now().duration_since(looked).as_hours();
    if record
        .looked()
        .is_none_or(|looked| hours(looked) >= LONG_AGO_HOURS)
    {
        findings.advice(
            subject,
            "this machine has not extended object locks for days",
            "every backup does it; `rekindle vault object-lock extend` does it now",
        );
    }
}
