//! Buckets come back where they are: what differs is replaced, what the point does not have is set aside, and undo goes
//! back. Where the bucket keeps versions these hold what was there; else it is copied aside in the bucket first.

mod aside;
mod change;
mod run;
mod undo;

use std::sync::Mutex;

use jiff::Timestamp;
use rekindle_stores::s3::{BucketSetting, S3Client, Versioning};
use rekindle_vault::TreePath;

pub use aside::{BucketAside, Content, S3Aside, Touched};
pub(super) use run::restore;
pub(super) use undo::{discard, undo};

use super::{
    path::key_of,
    restore::{BucketInPoint, S3RestoreError, Scope, each, state_at},
};
use crate::{InPlaceSteps, PointSource};
use change::{Change, changes};

/// S3's limit for a copy in one request.
const LARGEST_COPY: u64 = 5 << 30;
/// So many objects are named one by one where something is said of them.
const MOST_NAMED: usize = 10;

/// What must be done to one bucket.
pub struct BucketPlan<'a> {
    point: BucketInPoint<'a>,
    changes: Vec<Change>,
    /// Whether the bucket's own versions keep what was there.
    by_versions: bool,
    warnings: Vec<String>,
    left: u64,
}

impl<'a> BucketPlan<'a> {
    /// Compares the bucket with the point. Changes nothing.
    pub fn make(
        client: &S3Client,
        source: &'a PointSource<'a>,
        bucket: &str,
        scope: &Scope,
        at: Option<Timestamp>,
    ) -> Result<Self, S3RestoreError> {
        let point = BucketInPoint::new(source, bucket);
        let entries = point.entries()?;
        point.ensure_known(&entries, at)?;
        let state = state_at(bucket, &entries, scope, at);
        if !client.has_bucket(bucket)? {
            return Err(S3RestoreError::refused(
                format!("there is no bucket `{bucket}` any more"),
                "restore it to a new bucket; a restore in place is for one that is there",
            ));
        }
        let by_versions = keeps_versions(client, bucket)?;
        let present = match by_versions {
            // Their versions are needed to know them again.
            true => client.list_versions(bucket, "")?,
            false => client.list_objects(bucket, "")?,
        };
        let present: Vec<_> = present
            .into_iter()
            .filter(|listed| listed.is_latest)
            .collect();
        let wanted = state.objects.len() as u64;
        // What the point lacks of an object is no reason to remove it.
        let mut found = changes(state.objects, &present, scope);
        found.certain.retain(|change| {
            change.entry.is_some() || !state.lacking.contains(&change.touched.key)
        });
        let mut changes = found.certain;
        changes.extend(really_different(client, bucket, found.doubtful)?);
        let written = changes.iter().filter(|c| c.entry.is_some()).count() as u64;
        let plan = Self {
            changes,
            by_versions,
            warnings: state.unknown,
            left: wanted - written,
            point,
        };
        plan.warned(client)
    }

    fn warned(mut self, client: &S3Client) -> Result<Self, S3RestoreError> {
        let bucket = self.point.bucket.clone();
        let formers = self
            .changes
            .iter()
            .filter_map(|c| c.touched.former.as_ref());
        if !self.by_versions && formers.clone().any(|former| former.size > LARGEST_COPY) {
            return Err(S3RestoreError::refused(
                format!(
                    "bucket `{bucket}` keeps no versions, and an object of more than 5 GiB would be replaced: it cannot be copied aside"
                ),
                "turn versioning on for the bucket, which then keeps what was there",
            ));
        }
        let lock = client.setting(&bucket, BucketSetting::ObjectLock);
        if lock.is_ok_and(|found| found.is_some_and(|text| text.contains("<DefaultRetention>"))) {
            self.warnings.push(format!(
                "bucket `{bucket}` locks what is written: after an undo, what the restore wrote stays as an older version until its lock ends"
            ));
        }
        Ok(self)
    }

    /// The plan in words.
    pub fn tell(&self, steps: &mut InPlaceSteps) {
        let bucket = &self.point.bucket;
        let written: Vec<_> = self.changes.iter().filter(|c| c.entry.is_some()).collect();
        let replaced: Vec<_> = written
            .iter()
            .filter(|c| c.touched.former.is_some())
            .collect();
        let removed: Vec<_> = self.changes.iter().filter(|c| c.entry.is_none()).collect();
        steps.entries += written.len() as u64;
        steps.bytes += written
            .iter()
            .filter_map(|c| c.entry.as_ref().map(|entry| entry.size))
            .sum::<u64>();
        let aside = match self.by_versions {
            true => "as older versions of the bucket".to_owned(),
            false => format!("below `{}` in the bucket", super::plan::ASIDE),
        };
        let kept = replaced.len() + removed.len();
        if kept > 0 {
            steps
                .set_aside
                .push(format!("{kept} objects of bucket `{bucket}`, {aside}"));
        }
        let names = |what: &[&Change]| {
            let names = what.iter().take(MOST_NAMED);
            let names = names.map(|c| format!("`{}`", c.touched.key.escape_debug()));
            let more = what.len().saturating_sub(MOST_NAMED);
            let more = (more > 0).then(|| format!("and {more} more"));
            names.chain(more).collect::<Vec<_>>().join(", ")
        };
        let created: Vec<&Change> = written
            .iter()
            .copied()
            .filter(|c| c.touched.former.is_none())
            .collect();
        let replaced: Vec<&Change> = written
            .iter()
            .copied()
            .filter(|c| c.touched.former.is_some())
            .collect();
        for (what, objects) in [
            ("write anew", &created),
            ("replace", &replaced),
            ("remove, because the point does not have them:", &removed),
        ] {
            if !objects.is_empty() {
                let count = objects.len();
                steps.steps.push(format!(
                    "bucket `{bucket}`: {what} {count} objects: {}",
                    names(objects)
                ));
            }
        }
        steps.steps.push(format!(
            "bucket `{bucket}`: leave {} objects, which are as they were",
            self.left
        ));
        steps.warnings.extend(self.warnings.iter().cloned());
    }
}

/// Where versions are suspended, what is written replaces the version `null`; only where they are on is nothing lost.
fn keeps_versions(client: &S3Client, bucket: &str) -> Result<bool, S3RestoreError> {
    match client.versioning(bucket) {
        Ok(versioning) => Ok(versioning == Versioning::On),
        Err(error) if error.is_unsupported() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Those of the same content that have other attributes now. Tags are not compared: that would cost a request each.
fn really_different(
    client: &S3Client,
    bucket: &str,
    doubtful: Vec<Change>,
) -> Result<Vec<Change>, S3RestoreError> {
    let different = Mutex::new(Vec::new());
    let (_, ended) = each(&doubtful, |change| -> Result<(), S3RestoreError> {
        let head = client.head(bucket, &change.touched.key, None)?;
        let is_same = change.entry.as_ref().is_some_and(|entry| {
            let (then, now) = (&entry.attributes, &head.attributes);
            then.headers == now.headers && then.metadata == now.metadata
        });
        if !is_same {
            let mut different = different
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            different.push(change.clone());
        }
        Ok(())
    });
    ended?;
    Ok(different
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Which objects of which bucket a part of the dataset names; `None`: all of all.
pub fn part_of(part: &TreePath) -> Result<(String, Scope), S3RestoreError> {
    let text = std::str::from_utf8(part.as_bytes()).unwrap_or_default();
    let (bucket, below) = text.split_once('/').unwrap_or((text, ""));
    let scope = match below {
        "" => Some(Scope::All),
        below => key_of(below).map(Scope::At),
    };
    let scope = scope.filter(|_| !bucket.is_empty() && bucket != super::path::BESIDE);
    scope
        .map(|scope| (bucket.to_owned(), scope))
        .ok_or_else(|| {
            S3RestoreError::refused(
                format!("`{text}` names no objects"),
                "name a bucket, or a path below one, as it lies in the point",
            )
        })
}
