//! What a bucket held at a moment, by the versions that a point has. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::s3::ObjectEntry;

/// Which objects are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of the bucket.
    #[default]
    All,
    /// Those whose keys begin so.
    Prefix(String),
    /// This object, and all below it as if it were a directory.
    At(String),
}

impl Scope {
    /// Whether this object is meant.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => key.starts_with(prefix.as_str()),
            Self::At(at) => key
                .strip_prefix(at.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

/// What a bucket held.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Its objects, in the order of their keys.
    pub objects: Vec<ObjectEntry>,
    /// What is not known of that moment, or not in the point, in words.
    pub unknown: Vec<String>,
    /// Keys of objects that were there, or may have been, and whose content is not in the point.
    pub lacking: BTreeSet<String>,
}

/// The objects as a reader without versions saw them at `at`, or when they were captured. `entries` as
/// [`BucketInPoint::entries`](super::BucketInPoint::entries) gives them.
#[must_use]
pub fn state_at(
    bucket: &str,
    entries: &[ObjectEntry],
    scope: &Scope,
    at: Option<Timestamp>,
) -> State {
    let mut state = State::default();
    for versions in entries.chunk_by(|a, b| a.key == b.key) {
        if versions.first().is_some_and(|first| scope.has(&first.key)) {
            state.add(bucket, versions, at);
        }
    }
    state
}

impl State {
    /// Adds what one object was, by all of its versions, newest first.
    fn add(&mut self, bucket: &str, versions: &[ObjectEntry], at: Option<Timestamp>) {
        let then = match at {
            None => versions.iter().find(|entry| entry.latest),
            Some(at) => versions.iter().find(|entry| entry.modified <= at),
        };
        let forgotten = at.and_then(|at| forgetful(versions, at));
        match (then, forgotten) {
            (None, None) => {}
            (None, Some(later)) => {
                self.unknown.push(format!(
                    "{}: it was written at {}, and what was there before is not in the point",
                    later.shown(bucket),
                    later.modified
                ));
                self.lacking.insert(later.key.clone());
            }
            (Some(entry), forgotten) => {
                self.unknown
                    .extend(forgotten.map(|later| between(bucket, entry, later)));
                self.add_one(bucket, entry);
            }
        }
    }

    fn add_one(&mut self, bucket: &str, entry: &ObjectEntry) {
        match (&entry.missing, &entry.path) {
            _ if entry.deleted => {}
            (None, Some(_)) => self.objects.push(entry.clone()),
            (why, _) => {
                let why = why.as_deref().unwrap_or("its content is not in the point");
                self.unknown.push(format!("{}: {why}", entry.shown(bucket)));
                self.lacking.insert(entry.key.clone());
            }
        }
    }
}

/// What was written after that moment by a bucket that kept no versions then: it has taken the place of nobody knows what.
/// Source: AWS, "Working with objects in a versioning-suspended bucket".
fn forgetful(versions: &[ObjectEntry], at: Timestamp) -> Option<&ObjectEntry> {
    let later = versions.iter().filter(|entry| entry.modified > at);
    let mut later = later.filter(|entry| entry.version.as_deref().is_none_or(|v| v == "null"));
    later.next_back()
}

fn between(bucket: &str, entry: &ObjectEntry, later: &ObjectEntry) -> String {
    format!(
        "{}: the bucket kept no versions when it was written at {}; what it was at {} is taken, and there may have been others \
         in between",
        later.shown(bucket),
        later.modified,
        entry.modified
    )
}

#[cfg(test)]
mod tests {
    use rekindle_stores::s3::{Attributes, ETag};

    use super::*;

    fn entry(key: &str, version: Option<&str>, second: i64) -> ObjectEntry {
        ObjectEntry {
            key: key.into(),
            version: version.map(str::to_owned),
            latest: false,
            deleted: false,
            modified: Timestamp::from_second(second).unwrap(),
            size: 1,
            etag: ETag::default(),
            attributes: Attributes::default(),
            path: Some("p".into()),
            missing: None,
        }
    }

    fn keys(state: &State) -> Vec<(&str, i64)> {
        let objects = state.objects.iter();
        objects
            .map(|o| (o.key.as_str(), o.modified.as_second()))
            .collect()
    }

    fn at(entries: &[ObjectEntry], second: i64) -> State {
        let at = Timestamp::from_second(second).unwrap();
        state_at("k", entries, &Scope::All, Some(at))
    }

    #[test]
    fn each_moment_has_the_version_that_was_current_then() {
        let mut marker = entry("a", Some("3"), 30);
        (marker.deleted, marker.path) = (true, None);
        let mut newest = entry("a", Some("4"), 40);
        newest.latest = true;
        let mut other = entry("b", None, 25);
        other.latest = true;
        let entries = [
            newest,
            marker,
            entry("a", Some("2"), 20),
            entry("a", Some("1"), 10),
            other,
        ];
        assert_eq!(keys(&at(&entries, 5)), []);
        let nobody_knows = at(&entries, 5);
        assert_eq!(nobody_knows.unknown.len(), 1, "what `b` was");
        assert!(nobody_knows.lacking.contains("b"));
        assert_eq!(keys(&at(&entries, 15)), [("a", 10)]);
        assert_eq!(keys(&at(&entries, 20)), [("a", 20)]);
        assert_eq!(keys(&at(&entries, 35)), [("b", 25)]);
        assert_eq!(keys(&at(&entries, 99)), [("a", 40), ("b", 25)]);
        assert_eq!(
            keys(&state_at("k", &entries, &Scope::All, None)),
            [("a", 40), ("b", 25)]
        );
        let part = Scope::Prefix("b".into());
        assert_eq!(keys(&state_at("k", &entries, &part, None)), [("b", 25)]);
    }

    #[test]
    fn what_was_overwritten_without_a_version_is_said_to_be_unknown() {
        let before_versions = [entry("a", Some("1"), 20), entry("a", Some("null"), 10)];
        assert_eq!(at(&before_versions, 15).unknown, [""; 0]);
        assert_eq!(at(&before_versions, 5).unknown.len(), 1);
        let suspended = [entry("a", Some("null"), 30), entry("a", Some("1"), 10)];
        let then = at(&suspended, 20);
        assert_eq!(keys(&then), [("a", 10)]);
        assert!(then.unknown[0].contains("in between"), "{then:?}");
        assert_eq!(at(&suspended, 30).unknown, [""; 0]);
    }

    #[test]
    fn a_part_is_an_object_or_what_lies_below_it() {
        let part = Scope::At("a/b".into());
        assert!(part.has("a/b") && part.has("a/b/c") && part.has("a/b/"));
        assert!(!part.has("a/bc") && !part.has("a"));
    }
}
