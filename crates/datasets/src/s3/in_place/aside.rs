//! What a restore in place remembers of what it does: enough to undo it, also after a crash in the middle.

use rekindle_stores::s3::ETag;
use serde::{Deserialize, Serialize};

/// What a restore in place set aside: enough to bring it back. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Aside {
    /// The buckets that were changed.
    pub buckets: Vec<BucketAside>,
}

impl S3Aside {
    pub(crate) fn is_untouched(&self) -> bool {
        let is_untouched = |bucket: &BucketAside| bucket.done.is_empty() && bucket.doing.is_empty();
        self.buckets.iter().all(is_untouched)
    }

    /// How far it has come.
    pub(crate) fn in_words(&self) -> String {
        let each = self.buckets.iter().map(|bucket| {
            format!(
                "in bucket `{}` {} object(s) were changed, and {} more perhaps",
                bucket.bucket,
                bucket.done.len(),
                bucket.doing.len()
            )
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

/// What was set aside of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketAside {
    /// Its name.
    pub bucket: String,
    /// Whether the bucket's own versions keep what was there. Else it was copied into `folder` first.
    pub by_versions: bool,
    /// What the keys of copies begin with: `.rekindle-aside/<time>/`.
    pub folder: String,
    /// Objects that were changed.
    #[serde(default)]
    pub done: Vec<Touched>,
    /// Objects that were about to be changed: each may have been or not.
    #[serde(default)]
    pub doing: Vec<Touched>,
}

/// An object that is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// Its key.
    pub key: String,
    /// What was there before; `None` if there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Content>,
    /// The newest version or delete marker that it had before, where there are any: what lies above it came later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_top: Option<String>,
    /// What takes its place; `None` if it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrote: Option<Content>,
    /// The version or delete marker that we made, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
}

/// A content, as far as it must be known again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its version, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The server's tag of it.
    pub etag: ETag,
    /// Its length in bytes.
    pub size: u64,
}

impl Content {
    /// Whether something of this tag and length is, or may be, this content. What is written in parts gets a tag that is
    /// only known afterwards.
    pub fn may_be(&self, etag: &ETag, size: u64) -> bool {
        let both_tell = self.etag.looks_like_md5() && etag.looks_like_md5();
        self.size == size && (!both_tell || self.etag == *etag)
    }
}
