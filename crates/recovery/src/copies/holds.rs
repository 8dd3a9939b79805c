//! Holds that a vault has and a copy lacks.
//!
//! They are only added: who can change the vault must not be able to end what the copy keeps, so a
//! hold is ended in each copy by itself. A point that is there already gets no tag, because that
//! would need the right to delete; the hold itself is what counts.

use jiff::Timestamp;
use rekindle_vault::{
    CopiedSnapshots, CopyToError, HOLD_TAG, Hold, HoldScope, Holds, Host, Snapshot, Vault,
    VaultError,
};

/// What became of the holds.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// Names of the holds that the copy has since now.
    pub added: Vec<String>,
    /// What could not be carried over, and why.
    pub warnings: Vec<String>,
}

/// Gives the copy the holds of the main vault. `points` are the main vault's.
pub(super) fn carry_holds(
    main: &Vault,
    to: &Vault,
    points: &[Snapshot],
    copied: &CopiedSnapshots,
) -> Result<Carried, CopyToError> {
    let source = |error| CopyToError::of_source(main, error);
    let target = |error| CopyToError::of_target(to, error);
    let now = Timestamp::now();
    let ours = main.holds().map_err(source)?;
    let mut carried = Carried::default();
    let unreadable = ours.unreadable.iter();
    carried
        .warnings
        .extend(unreadable.map(|text| format!("it cannot be carried over to the copy: {text}")));
    let of_tags = holds_of_tags(points, copied, &ours);
    let standing = ours.all.iter().filter(|hold| !hold.is_over(now));
    let wanted: Vec<&Hold> = standing.chain(&of_tags).collect();
    if wanted.is_empty() {
        return Ok(carried);
    }
    let theirs = to.holds().map_err(target)?;
    for hold in wanted {
        let mut same = theirs.all.iter().filter(|other| other.name == hold.name);
        match same.next() {
            Some(other) if other.scope == hold.scope && !other.is_over(now) => continue,
            Some(_) => {
                let name = &hold.name;
                carried.warnings.push(format!(
                    "hold `{name}` cannot be carried over: the copy has another one of that name"
                ));
                continue;
            }
            None => {}
        }
        match to.add_hold(hold) {
            Ok(()) => carried.added.push(hold.name.clone()),
            Err(VaultError::HoldExists { .. }) => {}
            Err(error @ VaultError::BadHoldName { .. }) => {
                carried.warnings.push(error.to_string());
            }
            Err(error) => return Err(target(error)),
        }
    }
    Ok(carried)
}

/// A tag alone is a hold of its point, too. In a copy it may be missing, if it was set after the
/// point was copied; there it becomes a hold of that point.
fn holds_of_tags(points: &[Snapshot], copied: &CopiedSnapshots, ours: &Holds) -> Vec<Hold> {
    let host = Host::current();
    let by = format!("{}@{}", host.username, host.name);
    let mut found = Vec::new();
    for point in points {
        let Some(copy) = copied.find(point) else {
            continue;
        };
        let tags = point.stored.tags.iter();
        let tags = tags.filter(|tag| !copy.stored.tags.contains(tag));
        let names = tags.filter_map(|tag| tag.strip_prefix(HOLD_TAG));
        for name in names.filter(|name| !ours.all.iter().any(|hold| hold.name == **name)) {
            let id = point.lasting_id();
            found.push(Hold {
                name: format!("{name}-{}", id.short()),
                scope: HoldScope::Point(id),
                reason: Some(format!("tag {HOLD_TAG}{name} in the vault")),
                since: point.stored.time,
                until: None,
                by: by.clone(),
            });
        }
    }
    found
}
