//! One object, version or delete marker of a bucket, as the list in a recovery point has it.

use jiff::Timestamp;
use rekindle_stores::s3::{Attributes, ETag, ListedVersion};
use rekindle_vault::{ExtendedAttribute, Node, NodeKind};
use serde::{Deserialize, Serialize};

/// The extended attribute that tells of a stored object what the list tells.
pub const ATTRIBUTE: &str = "user.rekindle.s3";

/// A line of `objects.jsonl`. Fields are added, never renamed or reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectEntry {
    /// The object's key, as it is.
    pub key: String,
    /// Its version, where the bucket has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it is what a reader without a version got, or what hid the object from them.
    pub latest: bool,
    /// Whether it is a delete marker, which has no content.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted: bool,
    /// When it was written, by the server's clock.
    pub modified: Timestamp,
    /// Length in bytes.
    #[serde(default)]
    pub size: u64,
    /// The server's tag of its content.
    #[serde(default)]
    pub etag: ETag,
    /// What belongs to it beside its bytes.
    #[serde(flatten)]
    pub attributes: Attributes,
    /// Where its content lies, below the dataset. None: it has none, or it is not in the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why its content is not in the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

impl ObjectEntry {
    /// As it was listed; nothing is known of what belongs to it.
    pub fn listed(listed: &ListedVersion) -> Self {
        Self {
            key: listed.key.clone(),
            version: listed.version.clone(),
            latest: listed.is_latest,
            deleted: listed.is_marker,
            modified: listed.modified,
            size: listed.size,
            etag: listed.etag.clone(),
            attributes: Attributes {
                storage_class: listed.storage_class.clone(),
                ..Attributes::default()
            },
            path: None,
            missing: None,
        }
    }

    /// Whether what was listed is what this entry of an earlier point has the content of. The version `null` is written
    /// anew again and again, so all that a listing tells must be the same.
    pub fn is_still(&self, listed: &ListedVersion) -> bool {
        self.path.is_some()
            && !self.deleted
            && !listed.is_marker
            && !self.etag.0.is_empty()
            && self.version == listed.version
            && self.etag == listed.etag
            && self.size == listed.size
            && self.modified == listed.modified
    }

    /// The entry of the file that holds the content.
    pub fn node(&self) -> Node {
        let value = serde_json::to_vec(self).unwrap_or_default();
        Node {
            kind: NodeKind::File,
            mode: Node::go_mode(NodeKind::File, 0o644),
            mtime: self.modified,
            atime: self.modified,
            ctime: self.modified,
            size: self.size,
            links: 1,
            extended_attributes: vec![ExtendedAttribute {
                name: ATTRIBUTE.to_owned(),
                value,
            }],
            ..Node::default()
        }
    }

    /// The object for people: key, and version where there is one.
    pub fn shown(&self, bucket: &str) -> String {
        let key = self.key.escape_debug();
        match &self.version {
            Some(version) if !self.latest => format!("`{bucket}/{key}` (version {version})"),
            _ => format!("`{bucket}/{key}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> ListedVersion {
        ListedVersion {
            key: "k".into(),
            version: Some("null".into()),
            is_latest: true,
            is_marker: false,
            modified: "2026-11-21T12:00:01.5Z".parse().unwrap(),
            size: 3,
            etag: ETag("e".into()),
            storage_class: Some("COLD".into()),
        }
    }

    #[test]
    fn an_entry_survives_its_line_and_is_still_only_what_it_was() {
        let mut entry = ObjectEntry::listed(&listed());
        entry.attributes.metadata.insert("a".into(), "b".into());
        assert!(!entry.is_still(&listed()), "its content is nowhere");
        entry.path = Some("b/k".into());
        let line = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<ObjectEntry>(&line).unwrap(), entry);
        assert!(entry.is_still(&listed()));
        let changes: [fn(&mut ListedVersion); 5] = [
            |l: &mut ListedVersion| l.size = 4,
            |l| l.etag = ETag("f".into()),
            |l| l.version = None,
            |l| l.is_marker = true,
            |l| l.modified = "2026-11-21T12:00:01.6Z".parse().unwrap(),
        ];
        for change in changes {
            let mut changed = listed();
            change(&mut changed);
            assert!(!entry.is_still(&changed));
        }
        let untagged = ListedVersion {
            etag: ETag::default(),
            ..listed()
        };
        entry.etag = ETag::default();
        assert!(
            !entry.is_still(&untagged),
            "a server without tags cannot tell"
        );
    }
}
