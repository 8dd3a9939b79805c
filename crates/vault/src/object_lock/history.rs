//! The versions of objects: what is seen, what is hidden, and what was seen at a time.

use jiff::Timestamp;

use crate::{
    id::Id,
    store::{ObjectKey, ObjectLocks, ObjectVersion, PROBE, StoreError, is_lockable},
};

/// All versions of one object and its delete markers, the newest first.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub key: ObjectKey,
    pub versions: Vec<ObjectVersion>,
}

/// What hides an object from readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hiding {
    /// It was deleted.
    Deleted,
    /// It is never rewritten and looks as if it was: its first content was another one, or was stored in another way.
    Rewritten,
}

/// Folders and objects in which the past means nothing: whoever worked in the vault then is gone.
fn is_of_the_moment(key: &ObjectKey) -> bool {
    let key = key.as_str();
    ["locks/", "rekindle/tmp/"]
        .iter()
        .any(|folder| key.starts_with(folder))
        || ["rekindle/probe", PROBE].contains(&key)
}

/// Passwords change, and so do the files of the archive's key.
fn is_never_rewritten(key: &ObjectKey) -> bool {
    is_lockable(key) && !key.as_str().starts_with("rekindle/keys/")
}

/// Calls `each` with the history of every object of the vault that has more than one version, and so may hide
/// something. Only one object's versions and one page of a listing are in memory.
///
/// # Errors
/// As the store failed to list all.
pub(super) fn each_history(
    locks: &dyn ObjectLocks,
    each: &mut dyn FnMut(History),
) -> Result<(), StoreError> {
    let mut current: Option<History> = None;
    let mut give = |history: Option<History>| {
        if let Some(history) = history
            && history.versions.len() > 1
            && !is_of_the_moment(&history.key)
        {
            each(history);
        }
    };
    let mut from = None;
    loop {
        let page = locks.versions("", from.as_ref())?;
        for version in page.versions {
            match &mut current {
                Some(history) if history.key == version.key => history.versions.push(version),
                _ => {
                    let next = History {
                        key: version.key.clone(),
                        versions: vec![version],
                    };
                    give(current.replace(next));
                }
            }
        }
        from = page.next;
        if from.is_none() {
            give(current.take());
            return Ok(());
        }
    }
}

impl History {
    /// What hides what readers should see; `None` if nothing does.
    pub fn hiding(&self) -> Option<(Hiding, Timestamp)> {
        let newest = self.versions.first()?;
        if newest.is_marker {
            // The first of the markers on top.
            let markers = self.versions.iter().take_while(|version| version.is_marker);
            let has_content = self.versions.iter().any(|version| !version.is_marker);
            return has_content
                .then(|| markers.last())
                .flatten()
                .map(|marker| (Hiding::Deleted, marker.modified));
        }
        // Who was first had it right: a name is the hash of a content, or given away once.
        let first = self.versions.iter().rfind(|version| !version.is_marker)?;
        let differs = first.size_bytes != newest.size_bytes || first.tag != newest.tag;
        (differs && is_never_rewritten(&self.key)).then_some((Hiding::Rewritten, newest.modified))
    }

    /// The hash that the content must have, where that is the name.
    pub fn content_id(&self) -> Option<Id> {
        let folders = ["data/", "index/", "snapshots/", "keys/", "rekindle/holds/"];
        let key = self.key.as_str();
        let is_in = folders.iter().any(|folder| key.starts_with(folder));
        is_in.then(|| self.key.name().parse().ok()).flatten()
    }

    /// The place of the version that readers saw at `time`; `None` if they saw none.
    pub fn seen_at(&self, time: Timestamp) -> Option<usize> {
        let at = self
            .versions
            .iter()
            .position(|version| version.modified <= time)?;
        (!self.versions[at].is_marker).then_some(at)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Newest first: time, and the length of the content or `None` for a marker.
    pub fn history(key: &str, versions: &[(i64, Option<u64>)]) -> History {
        let key = ObjectKey::parse(key).unwrap();
        let version = |(place, (second, size)): (usize, &(i64, Option<u64>))| ObjectVersion {
            key: key.clone(),
            id: format!("v{second}"),
            is_latest: place == 0,
            is_marker: size.is_none(),
            modified: at(*second),
            size_bytes: size.unwrap_or(0),
            tag: format!("{size:?}"),
        };
        let versions = versions.iter().enumerate().map(version).collect();
        History { key, versions }
    }

    #[test]
    fn a_marker_hides_and_so_does_other_content_where_nothing_is_rewritten() {
        let deleted = history("data/ab/abcd", &[(9, None), (8, None), (1, Some(5))]);
        assert_eq!(deleted.hiding(), Some((Hiding::Deleted, at(8))));
        let rewritten = history("data/ab/abcd", &[(9, Some(6)), (1, Some(5))]);
        assert_eq!(rewritten.hiding(), Some((Hiding::Rewritten, at(9))));
        let note = history("rekindle/notes/kit", &[(9, Some(6)), (1, Some(5))]);
        assert_eq!(note.hiding(), None);
        let back = history("data/ab/abcd", &[(9, Some(5)), (8, None), (1, Some(5))]);
        assert_eq!(back.hiding(), None);
        assert_eq!(history("config", &[(9, None)]).hiding(), None);
    }

    #[test]
    fn what_was_seen_at_a_time_is_the_newest_until_then() {
        let history = history("config", &[(9, Some(7)), (5, None), (1, Some(5))]);
        assert_eq!(history.seen_at(at(0)), None);
        assert_eq!(history.seen_at(at(1)), Some(2));
        assert_eq!(history.seen_at(at(4)), Some(2));
        assert_eq!(history.seen_at(at(5)), None);
        assert_eq!(history.seen_at(at(9)), Some(0));
    }
}
