//! What of a bucket is at its target already, so that a restore that was interrupted goes on where it was.

use std::io::Read;

use rekindle_stores::s3::{ContentMd5, ETag, ListedVersion, S3Client};

use super::{BucketInPoint, S3RestoreError};
use crate::s3::ObjectEntry;

/// Read from the target at once, where contents must be compared.
const PIECE: u64 = 8 << 20;

/// How an object of the target compares with one of the point, as far as a listing tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// The same content.
    Same,
    /// The tags differ, and need not be made of the contents in the same way.
    Doubtful,
    /// Another content.
    Other,
}

/// Compares by size and tag.
pub fn likeness(entry: &ObjectEntry, there: &ListedVersion) -> Likeness {
    if there.is_marker || there.size != entry.size {
        return Likeness::Other;
    }
    match !entry.etag.0.is_empty() && entry.etag == there.etag {
        true => Likeness::Same,
        false => Likeness::Doubtful,
    }
}

/// How many of the versions that are to be written, oldest first, are there already, if what is there is the beginning of
/// them. A tag that differs counts as another content: then all are written on top, and nothing is lost by it.
pub fn begun(wanted: &[ObjectEntry], there: &[&ListedVersion]) -> Option<usize> {
    let same = |(wanted, there): (&ObjectEntry, &&ListedVersion)| match wanted.deleted {
        true => there.is_marker,
        false => likeness(wanted, there) == Likeness::Same,
    };
    let is_beginning = there.len() <= wanted.len() && wanted.iter().zip(there).all(same);
    is_beginning.then_some(there.len())
}

/// Whether an object of the target, of the same size, has the content that the point has: by the MD5 if its tag is one, else
/// by reading it. What cannot be read in the point is nothing that is there already.
pub fn has_same_content(
    client: &S3Client,
    bucket: &str,
    key: &str,
    point: &BucketInPoint<'_>,
    entry: &ObjectEntry,
) -> Result<bool, S3RestoreError> {
    let head = client.head(bucket, key, None)?;
    let path = entry.path.as_deref().unwrap_or_default();
    if head.etag.looks_like_md5() {
        let Ok(md5) = md5_of(point, path) else {
            return Ok(false);
        };
        if md5 == head.etag {
            return Ok(true);
        }
    }
    let there = Object {
        client,
        bucket,
        key,
        etag: &head.etag,
    };
    there.begins_as(point, path, entry.size)
}

/// Whether an object of the target has nothing but the beginning of what the point has. That is what a restore that was
/// killed leaves on servers that show an object while they still write it, and nothing is lost by writing it again.
pub fn is_beginning(
    client: &S3Client,
    bucket: &str,
    there: &ListedVersion,
    point: &BucketInPoint<'_>,
    entry: &ObjectEntry,
) -> Result<bool, S3RestoreError> {
    if there.is_marker || there.size >= entry.size {
        return Ok(false);
    }
    let head = client.head(bucket, &there.key, None)?;
    let path = entry.path.as_deref().unwrap_or_default();
    let object = Object {
        client,
        bucket,
        key: &there.key,
        etag: &head.etag,
    };
    object.begins_as(point, path, there.size)
}

/// An object of the target.
struct Object<'a> {
    client: &'a S3Client,
    bucket: &'a str,
    key: &'a str,
    /// It must still be this one.
    etag: &'a ETag,
}

impl Object<'_> {
    /// Whether its first bytes are those that the point has at this path.
    fn begins_as(
        &self,
        point: &BucketInPoint<'_>,
        path: &str,
        length: u64,
    ) -> Result<bool, S3RestoreError> {
        let Ok(mut content) = point.open(path) else {
            return Ok(false);
        };
        let etag = (!self.etag.0.is_empty()).then_some(self.etag);
        let mut at = 0;
        while at < length {
            let end = length.min(at + PIECE);
            let there = self
                .client
                .get(self.bucket, self.key, None, etag, Some(at..end))?;
            let mut ours = Vec::new();
            let read = (&mut content).take(end - at).read_to_end(&mut ours);
            if read.is_err() || ours != there.body {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }
}

fn md5_of(point: &BucketInPoint<'_>, path: &str) -> Result<ETag, S3RestoreError> {
    let mut content = point.open(path)?;
    let mut md5 = ContentMd5::default();
    let mut piece = vec![0; 1 << 20];
    loop {
        match content.read(&mut piece) {
            Ok(0) => return Ok(md5.finish()),
            Ok(length) => md5.update(piece.get(..length).unwrap_or_default()),
            Err(source) => return Err(point.bad(path, source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn listed(etag: &str, is_marker: bool) -> ListedVersion {
        ListedVersion {
            key: "k".into(),
            version: Some(etag.into()),
            is_latest: false,
            is_marker,
            modified: Timestamp::UNIX_EPOCH,
            size: 1,
            etag: ETag(etag.into()),
            storage_class: None,
        }
    }

    #[test]
    fn a_history_goes_on_where_it_was_only_if_it_began_so() {
        let versions = [listed("1", false), listed("", true), listed("2", false)];
        let wanted = versions
            .clone()
            .map(|version| ObjectEntry::listed(&version));
        let there: Vec<_> = versions.iter().collect();
        for length in 0..=3 {
            assert_eq!(begun(&wanted, &there[..length]), Some(length));
        }
        assert_eq!(begun(&wanted[..2], &there), None);
        assert_eq!(begun(&wanted, &there[1..]), None);
    }
}
