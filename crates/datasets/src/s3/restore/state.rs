//! What a bucket held at a moment, by the versions that a point has. Pure.

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
    /// Objects whose content at that moment is not in the point, and why.
    pub unknown: Vec<String>,
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
        if !versions.first().is_some_and(|first| scope.has(&first.key)) {
            continue;
        }
        let then = match at {
            None => versions.iter().find(|entry| entry.latest),
            Some(at) => versions.iter().find(|entry| entry.modified <= at),
        };
        match then {
            None => state.unknown.extend(unknown_then(bucket, versions)),
            Some(entry) if entry.deleted => {}
            Some(entry) => match (&entry.missing, &entry.path) {
                (None, Some(_)) => state.objects.push(entry.clone()),
                (why, _) => {
                    let why = why.as_deref().unwrap_or("its content is not in the point");
                    state
                        .unknown
                        .push(format!("{}: {why}", entry.shown(bucket)));
                }
            },
        }
    }
    state
}

/// Before the oldest version there was nothing, if versions are kept; else nobody knows what was there.
fn unknown_then(bucket: &str, versions: &[ObjectEntry]) -> Option<String> {
    let newest = versions.first()?;
    let keeps_versions = newest.version.is_some();
    (!keeps_versions).then(|| {
        format!(
            "{}: it was written at {}, and what was there before is not in the point",
            newest.shown(bucket),
            newest.modified
        )
    })
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
        let at = |second: i64| {
            let at = Timestamp::from_second(second).unwrap();
            state_at("k", &entries, &Scope::All, Some(at))
        };
        assert_eq!(keys(&at(5)), []);
        assert_eq!(at(5).unknown.len(), 1, "nobody knows what `b` was");
        assert_eq!(keys(&at(15)), [("a", 10)]);
        assert_eq!(keys(&at(20)), [("a", 20)]);
        assert_eq!(keys(&at(35)), [("b", 25)]);
        assert_eq!(keys(&at(99)), [("a", 40), ("b", 25)]);
        assert_eq!(
            keys(&state_at("k", &entries, &Scope::All, None)),
            [("a", 40), ("b", 25)]
        );
        let part = Scope::Prefix("b".into());
        assert_eq!(keys(&state_at("k", &entries, &part, None)), [("b", 25)]);
    }

    #[test]
    fn a_part_is_an_object_or_what_lies_below_it() {
        let part = Scope::At("a/b".into());
        assert!(part.has("a/b") && part.has("a/b/c") && part.has("a/b/"));
        assert!(!part.has("a/bc") && !part.has("a"));
    }
}
