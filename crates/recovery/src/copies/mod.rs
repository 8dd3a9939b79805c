//! Copies of the vault in other places: opened, filled, and looked at.
//!
//! Start at [`run_copies`]. A copy is a vault of its own with its own key. The vault remembers each
//! copy it has had by its repository id, so that one that vanished is missed: an empty place where a
//! copy was is never filled again without somebody's word.

mod holds;
#[cfg(test)]
mod made_up;
mod open;
mod plan;
mod run;
mod status;
mod worth;

use rekindle_stack::{self as stack, Stack, VaultCopy};

pub use open::{OpenedCopy, WhenAbsent, create_copy, open_copy};
pub use plan::{CopyPlan, plan_copies};
pub use run::{CopyOutcome, CopyWork, run_copies};
pub use status::{CopyStatus, copies_status};

use crate::RecoveryError;

/// The same stack with a copy in the place of its vault: for whoever has nothing but the copy left, or
/// wants to look at it.
///
/// # Errors
/// [`RecoveryError::UnknownCopy`].
pub fn on_copy(mut stack: Stack, name: &str) -> Result<Stack, RecoveryError> {
    let copy = find(&stack.vault, name)?.clone();
    stack.vault = stack.vault.of_copy(&copy);
    if let Some(retention) = copy.retention {
        stack.retention = retention;
        // What the services say is about the vault itself.
        for service in &mut stack.services {
            service.retention = None;
        }
    }
    Ok(stack)
}

/// The copies of these names, or all; each once, in the order of the configuration.
fn wanted<'a>(
    settings: &'a stack::Vault,
    names: &[String],
) -> Result<Vec<&'a VaultCopy>, RecoveryError> {
    for name in names {
        find(settings, name)?;
    }
    let is_wanted =
        |copy: &&VaultCopy| names.is_empty() || names.iter().any(|name| copy.name.as_str() == name);
    Ok(settings.copies.iter().filter(is_wanted).collect())
}

fn find<'a>(settings: &'a stack::Vault, name: &str) -> Result<&'a VaultCopy, RecoveryError> {
    settings
        .copy(name)
        .ok_or_else(|| RecoveryError::UnknownCopy {
            name: name.to_owned(),
            known: known(settings),
        })
}

fn known(settings: &stack::Vault) -> String {
    let names: Vec<_> = settings
        .copies
        .iter()
        .map(|copy| format!("`{}`", copy.name))
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Whether WAL that is older than any in the copy was removed from it on purpose.
fn removes_wal(copy: &VaultCopy) -> bool {
    copy.retention
        .as_ref()
        .is_some_and(|retention| retention.wal.is_some())
}
