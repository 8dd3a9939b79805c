//! The way into a copy: that it is the one that was there before.

use jiff::Timestamp;
use rekindle_stack::{self as stack, VaultCopy};
use rekindle_vault::{CopyRecord, Vault, VaultError};

use crate::{RecoveryError, create_vault, open_vault};

/// What to do where no vault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAbsent {
    /// Say so.
    Refuse,
    /// Make one, if there never was one.
    Make,
    /// Make one, or take the one that is there, whatever was there before.
    MakeAnew,
}

/// A copy that is open, and what is remembered of it.
pub struct OpenedCopy {
    /// The copy.
    pub vault: Vault,
    /// What the main vault remembers of it.
    pub record: CopyRecord,
    /// Whether it was made just now.
    pub is_new: bool,
}

/// Opens a copy by its configuration alone; the vault itself need not be there.
///
/// # Errors
/// [`RecoveryError::UnknownCopy`], or as the copy could not be opened.
pub fn open_copy(settings: &stack::Vault, name: &str) -> Result<Vault, RecoveryError> {
    open_vault(&settings.of_copy(super::find(settings, name)?))
}

/// Makes the vault of a copy, or opens it if it is there already. With `anew`, a copy that was lost
/// or replaced is given up for it.
///
/// # Errors
/// [`RecoveryError::CopyGone`] or [`RecoveryError::CopyReplaced`] if there was another one and `anew`
/// was not said; or as the copy could not be opened or made.
pub fn create_copy(
    main: &Vault,
    settings: &stack::Vault,
    name: &str,
    anew: bool,
) -> Result<OpenedCopy, RecoveryError> {
    let when = match anew {
        true => WhenAbsent::MakeAnew,
        false => WhenAbsent::Make,
    };
    enter(main, settings, super::find(settings, name)?, when)
}

/// Opens a copy and holds it against what is remembered of it.
pub(super) fn enter(
    main: &Vault,
    settings: &stack::Vault,
    copy: &VaultCopy,
    when: WhenAbsent,
) -> Result<OpenedCopy, RecoveryError> {
    let name = copy.name.as_str();
    let failed = |error: RecoveryError| RecoveryError::Copy {
        name: name.to_owned(),
        source: Box::new(error),
    };
    if copy.at == settings.at {
        return Err(RecoveryError::CopyOfItself {
            name: name.to_owned(),
        });
    }
    let record = main
        .copy_record(name)
        .map_err(|error| failed(error.into()))?;
    let own = settings.of_copy(copy);
    let (vault, is_new) = match (open_vault(&own), &record) {
        (Ok(vault), _) => (vault, false),
        (Err(error), Some(record)) if is_absent(&error) && when != WhenAbsent::MakeAnew => {
            return Err(RecoveryError::CopyGone {
                name: name.to_owned(),
                location: record.location.clone(),
                since: record.since,
            });
        }
        (Err(error), _) if is_absent(&error) && when != WhenAbsent::Refuse => {
            (create_vault(&own).map_err(failed)?, true)
        }
        (Err(error), _) => return Err(failed(error)),
    };
    let was_known = record.is_some();
    let known = record.filter(|record| record.id == vault.config().id);
    if was_known && known.is_none() && when != WhenAbsent::MakeAnew {
        return Err(RecoveryError::CopyReplaced {
            name: name.to_owned(),
            location: vault.location(),
        });
    }
    let record = match known {
        Some(record) => record,
        None if when == WhenAbsent::Refuse => new_record(&vault),
        None => {
            let record = new_record(&vault);
            // Before anything is in it: a copy that nobody remembers is missed by nobody.
            main.remember_copy(name, &record)
                .map_err(|error| failed(error.into()))?;
            record
        }
    };
    Ok(OpenedCopy {
        vault,
        record,
        is_new,
    })
}

fn is_absent(error: &RecoveryError) -> bool {
    matches!(error, RecoveryError::Vault(VaultError::NoVault { .. }))
}

fn new_record(vault: &Vault) -> CopyRecord {
    CopyRecord {
        id: vault.config().id.clone(),
        location: vault.location(),
        since: Timestamp::now(),
        last_success: None,
        last_failure: None,
        last_error: None,
    }
}
