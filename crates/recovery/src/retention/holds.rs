//! Holds, and the tags by which stock restic sees them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rekindle_datasets::with_causes;
use rekindle_vault::{HOLD_TAG, Hold, HoldScope, Id, LockMode, Snapshot, Vault, VaultError};
use serde::Serialize;

use crate::RecoveryError;

/// What became of the tags when a hold was made or removed.
#[derive(Clone, Debug, Serialize)]
pub struct HoldOutcome {
    /// The hold's name.
    pub name: String,
    /// The points that were written anew with, or without, the tag; by their new ids.
    pub points: Vec<Id>,
    /// Why points could not be tagged now. The hold stands all the same; making it again tags them.
    pub not_tagged: Option<String>,
}

/// A hold in a list.
#[derive(Clone, Debug, Serialize)]
pub struct ListedHold {
    /// The hold; of one that is only a tag, the name.
    #[serde(flatten)]
    pub hold: Option<Hold>,
    /// Its name.
    pub name: String,
    /// Whether its time is over.
    pub is_over: bool,
    /// How many points it keeps now.
    pub points: usize,
}

/// All holds of a vault.
#[derive(Clone, Debug, Serialize)]
pub struct HoldList {
    /// Oldest first, those that are only tags last.
    pub holds: Vec<ListedHold>,
    /// Those that cannot be read. They keep everything.
    pub unreadable: Vec<String>,
}

/// Makes a hold, then tags the points that it is about, but not those of a hold on the whole vault.
/// Making the same one again tags what was not tagged.
///
/// # Errors
/// [`VaultError::HoldExists`] if another one has the name; as the store failed.
pub fn add_hold(vault: &Vault, hold: &Hold) -> Result<HoldOutcome, RecoveryError> {
    match vault.add_hold(hold) {
        Err(VaultError::HoldExists { .. }) if is_there(vault, hold)? => {}
        other => other?,
    }
    let mut outcome = HoldOutcome {
        name: hold.name.clone(),
        points: Vec::new(),
        not_tagged: None,
    };
    if hold.scope == HoldScope::All {
        return Ok(outcome);
    }
    let tag = hold.tag();
    let wants = |snapshot: &Snapshot| hold.covers(snapshot) && !snapshot.stored.tags.contains(&tag);
    let retagged = retag(
        vault,
        wants,
        |tags| tags.push(tag.clone()),
        &mut outcome.points,
    );
    outcome.not_tagged = retagged.err().map(|error| with_causes(&error));
    Ok(outcome)
}

fn is_there(vault: &Vault, hold: &Hold) -> Result<bool, VaultError> {
    let holds = vault.holds()?.all;
    Ok(holds
        .iter()
        .any(|other| other.name == hold.name && other.scope == hold.scope))
}

/// Ends a hold: its tags go first, then what makes it a hold, so that one that is cut short stands.
///
/// # Errors
/// [`VaultError::NoHold`]; [`VaultError::Locked`] if a backup or restore runs; as the store failed.
pub fn remove_hold(vault: &Vault, name: &str) -> Result<HoldOutcome, RecoveryError> {
    let tag = format!("{HOLD_TAG}{name}");
    let mut outcome = HoldOutcome {
        name: name.to_owned(),
        points: Vec::new(),
        not_tagged: None,
    };
    let has = |snapshot: &Snapshot| snapshot.stored.tags.contains(&tag);
    let without = |tags: &mut Vec<String>| tags.retain(|other| *other != tag);
    retag(vault, has, without, &mut outcome.points)?;
    match vault.remove_hold(name) {
        Err(VaultError::NoHold { .. }) if !outcome.points.is_empty() => {}
        other => drop(other?),
    }
    Ok(outcome)
}

fn retag(
    vault: &Vault,
    wants: impl Fn(&Snapshot) -> bool,
    change: impl Fn(&mut Vec<String>),
    done: &mut Vec<Id>,
) -> Result<(), VaultError> {
    let is_needed = |snapshots: &[Snapshot]| snapshots.iter().any(&wants);
    if !is_needed(&vault.readable_snapshots()?.0) {
        return Ok(());
    }
    let lock = vault.lock(LockMode::Exclusive)?;
    // Again: ids change with tags, and somebody may have been faster.
    let (snapshots, _) = vault.readable_snapshots()?;
    for snapshot in snapshots.iter().filter(|snapshot| wants(snapshot)) {
        let mut tags = snapshot.stored.tags.clone();
        change(&mut tags);
        done.push(vault.set_tags_under(&lock, snapshot, tags)?.id);
    }
    Ok(())
}

/// Lists all holds, those included that are only a tag.
///
/// # Errors
/// As the store failed.
pub fn holds(vault: &Vault, now: Timestamp) -> Result<HoldList, RecoveryError> {
    let (snapshots, _) = vault.readable_snapshots()?;
    let found = vault.holds()?;
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    for name in snapshots
        .iter()
        .flat_map(|snapshot| found.on(snapshot, now))
    {
        *kept.entry(name).or_default() += 1;
    }
    let mut list: Vec<ListedHold> = Vec::new();
    for hold in &found.all {
        list.push(ListedHold {
            name: hold.name.clone(),
            is_over: hold.is_over(now),
            points: kept.remove(&hold.name).unwrap_or(0),
            hold: Some(hold.clone()),
        });
    }
    list.extend(kept.into_iter().map(|(name, points)| ListedHold {
        hold: None,
        name,
        is_over: false,
        points,
    }));
    Ok(HoldList {
        holds: list,
        unreadable: found.unreadable,
    })
}
