//! Whether a vault's store takes what is written, and what else it lets us do.

use rekindle_datasets::with_causes;
use rekindle_stack as stack;
use rekindle_vault::{
    VaultError,
    store::{StoreRights, try_out},
};

use super::Findings;
use crate::vault::store_of;

/// Tries it on a small object. Only for a vault that opened: the first write would make its directory,
/// also where a disk is not mounted.
pub(super) fn look(subject: &str, vault: &stack::Vault, findings: &mut Findings) {
    let tried = store_of(vault)
        .and_then(|store| try_out(&*store).map_err(|error| VaultError::from(error).into()));
    match tried {
        Ok(StoreRights { can_delete: true }) => {
            findings.fine(subject, "its store can be written to, read and tidied up");
        }
        Ok(StoreRights { can_delete: false }) => findings.fine(
            subject,
            "its store can be written to and read, and nothing deleted: forgetting and pruning need \
             other credentials",
        ),
        Err(error) => findings.problem(subject, with_causes(&error), error.hint()),
    }
}
