//! The mark of a bucket that a restore has made and not finished: an object of its own, by which the next run knows that the
//! bucket's settings are still to come.

use bytes::Bytes;
use rekindle_stores::s3::{Attributes, S3Error, Written};
use serde::{Deserialize, Serialize};

use super::{BucketInPoint, Choice, S3RestoreError, S3Target};
use crate::s3::plan::ASIDE;

/// What is restored into a bucket that was made for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The recovery point.
    point: String,
    /// The bucket in it.
    bucket: String,
    /// What stands before the keys in the target.
    prefix: String,
    /// Which part, as of when, and whether with older versions.
    choice: String,
}

/// Where it lies: backups leave out what lies there.
pub fn key() -> String {
    format!("{ASIDE}restore-unfinished.json")
}

impl Mark {
    pub fn new(point: &BucketInPoint<'_>, target: &S3Target, choice: &Choice) -> Self {
        Self {
            point: point.id().to_string(),
            bucket: point.bucket.clone(),
            prefix: target.prefix.clone(),
            choice: format!("{choice:?}"),
        }
    }

    /// Whether the target has this mark.
    ///
    /// # Errors
    /// [`S3RestoreError::Refused`] if it has that of another restore.
    pub fn is_there(&self, target: &S3Target) -> Result<bool, S3RestoreError> {
        let (bucket, key) = (&target.bucket, key());
        let found = match target.client.get(bucket, &key, None, None, None) {
            // Who may not look there has not made one either.
            Err(error) if error.is_missing() || error.is_denied() => return Ok(false),
            found => found?,
        };
        let other = serde_json::from_slice::<Self>(&found.body).ok();
        if other.as_ref() == Some(self) {
            return Ok(true);
        }
        let what = other.map_or("something else".to_owned(), |other| {
            let point = other.point.get(..8).unwrap_or(&other.point).to_owned();
            format!("bucket `{}` of recovery point {point}", other.bucket)
        });
        Err(S3RestoreError::refused(
            format!("a restore of {what} to bucket `{bucket}` has not come to its end"),
            &format!(
                "finish it by the same command as then; or delete `{key}` there, and the bucket counts as any other"
            ),
        ))
    }

    pub fn put(&self, target: &S3Target) -> Result<Written, S3Error> {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let none = Attributes::default();
        target
            .client
            .put(&target.bucket, &key(), Bytes::from(body), &none)
    }

    /// Takes it away, so that no trace of it is left.
    pub fn remove(target: &S3Target, keeps_versions: bool) -> Result<(), S3Error> {
        let (client, bucket, key) = (&target.client, target.bucket.as_str(), key());
        if !keeps_versions {
            return client.delete(bucket, &key, None).map(drop);
        }
        let versions = client.list_versions(bucket, &key)?;
        let of_mark = versions.iter().filter(|listed| listed.key == key);
        of_mark.into_iter().try_for_each(|listed| {
            // Written before the bucket kept versions, it is the version `null`.
            let version = listed.version.as_deref().unwrap_or("null");
            client.delete(bucket, &key, Some(version)).map(drop)
        })
    }
}
