//! What a suspicion does: it makes a hold on the service.

use jiff::Timestamp;
use rekindle_datasets::with_causes;
use rekindle_vault::{HOLD_TAG, Hold, HoldScope, Host, Id, Vault, VaultError};
use serde::Serialize;

use super::Suspicion;
use crate::RecoveryError;

/// What the names of the tripwire's holds begin with.
pub const TRIPWIRE: &str = "tripwire-";
const MOST_NAME_BYTES: usize = 64;

/// A service whose tripwire was tripped by a backup, or earlier and nobody has said that it is fine.
#[derive(Clone, Debug, Serialize)]
pub struct Tripped {
    /// The service.
    pub service: String,
    /// What was suspicious now; empty if only the hold of an earlier point stands.
    pub suspicions: Vec<Suspicion>,
    /// The hold that keeps its points and its WAL.
    pub hold: String,
    /// Why the hold could not be made: then nothing is kept.
    pub not_held: Option<String>,
}

impl Tripped {
    /// The tag of a point that is suspicious: by it stock restic sees it, and keeps it.
    pub(crate) fn tag(&self) -> Option<String> {
        (!self.suspicions.is_empty()).then(|| format!("{HOLD_TAG}{}", self.hold))
    }

    /// Only the hold of an earlier point stands.
    pub(super) fn earlier(service: String) -> Self {
        Self {
            hold: hold_name(&service),
            service,
            suspicions: Vec::new(),
            not_held: None,
        }
    }
}

/// A hold that the tripwire made, and that nobody has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrippedHold {
    /// The service.
    pub service: String,
    /// The hold.
    pub hold: String,
    /// Since when.
    pub since: Timestamp,
    /// What was suspicious, in words.
    pub reason: String,
}

/// The tripwire's holds that stand, oldest first; and holds that cannot be read, in words: one of them may be the tripwire's.
///
/// # Errors
/// As the store failed.
pub fn tripped_holds(
    vault: &Vault,
    now: Timestamp,
) -> Result<(Vec<TrippedHold>, Vec<String>), RecoveryError> {
    let holds = vault.holds()?;
    Ok((standing(holds.all, now), holds.unreadable))
}

pub(super) fn standing(holds: Vec<Hold>, now: Timestamp) -> Vec<TrippedHold> {
    let standing = holds.into_iter().filter(|hold| !hold.is_over(now));
    standing.filter_map(tripped_hold).collect()
}

fn tripped_hold(hold: Hold) -> Option<TrippedHold> {
    let HoldScope::Below(path) = &hold.scope else {
        return None;
    };
    let service = path.trim_matches('/').to_owned();
    (hold.name == hold_name(&service)).then(|| TrippedHold {
        service,
        hold: hold.name,
        since: hold.since,
        reason: hold.reason.unwrap_or_default(),
    })
}

/// The name of the tripwire's hold on a service. A long name ends in a hash of the service's.
pub(super) fn hold_name(service: &str) -> String {
    let name = format!("{TRIPWIRE}{service}");
    if name.len() <= MOST_NAME_BYTES {
        return name;
    }
    let hash = &Id::of(service.as_bytes()).to_string()[..8];
    let kept = &service[..MOST_NAME_BYTES - TRIPWIRE.len() - hash.len() - 1];
    format!("{TRIPWIRE}{kept}-{hash}")
}

/// Keeps what was there before a suspicious point: from now on, nothing of the service is forgotten
/// until somebody ends the hold. It needs no lock and no right to delete. What goes wrong is in the
/// result, for the new point is worth having whatever it holds.
pub(super) fn hold_what_was_there(
    vault: &Vault,
    service: &str,
    suspicions: Vec<Suspicion>,
) -> Tripped {
    let host = Host::current();
    let texts: Vec<String> = suspicions.iter().map(ToString::to_string).collect();
    let hold = Hold {
        name: hold_name(service),
        scope: HoldScope::Below(format!("/{service}")),
        reason: Some(texts.join("; ")),
        since: Timestamp::now(),
        until: None,
        by: format!("{}@{}", host.username, host.name),
    };
    let not_held = match vault.add_hold(&hold) {
        Ok(()) => None,
        Err(VaultError::HoldExists { .. }) => why_it_does_not_stand(vault, &hold),
        Err(error) => Some(with_causes(&error)),
    };
    Tripped {
        service: service.to_owned(),
        suspicions,
        hold: hold.name,
        not_held,
    }
}

/// There is a hold of this name. It may be over, or on something else, and keeps nothing of the service then.
fn why_it_does_not_stand(vault: &Vault, hold: &Hold) -> Option<String> {
    match vault.holds() {
        Ok(holds) => {
            let standing = standing(holds.all, Timestamp::now());
            let stands = standing.iter().any(|other| other.hold == hold.name);
            (!stands).then(|| {
                let name = &hold.name;
                format!("another hold `{name}` is over, or on something else; `hold remove {name} --yes` makes room")
            })
        }
        Err(error) => Some(with_causes(&error)),
    }
}
