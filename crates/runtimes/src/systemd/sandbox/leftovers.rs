//! Sandboxes whose makers are gone, killed before they could clean up.

use std::time::Duration;

use crate::{
    owner,
    systemd::{bus::Manager, failure::Failure},
};

/// Begins the names of all units of sandboxes.
pub(super) const PREFIX: &str = "rekindle-sandbox-";

/// How long systemd may take to end a unit whose processes were killed.
const ENDED: Duration = Duration::from_secs(30);

/// In the description of each, before who made it.
const MADE_BY: &str = ", made by ";

/// What a unit of a sandbox says of itself.
pub(super) fn description(service: &str, owner: &str) -> String {
    format!("Rekindle's sandbox of {service}{MADE_BY}{owner}")
}

/// Ends what processes of this machine left that were killed. What cannot be ended now is, some other time.
pub(super) fn sweep(manager: &Manager) -> Result<(), Failure> {
    for (unit, description) in manager.loaded(&format!("{PREFIX}*.service"))? {
        let owner = description.rsplit_once(MADE_BY);
        if owner.is_some_and(|(_, owner)| owner::is_gone(owner)) {
            end(manager, &unit)?;
        }
    }
    Ok(())
}

/// Ends a unit of a sandbox with all that it runs: nothing in there is worth being asked to end.
pub(super) fn end(manager: &Manager, unit: &str) -> Result<(), Failure> {
    let kill = (unit, "all", rustix::process::Signal::KILL.as_raw());
    // Gone meanwhile is as good.
    let _ = manager.call("KillUnit", &kill);
    let ended = manager
        .job("StopUnit", unit, "replace")
        .and_then(|mut job| job.end(ENDED));
    // Else systemd remembers one that failed for as long as our connection lasts.
    let _ = manager.call("UnrefUnit", &(unit,));
    match ended {
        Err(Failure::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
        other => other.map(drop),
    }
}
