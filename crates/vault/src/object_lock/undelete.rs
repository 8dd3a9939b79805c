//! Brings back what was deleted or overwritten in a store that keeps versions: the vault as it was at a time.
//!
//! Needs no password, because a thief may have deleted the keys, too. Removes nothing but delete markers: what is in
//! the way gets the right content on top of it, as one more version.

use jiff::Timestamp;
use serde::Serialize;

use super::history::{History, each_history};
use crate::{
    error::VaultError,
    id::Id,
    store::{ObjectKey, ObjectLocks, ObjectVersion, Store, StoreErrorKind},
    together,
};

/// How many objects are brought back at the same time.
const AT_ONCE: usize = 16;

/// How an object comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Undeletion {
    /// Delete markers lie on top of it, and nothing else: they are removed.
    RemoveMarkers {
        /// The markers.
        markers: Vec<String>,
    },
    /// Other content lies on top of it: it is written once more.
    WriteAgain,
}

/// An object that is not seen as it was.
#[derive(Clone, Debug, Serialize)]
pub struct HiddenObject {
    /// Its name.
    pub key: String,
    /// How it comes back.
    #[serde(flatten)]
    pub how: Undeletion,
    /// When it was hidden.
    pub since: Timestamp,
    #[serde(skip)]
    object: ObjectKey,
    /// Versions that may be the right one, the likeliest first.
    #[serde(skip)]
    candidates: Vec<String>,
    /// The hash of its content, if that is its name.
    #[serde(skip)]
    id: Option<Id>,
}

/// What is to be done for the vault to be as it was.
#[derive(Clone, Debug, Serialize)]
pub struct UndeletePlan {
    /// The time it is to be as at.
    pub at: Timestamp,
    /// What is not seen as it was then.
    pub hidden: Vec<HiddenObject>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UndeleteReport {
    /// Objects that are seen again by removing delete markers.
    pub unmarked: u64,
    /// Objects that were written once more.
    pub written_again: u64,
    /// What could not be brought back, and why.
    pub failed: Vec<(String, String)>,
}

impl UndeletePlan {
    /// Looks for what is not seen as it was at `at`, by the clock of the store. Changes nothing.
    ///
    /// # Errors
    /// [`VaultError::NoObjectLocks`] if the store keeps no versions; as it failed to list them.
    pub fn make(store: &dyn Store, at: Timestamp) -> Result<Self, VaultError> {
        let locks = super::locks_of(store)?;
        let mut hidden = Vec::new();
        each_history(locks, &mut |history| {
            hidden.extend(undeletion(&history, at))
        })?;
        Ok(Self { at, hidden })
    }

    /// Brings everything back, configuration and keys last, so that the vault opens only when all is there.
    pub fn run(&self, store: &dyn Store) -> Result<UndeleteReport, VaultError> {
        let locks = super::locks_of(store)?;
        let mut report = UndeleteReport::default();
        let (doors, rest): (Vec<_>, Vec<_>) = self
            .hidden
            .iter()
            .partition(|hidden| hidden.key == "config" || hidden.key.starts_with("keys/"));
        for some in [rest, doors] {
            let outcomes =
                together::each_of(AT_ONCE, &some, |hidden| hidden.bring_back(store, locks));
            for (hidden, outcome) in some.iter().zip(outcomes) {
                match outcome {
                    Ok(Undeletion::RemoveMarkers { .. }) => report.unmarked += 1,
                    Ok(Undeletion::WriteAgain) => report.written_again += 1,
                    Err(error) => report.failed.push((hidden.key.clone(), error.in_full())),
                }
            }
        }
        Ok(report)
    }
}

/// What brings this object back to what it was at `at`; `None` if nothing has to.
fn undeletion(history: &History, at: Timestamp) -> Option<HiddenObject> {
    let wanted = history.seen_at(at)?;
    let (newer, rest) = history.versions.split_at(wanted);
    let since = newer.last()?.modified;
    // It was written once more already.
    let is_same = |version: &ObjectVersion| {
        let wanted = &rest[0];
        !version.is_marker && (version.size_bytes, &version.tag) == (wanted.size_bytes, &wanted.tag)
    };
    if newer.first().is_some_and(is_same) {
        return None;
    }
    let how = if newer.iter().all(|version| version.is_marker) {
        let markers = newer.iter().map(|version| version.id.clone()).collect();
        Undeletion::RemoveMarkers { markers }
    } else {
        Undeletion::WriteAgain
    };
    let contents = rest.iter().filter(|version| !version.is_marker);
    Some(HiddenObject {
        key: history.key.to_string(),
        how,
        since,
        object: history.key.clone(),
        candidates: contents.map(|version| version.id.clone()).collect(),
        id: history.content_id(),
    })
}

impl HiddenObject {
    /// Returns how it was done in the end.
    fn bring_back(
        &self,
        store: &dyn Store,
        locks: &dyn ObjectLocks,
    ) -> Result<Undeletion, VaultError> {
        if let Undeletion::RemoveMarkers { markers } = &self.how
            && self.is_first_choice_right(locks)?
        {
            let removed = markers
                .iter()
                .try_for_each(|marker| locks.remove_marker(&self.object, marker));
            match removed {
                Ok(()) => return Ok(self.how.clone()),
                // Credentials that may not remove versions may still write.
                Err(error) if error.kind == StoreErrorKind::Denied => {}
                Err(error) => return Err(error.into()),
            }
        }
        let content = self.content(locks)?;
        store.replace(&self.object, &content)?;
        Ok(Undeletion::WriteAgain)
    }

    /// With one version there is no other choice, and `check` reads it if told.
    fn is_first_choice_right(&self, locks: &dyn ObjectLocks) -> Result<bool, VaultError> {
        let (Some(id), [first, _, ..]) = (&self.id, &self.candidates[..]) else {
            return Ok(true);
        };
        Ok(Id::of(&locks.read_version(&self.object, first)?) == *id)
    }

    /// The newest content until then that is what the name says.
    fn content(&self, locks: &dyn ObjectLocks) -> Result<Vec<u8>, VaultError> {
        for version in &self.candidates {
            let content = locks.read_version(&self.object, version)?;
            if self.id.is_none_or(|id| Id::of(&content) == id) {
                return Ok(content);
            }
        }
        Err(VaultError::NoRightVersion {
            key: self.key.clone(),
            versions: self.candidates.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::history::tests::{at, history},
        *,
    };

    #[test]
    fn markers_are_removed_and_rubbish_is_written_over() {
        let deleted = history("config", &[(9, None), (8, None), (1, Some(5))]);
        let found = undeletion(&deleted, at(7)).unwrap();
        let markers = vec!["v9".to_owned(), "v8".to_owned()];
        assert_eq!(found.how, Undeletion::RemoveMarkers { markers });
        assert_eq!(
            (found.since, &found.candidates[..]),
            (at(8), &["v1".to_owned()][..])
        );
        let rewritten = history("config", &[(9, None), (8, Some(3)), (1, Some(5))]);
        let found = undeletion(&rewritten, at(7)).unwrap();
        assert_eq!(found.how, Undeletion::WriteAgain);
    }

    #[test]
    fn what_was_not_there_then_or_is_seen_still_is_left_alone() {
        let made_later = history("snapshots/x", &[(9, None), (8, Some(3))]);
        assert!(undeletion(&made_later, at(7)).is_none());
        let deleted_before = history("snapshots/x", &[(6, None), (1, Some(3))]);
        assert!(undeletion(&deleted_before, at(7)).is_none());
        let back_already = history("snapshots/x", &[(9, Some(3)), (8, Some(2)), (1, Some(3))]);
        assert!(undeletion(&back_already, at(7)).is_none());
        let untouched = history("snapshots/x", &[(6, Some(3)), (1, Some(3))]);
        assert!(undeletion(&untouched, at(7)).is_none());
    }
}
