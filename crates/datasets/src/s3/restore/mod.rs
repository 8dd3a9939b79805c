//! Buckets come back: elsewhere, as they were at a moment or with their whole history.
//!
//! Start at [`plan`], which says what would be done, and [`BucketRestore::run`], which does it. Nothing is deleted here:
//! objects of the target that the point does not have stay.

mod each;
mod error;
mod point;
mod state;
mod target;
mod upload;

use std::collections::BTreeMap;

use jiff::Timestamp;
use rekindle_stores::s3::BucketSetting;
use serde::Serialize;

pub(super) use each::each;
pub use error::S3RestoreError;
pub use point::BucketInPoint;
pub use state::{Scope, State, state_at};
pub use target::S3Target;
pub(super) use upload::{Uploaded, upload};

use super::{BucketSettings, ObjectEntry, VersioningRecord};

/// What of a bucket comes back.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Which objects.
    pub scope: Scope,
    /// As they were then; as they were captured if `None`.
    pub at: Option<Timestamp>,
    /// With their older versions and delete markers, in their order; they get new names and times. The target must keep
    /// versions. With `at`, none that is later.
    pub with_history: bool,
}

/// What a restore to a bucket would do.
#[derive(Clone, Debug, Serialize)]
pub struct RestorePlan {
    /// The target, as a URL.
    pub target: String,
    /// Whether the bucket would be made, with its settings.
    pub makes_bucket: bool,
    /// Objects that would be written where there is none.
    pub creates: u64,
    /// Objects that would be written over others.
    pub replaces: u64,
    /// Objects of the target that stay as they are: the point does not have them.
    pub leaves: u64,
    /// Older versions and delete markers that would be written besides.
    pub history: u64,
    /// Bytes that would be written.
    pub bytes: u64,
    /// What a person should know before.
    pub warnings: Vec<String>,
}

/// What a restore to a bucket did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RestoreReport {
    /// Objects and versions that were written, and found to be what they should be.
    pub written: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Delete markers that were made.
    pub delete_markers: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// A restore that is planned and can be run.
pub struct BucketRestore<'a> {
    /// What it will do.
    pub plan: RestorePlan,
    point: BucketInPoint<'a>,
    target: S3Target,
    settings: BucketSettings,
    /// Of each object, what is written, oldest first.
    objects: Vec<Vec<ObjectEntry>>,
}

/// Looks at the point and at the target, and says what a restore would do.
///
/// # Errors
/// [`S3RestoreError::Refused`] if it would not be done.
pub fn plan<'a>(
    point: BucketInPoint<'a>,
    target: S3Target,
    choice: &Choice,
) -> Result<BucketRestore<'a>, S3RestoreError> {
    let settings = point.settings()?;
    let entries = point.entries()?;
    let state = state_at(&point.bucket, &entries, &choice.scope, choice.at);
    let objects = match choice.with_history {
        true => histories(&entries, choice),
        false => state
            .objects
            .iter()
            .map(|entry| vec![entry.clone()])
            .collect(),
    };
    let makes_bucket = !target.client.has_bucket(&target.bucket)?;
    let present = match makes_bucket {
        true => Vec::new(),
        false => target.client.list_objects(&target.bucket, &target.prefix)?,
    };
    let mut warnings = state.unknown;
    if choice.with_history {
        let keeps_versions = match makes_bucket {
            true => settings.versioning != VersioningRecord::Off,
            false => {
                target.client.versioning(&target.bucket)? == rekindle_stores::s3::Versioning::On
            }
        };
        if !keeps_versions {
            return Err(S3RestoreError::refused(
                format!(
                    "bucket `{}` keeps no versions, so older ones cannot come back",
                    target.bucket
                ),
                "turn versioning on there, or restore without the history",
            ));
        }
    }
    if !makes_bucket && !settings.settings.is_empty() {
        warnings.push(format!(
            "bucket `{}` is there already: its settings stay as they are; those of the point are in `.rekindle/{}/bucket.json`",
            target.bucket, point.bucket
        ));
    }
    let there: std::collections::HashSet<&str> =
        present.iter().map(|entry| entry.key.as_str()).collect();
    let replaces = objects
        .iter()
        .filter_map(|versions| versions.first())
        .filter(|entry| there.contains(target.key(&entry.key).as_str()))
        .count() as u64;
    let entries = objects.iter().flatten();
    let plan = RestorePlan {
        target: target.to_string(),
        makes_bucket,
        creates: objects.len() as u64 - replaces,
        replaces,
        leaves: present.len() as u64 - replaces,
        history: entries.clone().count() as u64 - objects.len() as u64,
        bytes: entries.map(|entry| entry.size).sum(),
        warnings,
    };
    Ok(BucketRestore {
        plan,
        point,
        target,
        settings,
        objects,
    })
}

/// All versions of each object, oldest first. Contents that are not in the point are left out; the state says which.
fn histories(entries: &[ObjectEntry], choice: &Choice) -> Vec<Vec<ObjectEntry>> {
    let is_meant = |entry: &&ObjectEntry| {
        choice.scope.has(&entry.key)
            && choice.at.is_none_or(|at| entry.modified <= at)
            && (entry.deleted || entry.path.is_some())
    };
    let of_each = entries.chunk_by(|a, b| a.key == b.key);
    of_each
        .map(|versions| versions.iter().rev().filter(is_meant).cloned().collect())
        .filter(|versions: &Vec<_>| !versions.is_empty())
        .collect()
}

impl BucketRestore<'_> {
    /// Writes the objects, each verified, then the settings of a bucket that was made for them.
    ///
    /// # Errors
    /// [`S3RestoreError`]; what was written until then stays.
    pub fn run(self) -> Result<RestoreReport, S3RestoreError> {
        let (client, bucket) = (&self.target.client, self.target.bucket.as_str());
        if self.plan.makes_bucket {
            let lock = BucketSetting::ObjectLock.name();
            client.create_bucket(bucket, self.settings.settings.contains_key(lock))?;
            if matches!(
                self.settings.versioning,
                VersioningRecord::On | VersioningRecord::Suspended
            ) {
                client.set_versioning(bucket, true)?;
            }
        }
        self.point.expect_bytes(self.plan.bytes);
        let (done, ended) = each(&self.objects, |versions| self.bring(versions));
        ended?;
        let mut report = RestoreReport::default();
        let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
        for one in done.into_iter().flatten() {
            report.written += one.written;
            report.bytes += one.bytes;
            report.delete_markers += one.markers;
            for what in one.lost {
                *lost.entry(what).or_default() += 1;
            }
        }
        report.warnings.extend(lost.into_iter().map(lost_words));
        if self.plan.makes_bucket {
            self.bring_settings(&mut report.warnings)?;
        }
        Ok(report)
    }

    fn bring(&self, versions: &[ObjectEntry]) -> Result<Brought, S3RestoreError> {
        let mut brought = Brought::default();
        let (client, bucket) = (&self.target.client, self.target.bucket.as_str());
        for entry in versions {
            let key = self.target.key(&entry.key);
            if entry.deleted {
                client.delete(bucket, &key, None)?;
                brought.markers += 1;
                continue;
            }
            let uploaded = upload(client, bucket, &key, &self.point, entry)?;
            brought.written += 1;
            brought.bytes += entry.size;
            brought.lost.extend(uploaded.lost);
        }
        Ok(brought)
    }

    /// A setting that the server refuses is told; the objects are there.
    fn bring_settings(&self, warnings: &mut Vec<String>) -> Result<(), S3RestoreError> {
        let (client, bucket) = (&self.target.client, self.target.bucket.as_str());
        for setting in BucketSetting::ALL {
            let Some(document) = self.settings.settings.get(setting.name()) else {
                continue;
            };
            if setting == BucketSetting::Policy && *bucket != self.settings.bucket {
                warnings.push(format!(
                    "the policy names bucket `{}` and was not given to `{bucket}`",
                    self.settings.bucket
                ));
                continue;
            }
            if let Err(error) = client.put_setting(bucket, setting, document) {
                if error.status().is_none() {
                    return Err(error.into());
                }
                let why = crate::with_causes(&error);
                warnings.push(format!(
                    "the {} of the bucket was not taken: {why}",
                    setting.name()
                ));
            }
        }
        if self.settings.versioning == VersioningRecord::Suspended {
            client.set_versioning(bucket, false)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Brought {
    written: u64,
    bytes: u64,
    markers: u64,
    lost: Vec<&'static str>,
}

pub(super) fn lost_words((what, count): (&str, u64)) -> String {
    format!("the server did not keep the {what} of {count} objects")
}
