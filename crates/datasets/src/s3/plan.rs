//! What a capture does with each line of a listing: a pure choice.

use rekindle_stores::s3::ListedVersion;

use super::{
    entry::ObjectEntry,
    path::{object_path, version_path},
};

/// Objects below this are what restores in place have set aside.
pub const ASIDE: &str = ".rekindle-aside/";

/// A line of a listing, and what is to be done with it.
#[derive(Debug)]
pub struct Work {
    /// The line.
    pub listed: ListedVersion,
    /// Where its content goes, below the dataset; `None` of a delete marker.
    pub path: Option<String>,
    /// The entry of an earlier point that has the same content.
    pub same: Option<ObjectEntry>,
}

/// Puts a listing into the order of its keys, versions of one key as they were listed, without what was set aside.
/// The second value says how many those were.
pub fn in_order(mut listed: Vec<ListedVersion>) -> (Vec<ListedVersion>, u64) {
    let all = listed.len();
    listed.retain(|entry| !entry.key.starts_with(ASIDE));
    let left_out = (all - listed.len()) as u64;
    listed.sort_by(|a, b| a.key.cmp(&b.key));
    (listed, left_out)
}

/// What is to be done with a listing that is in order. `previous` gives the entries of a key in an earlier point; it is
/// asked in the order of the keys.
pub fn works(
    bucket: &str,
    listed: Vec<ListedVersion>,
    mut previous: impl FnMut(&str) -> Vec<ObjectEntry>,
) -> Vec<Work> {
    let folders: Vec<bool> = listed
        .iter()
        .map(|entry| is_also_a_folder(&listed, &entry.key))
        .collect();
    let mut works = Vec::with_capacity(listed.len());
    for (listed, is_folder) in listed.into_iter().zip(folders) {
        let path = path_of(bucket, &listed, is_folder);
        let same = match path {
            None => None,
            Some(_) => previous(&listed.key)
                .into_iter()
                .find(|entry| entry.is_still(&listed)),
        };
        works.push(Work { listed, path, same });
    }
    works
}

fn path_of(bucket: &str, listed: &ListedVersion, is_folder: bool) -> Option<String> {
    if listed.is_marker {
        return None;
    }
    Some(match (&listed.version, listed.is_latest) {
        (Some(version), false) => version_path(bucket, &listed.key, version),
        _ => object_path(bucket, &listed.key, is_folder),
    })
}

/// Whether the key and a slash begin the key of a current object, which makes a directory of it.
fn is_also_a_folder(sorted: &[ListedVersion], key: &str) -> bool {
    let below = format!("{key}/");
    let start = sorted.partition_point(|entry| entry.key.as_str() < below.as_str());
    sorted[start..]
        .iter()
        .take_while(|entry| entry.key.starts_with(&below))
        .any(|entry| entry.is_latest && !entry.is_marker)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rekindle_stores::s3::ETag;

    use super::*;

    fn listed(key: &str, version: &str, is_latest: bool, is_marker: bool) -> ListedVersion {
        ListedVersion {
            key: key.into(),
            version: (!version.is_empty()).then(|| version.to_owned()),
            is_latest,
            is_marker,
            modified: Timestamp::UNIX_EPOCH,
            size: 1,
            etag: ETag("e".into()),
            storage_class: None,
        }
    }

    #[test]
    fn each_content_gets_its_place_and_what_was_set_aside_is_left_out() {
        let (ordered, left_out) = in_order(vec![
            listed("b", "2", true, true),
            listed("b", "1", false, false),
            listed("a/x", "", true, false),
            listed(".rekindle-aside/1/a", "", true, false),
            listed("a", "", true, false),
            listed("c/x", "9", true, true),
            listed("c", "1", true, false),
        ]);
        assert_eq!(left_out, 1);
        let works = works("k", ordered, |_| Vec::new());
        let paths: Vec<_> = works.iter().map(|work| work.path.as_deref()).collect();
        let expected = [
            Some("k/a%"),
            Some("k/a/x"),
            None,
            Some(".rekindle/k/versions/b%v/1"),
            // What hides an object makes no directory.
            Some("k/c"),
            None,
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn only_what_is_the_same_is_taken_over() {
        let mut known = ObjectEntry::listed(&listed("a", "1", true, false));
        known.path = Some("k/a".into());
        let previous = |_: &str| vec![known.clone()];
        let now = vec![
            listed("a", "2", true, false),
            // An older version now, and its content moves with it.
            listed("a", "1", false, false),
        ];
        let works = works("k", now, previous);
        assert!(works[0].same.is_none());
        assert_eq!(works[1].same.as_ref().unwrap().path.as_deref(), Some("k/a"));
    }
}
