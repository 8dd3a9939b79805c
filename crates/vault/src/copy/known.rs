//! Which snapshots are copies of which, by restic's rule, so that `restic copy` and ours agree.
//!
//! A copy's `original` is the id that the snapshot had first; its parent is dropped, because that
//! one has another id here, or is not here. Source: restic's documentation, "Copying snapshots between
//! repositories", and what its `copy` does.

use std::collections::HashMap;

use crate::{
    error::VaultError,
    id::Id,
    snapshot::{Snapshot, StoredSnapshot},
    store::FileKind,
    unpacked,
    vault::Vault,
};

/// The snapshots of a vault by the ids that they may have elsewhere.
#[derive(Clone, Debug, Default)]
pub struct CopiedSnapshots {
    snapshots: Vec<Snapshot>,
    by_identity: HashMap<Id, Vec<usize>>,
}

impl CopiedSnapshots {
    /// Of all snapshots of a vault.
    #[must_use]
    pub fn new(snapshots: Vec<Snapshot>) -> Self {
        let mut by_identity: HashMap<Id, Vec<usize>> = HashMap::new();
        for (at, snapshot) in snapshots.iter().enumerate() {
            for id in [Some(snapshot.id), snapshot.stored.original] {
                by_identity
                    .entry(id.unwrap_or(snapshot.id))
                    .or_default()
                    .push(at);
            }
        }
        Self {
            snapshots,
            by_identity,
        }
    }

    /// The snapshots themselves, in the order given.
    #[must_use]
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }

    /// The copy of another vault's snapshot, if there is one. Tags that were changed later make no
    /// other snapshot of it.
    #[must_use]
    pub fn find(&self, snapshot: &Snapshot) -> Option<&Snapshot> {
        let candidates = self.by_identity.get(&identity(snapshot))?;
        candidates
            .iter()
            .map(|at| &self.snapshots[*at])
            .find(|candidate| is_same(&candidate.stored, &snapshot.stored))
    }
}

/// The id that a snapshot had first, and keeps in all vaults.
fn identity(snapshot: &Snapshot) -> Id {
    snapshot.stored.original.unwrap_or(snapshot.id)
}

/// One that was rewritten with other content keeps its first id too, and is another one all the same.
fn is_same(a: &StoredSnapshot, b: &StoredSnapshot) -> bool {
    let who = |s: &StoredSnapshot| (s.hostname.clone(), s.username.clone(), s.uid, s.gid);
    let paths = |s: &StoredSnapshot| {
        let mut paths = s.paths.clone();
        paths.sort_unstable();
        paths
    };
    a.time == b.time && a.tree == b.tree && who(a) == who(b) && paths(a) == paths(b)
}

impl Vault {
    /// Writes the copy of another vault's snapshot, all of whose blobs are here.
    pub(super) fn write_copy_of(&self, snapshot: &Snapshot) -> Result<Snapshot, VaultError> {
        let mut stored = snapshot.stored.clone();
        stored.parent = None;
        stored.original = Some(identity(snapshot));
        let id = unpacked::save(&*self.store, &self.key, FileKind::Snapshot, &stored)?;
        Ok(Snapshot { id, stored })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(id: &str, original: Option<&str>, tags: &[&str]) -> Snapshot {
        let json = r#"{"time":"2026-01-02T03:04:05Z","tree":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "paths":["/a","/b"],"hostname":"h"}"#;
        let mut stored: StoredSnapshot = serde_json::from_str(json).unwrap();
        stored.original = original.map(|text| Id::of(text.as_bytes()));
        stored.tags = tags.iter().map(ToString::to_string).collect();
        let id = Id::of(id.as_bytes());
        Snapshot { id, stored }
    }

    #[test]
    fn a_copy_is_known_by_the_id_that_came_first() {
        let source = snapshot("first", None, &[]);
        let copy = snapshot("elsewhere", Some("first"), &[]);
        let tagged = snapshot("tagged", Some("first"), &["a"]);
        let there = CopiedSnapshots::new(vec![copy.clone()]);
        assert!(there.find(&source).is_some(), "it was copied");
        assert!(there.find(&tagged).is_some(), "tags make no other");
        assert!(there.find(&snapshot("other", None, &[])).is_none());
        let here = CopiedSnapshots::new(vec![source]);
        assert!(here.find(&copy).is_some(), "it came from here");
    }

    #[test]
    fn one_with_other_content_is_another_one() {
        let there = CopiedSnapshots::new(vec![snapshot("copy", Some("first"), &[])]);
        let mut rewritten = snapshot("rewritten", Some("first"), &[]);
        rewritten.stored.tree = Id::of(b"less");
        assert!(there.find(&rewritten).is_none());
        let mut ordered = snapshot("first", None, &[]);
        ordered.stored.paths.reverse();
        assert!(there.find(&ordered).is_some(), "paths have no order");
    }
}
