//! Which recovery points there are, those whose snapshot files are gone among them.

use std::collections::HashSet;

use jiff::Timestamp;

use super::Salvage;
use crate::{
    error::VaultError,
    id::Id,
    snapshot::{Snapshot, StoredSnapshot},
    tree::{NodeKind, Tree},
};

/// A recovery point, or what is left of one.
#[derive(Clone, Debug)]
pub struct SalvagePoint {
    /// The beginning of its id; `found-…` with the beginning of its root's id for one that has no snapshot file.
    pub name: String,
    /// What is to be brought out. For one that was found, only the tree and a guess at its time are known.
    pub snapshot: Snapshot,
    /// Whether it was found by its root.
    pub is_found: bool,
    /// Whether its root has the entry that was asked for. A found one without may be a part of a point.
    pub has_marker: bool,
    /// The first names in its root, for people.
    pub names: Vec<String>,
}

/// Names of a root that are told.
const NAMES_TOLD: usize = 8;

impl Salvage {
    /// All recovery points that there are, oldest first; then what was found without a snapshot file. `marker` is the
    /// name of a file that a whole point's root has.
    ///
    /// # Errors
    /// As the store failed otherwise than by damage.
    pub fn points(&mut self, marker: &str) -> Result<Vec<SalvagePoint>, VaultError> {
        let (snapshots, failed) = self.vault.readable_snapshots()?;
        for error in failed {
            if !error.is_damage_or_missing() {
                return Err(error);
            }
            self.problems.push(error.in_full());
        }
        let mut seen = HashSet::new();
        let mut points = Vec::new();
        for snapshot in snapshots {
            self.reach(&snapshot.stored.tree, &mut seen)?;
            let root = self.tree(&snapshot.stored.tree)?;
            let name = snapshot.id.short();
            points.push(point(name, snapshot, false, root.as_ref(), marker));
        }
        let mut found = Vec::new();
        for (id, root) in self.lost_roots(&seen)? {
            let name = format!("found-{}", &id.to_string()[..8]);
            let snapshot = guessed(id, &root);
            found.push(point(name, snapshot, true, Some(&root), marker));
        }
        found.sort_by_key(|point| {
            (
                !point.has_marker,
                point.snapshot.stored.time,
                point.snapshot.id,
            )
        });
        points.extend(found);
        Ok(points)
    }

    /// Adds a tree and all below it.
    fn reach(&self, root: &Id, seen: &mut HashSet<Id>) -> Result<(), VaultError> {
        let mut waiting = vec![*root];
        while let Some(id) = waiting.pop() {
            if seen.insert(id)
                && let Some(tree) = self.tree(&id)?
            {
                waiting.extend(subtrees(&tree));
            }
        }
        Ok(())
    }

    /// Trees that no point reaches and no other such tree names, as far as they can be read.
    fn lost_roots(&self, reached: &HashSet<Id>) -> Result<Vec<(Id, Tree)>, VaultError> {
        let mut lost = HashSet::new();
        let mut named = HashSet::new();
        for id in self.index.trees() {
            if !reached.contains(&id)
                && let Some(tree) = self.tree(&id)?
            {
                named.extend(subtrees(&tree));
                lost.insert(id);
            }
        }
        let roots = lost.into_iter().filter(|id| !named.contains(id));
        let mut found = Vec::new();
        for id in roots {
            if let Some(tree) = self.tree(&id)? {
                found.push((id, tree));
            }
        }
        Ok(found)
    }

    /// `None` if it cannot be read.
    fn tree(&self, id: &Id) -> Result<Option<Tree>, VaultError> {
        match self.vault.read_tree(&self.index, id) {
            Ok(tree) => Ok(Some(tree)),
            Err(error) if error.is_damage_or_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn subtrees(tree: &Tree) -> impl Iterator<Item = Id> {
    let directories = tree.nodes.iter().filter(|node| node.kind == NodeKind::Dir);
    directories.filter_map(|node| node.subtree)
}

fn point(
    name: String,
    snapshot: Snapshot,
    is_found: bool,
    root: Option<&Tree>,
    marker: &str,
) -> SalvagePoint {
    let nodes = root.map_or(&[][..], |root| &root.nodes);
    let names = nodes.iter().take(NAMES_TOLD);
    SalvagePoint {
        name,
        snapshot,
        is_found,
        has_marker: root.is_some_and(|root| root.get(marker.as_bytes()).is_some()),
        names: names.map(|node| node.display_name().into_owned()).collect(),
    }
}

/// A snapshot as it may have been. Its time is that of the youngest entry of its root.
fn guessed(tree: Id, root: &Tree) -> Snapshot {
    let youngest = root.nodes.iter().map(|node| node.mtime).max();
    Snapshot {
        id: tree,
        stored: StoredSnapshot {
            time: youngest.unwrap_or(Timestamp::UNIX_EPOCH),
            parent: None,
            tree,
            paths: Vec::new(),
            hostname: String::new(),
            username: String::new(),
            uid: 0,
            gid: 0,
            tags: Vec::new(),
            original: None,
            program_version: String::new(),
            summary: None,
            other: serde_json::Map::default(),
        },
    }
}

impl std::fmt::Debug for Salvage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Salvage({})", self.location())
    }
}
