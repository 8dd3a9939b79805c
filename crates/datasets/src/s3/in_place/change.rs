//! What must change in a bucket so that it is as the point has it. Pure.

use std::collections::HashMap;

use rekindle_stores::s3::ListedVersion;

use super::aside::{Content, Touched};
use crate::s3::{ObjectEntry, plan::ASIDE, restore::Scope};

/// A change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is written; `None` if the object is removed.
    pub entry: Option<ObjectEntry>,
    /// What is known of it before it is done.
    pub touched: Touched,
}

/// What must change, and which objects only look the same: their attributes must be compared.
#[derive(Debug, Default)]
pub struct Changes {
    /// What must change.
    pub certain: Vec<Change>,
    /// What must change if the attributes of the object differ.
    pub doubtful: Vec<Change>,
}

/// What must change in a bucket that holds `present` now, the newest version or delete marker of each object, so that it
/// holds `wanted`. Objects outside of the scope, and what
/// earlier restores set aside, are left alone.
pub fn changes(wanted: Vec<ObjectEntry>, present: &[ListedVersion], scope: &Scope) -> Changes {
    let mut there: HashMap<&str, &ListedVersion> = present
        .iter()
        .filter(|listed| scope.has(&listed.key) && !listed.key.starts_with(ASIDE))
        .map(|listed| (listed.key.as_str(), listed))
        .collect();
    let mut changes = Changes::default();
    for entry in wanted {
        let newest = there.remove(entry.key.as_str());
        let former = newest.filter(|listed| !listed.is_marker);
        let change = Change {
            touched: Touched {
                key: entry.key.clone(),
                former: former.map(content),
                on_top: newest.and_then(|listed| listed.version.clone()),
                wrote: Some(Content {
                    version: None,
                    etag: entry.etag.clone(),
                    size: entry.size,
                }),
                made: None,
            },
            entry: Some(entry),
        };
        match former.map(|former| likeness(&change, former)) {
            None | Some(Likeness::Other) => changes.certain.push(change),
            Some(Likeness::SameContent) => changes.doubtful.push(change),
            Some(Likeness::Untouched) => {}
        }
    }
    // In their order, so that two plans of the same are the same.
    let mut rest: Vec<_> = there
        .into_values()
        .filter(|listed| !listed.is_marker)
        .collect();
    rest.sort_by(|a, b| a.key.cmp(&b.key));
    changes
        .certain
        .extend(rest.into_iter().map(|former| Change {
            entry: None,
            touched: Touched {
                key: former.key.clone(),
                former: Some(content(former)),
                on_top: former.version.clone(),
                ..Touched::default()
            },
        }));
    changes
}

enum Likeness {
    Untouched,
    SameContent,
    Other,
}

fn likeness(change: &Change, former: &ListedVersion) -> Likeness {
    let Some(entry) = &change.entry else {
        return Likeness::Other;
    };
    let is_same =
        !entry.etag.0.is_empty() && entry.etag == former.etag && entry.size == former.size;
    match is_same {
        false => Likeness::Other,
        true if entry.modified == former.modified => Likeness::Untouched,
        true => Likeness::SameContent,
    }
}

fn content(listed: &ListedVersion) -> Content {
    Content {
        version: listed.version.clone(),
        etag: listed.etag.clone(),
        size: listed.size,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rekindle_stores::s3::ETag;

    use super::*;

    fn listed(key: &str, etag: &str, second: i64) -> ListedVersion {
        ListedVersion {
            key: key.into(),
            version: None,
            is_latest: true,
            is_marker: false,
            modified: Timestamp::from_second(second).unwrap(),
            size: 1,
            etag: ETag(etag.into()),
            storage_class: None,
        }
    }

    #[test]
    fn what_differs_is_replaced_what_is_new_is_removed_and_the_rest_is_left() {
        let wanted = [
            listed("changed", "1", 1),
            listed("gone", "1", 1),
            listed("same", "1", 1),
            listed("touched", "1", 1),
        ];
        let wanted = wanted.iter().map(ObjectEntry::listed).collect();
        let present = [
            listed(".rekindle-aside/1/x", "1", 1),
            listed("changed", "2", 2),
            listed("new", "1", 2),
            listed("same", "1", 1),
            listed("touched", "1", 2),
        ];
        let found = changes(wanted, &present, &Scope::All);
        let certain: Vec<_> = found
            .certain
            .iter()
            .map(|c| {
                (
                    c.touched.key.as_str(),
                    c.entry.is_some(),
                    c.touched.former.is_some(),
                )
            })
            .collect();
        assert_eq!(
            certain,
            [
                ("changed", true, true),
                ("gone", true, false),
                ("new", false, true)
            ]
        );
        assert_eq!(found.doubtful.len(), 1);
        assert_eq!(found.doubtful[0].touched.key, "touched");
        let none = changes(Vec::new(), &present, &Scope::Prefix("n".into()));
        assert_eq!(none.certain.len(), 1, "only what is meant");
    }
}
