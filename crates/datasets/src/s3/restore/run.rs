//! Writes the objects of a planned restore. One that is refused or damaged does not stop the others.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicU64, Ordering},
};

use rekindle_stores::s3::{BucketSetting, ETag, S3Client};
use serde::Serialize;

use super::{BucketRestore, S3RestoreError, each, mark::Mark, upload};
use crate::{
    s3::{ObjectEntry, VersioningRecord},
    with_causes,
};

/// If so many objects were refused and not one was written, the others need not be tried.
const HOPELESS: u64 = 50;
/// So many objects that did not come back are named.
const MOST_NAMED: usize = 20;

/// What a restore to a bucket did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RestoreReport {
    /// Objects and versions that were written, and found to be what they should be.
    pub written: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Delete markers that were made.
    pub delete_markers: u64,
    /// How many objects did not come back, or not as they should be.
    pub failed: u64,
    /// Some of those, and why.
    pub failures: Vec<String>,
    /// Whether some failed because the point's own data cannot be read.
    pub is_damaged: bool,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl BucketRestore<'_> {
    /// Writes the objects, each verified, looks whether the server lists them all, and gives a bucket that was made for them
    /// its settings. It may be run again after any interruption: what is there is not written again.
    ///
    /// # Errors
    /// [`S3RestoreError`]; what was written until then stays. That single objects did not come back is in the report, unless
    /// not one did.
    pub fn run(self) -> Result<RestoreReport, S3RestoreError> {
        if let Some(refusal) = self.plan.refusal() {
            return Err(refusal);
        }
        let keeps_versions = self.make_bucket()?;
        self.point.expect_bytes(self.plan.bytes);
        let counts = Counts::default();
        let (done, ended) = each(&self.objects, |versions| {
            self.bring_or_say(versions, &counts)
        });
        ended?;
        let mut report = RestoreReport::default();
        let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
        let mut written = HashMap::new();
        let mut first_failure = None;
        for (versions, one) in self.objects.iter().zip(done.into_iter().flatten()) {
            report.written += one.written;
            report.bytes += one.bytes;
            report.delete_markers += one.markers;
            for what in one.lost {
                *lost.entry(what).or_default() += 1;
            }
            match (one.failure, versions.last()) {
                (Some((shown, error)), _) => {
                    report.is_damaged |= error.is_damage();
                    report.fail(format!("{shown}: {}", with_causes(&error)));
                    first_failure.get_or_insert(error);
                }
                (None, Some(last)) => {
                    let last = (!last.deleted).then_some((last.size, one.etag));
                    written.insert(self.target.key(&versions[0].key), last);
                }
                (None, None) => {}
            }
        }
        if let Some(error) = first_failure.filter(|_| report.written == 0 && self.plan.there == 0) {
            return Err(error);
        }
        self.look_again(written, &mut report)?;
        report.warnings.extend(lost.into_iter().map(lost_words));
        self.finish_bucket(keeps_versions, &mut report)?;
        Ok(report)
    }

    fn is_ours(&self) -> bool {
        self.plan.makes_bucket || self.plan.goes_on
    }

    /// Makes the bucket if it must be made, and says whether one of ours keeps versions.
    fn make_bucket(&self) -> Result<bool, S3RestoreError> {
        let (client, bucket) = (&self.target.client, self.target.bucket.as_str());
        if self.plan.makes_bucket {
            let lock = BucketSetting::ObjectLock.name();
            client.create_bucket(bucket, self.settings.settings.contains_key(lock))?;
            // The settings come last, because they may forbid what comes before.
            self.mark.put(&self.target)?;
        }
        let kept = matches!(
            self.settings.versioning,
            VersioningRecord::On | VersioningRecord::Suspended
        );
        if !self.is_ours() || !kept {
            return Ok(false);
        }
        match client.set_versioning(bucket, true) {
            // Without the history the objects are all that is wanted.
            Err(error) if error.is_unsupported() && self.plan.history == 0 => Ok(false),
            done => Ok(done.map(|()| true)?),
        }
    }

    /// What concerns one object only is noted; what concerns the server is an error.
    fn bring_or_say(
        &self,
        versions: &[ObjectEntry],
        counts: &Counts,
    ) -> Result<Brought, S3RestoreError> {
        let mut brought = Brought::default();
        for entry in versions {
            let Err(error) = self.bring(entry, &mut brought) else {
                counts.written.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let has_written = counts.written.load(Ordering::Relaxed) > 0;
            if !is_of_this_object(&error, has_written) {
                return Err(error);
            }
            let refused = counts.refused.fetch_add(1, Ordering::Relaxed);
            if refused >= HOPELESS && !has_written {
                return Err(error);
            }
            // A history with a hole would be another history.
            brought.failure = Some((entry.shown(&self.point.bucket), error));
            break;
        }
        Ok(brought)
    }

    fn bring(&self, entry: &ObjectEntry, brought: &mut Brought) -> Result<(), S3RestoreError> {
        let (client, bucket) = (&self.target.client, self.target.bucket.as_str());
        let key = self.target.key(&entry.key);
        if entry.deleted {
            client.delete(bucket, &key, None)?;
            brought.markers += 1;
            return Ok(());
        }
        let uploaded = upload(client, bucket, &key, &self.point, entry)?;
        brought.written += 1;
        brought.bytes += entry.size;
        brought.etag = uploaded.listed;
        brought.lost.extend(uploaded.lost);
        Ok(())
    }

    /// Servers that keep objects as files give two keys the same file (`a//b`, `a/b`): each was written well, and one is lost.
    fn look_again(
        &self,
        written: HashMap<String, Option<(u64, ETag)>>,
        report: &mut RestoreReport,
    ) -> Result<(), S3RestoreError> {
        if written.is_empty() {
            return Ok(());
        }
        let bucket = self.target.bucket.as_str();
        let listed = self
            .target
            .client
            .list_objects(bucket, &self.target.prefix)?;
        let listed: HashMap<_, _> = listed
            .into_iter()
            .map(|listed| (listed.key, (listed.size, listed.etag)))
            .collect();
        let mut lost: Vec<_> = written
            .into_iter()
            .filter(|(key, wanted)| !is_as_written(wanted.as_ref(), listed.get(key)))
            .map(|(key, _)| key)
            .collect();
        lost.sort();
        for key in lost {
            report.fail(format!(
                "`{bucket}/{}`: the server took it, and does not list it as it was written: it may keep another key in its place",
                key.escape_debug()
            ));
        }
        Ok(())
    }

    fn finish_bucket(
        &self,
        keeps_versions: bool,
        report: &mut RestoreReport,
    ) -> Result<(), S3RestoreError> {
        if !self.is_ours() {
            return Ok(());
        }
        if !keeps_versions && self.settings.versioning == VersioningRecord::On {
            report.warnings.push(format!(
                "bucket `{}` keeps no versions, and `{}` did: the server knows none",
                self.target.bucket, self.point.bucket
            ));
        }
        self.bring_settings(&mut report.warnings)?;
        if keeps_versions && self.settings.versioning == VersioningRecord::Suspended {
            let (client, bucket) = (&self.target.client, &self.target.bucket);
            client.set_versioning(bucket, false)?;
        }
        if let Err(error) = Mark::remove(&self.target, keeps_versions) {
            let why = with_causes(&error);
            let key = super::mark::key();
            report.warnings.push(format!(
                "`{key}` stays in the bucket, which is nevertheless finished: {why}"
            ));
        }
        Ok(())
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
            bring_setting(client, bucket, setting, document, warnings)?;
        }
        Ok(())
    }
}

fn bring_setting(
    client: &S3Client,
    bucket: &str,
    setting: BucketSetting,
    document: &str,
    warnings: &mut Vec<String>,
) -> Result<(), S3RestoreError> {
    let Err(error) = client.put_setting(bucket, setting, document) else {
        return Ok(());
    };
    if error.status().is_none() {
        return Err(error.into());
    }
    let why = with_causes(&error);
    warnings.push(format!(
        "the {} of the bucket was not taken: {why}",
        setting.name()
    ));
    Ok(())
}

impl RestoreReport {
    fn fail(&mut self, what: String) {
        self.failed += 1;
        if self.failures.len() < MOST_NAMED {
            self.failures.push(what);
        }
    }
}

/// Whether the others may still succeed: the server has refused this object, or the point cannot give it. One that fails at it
/// again and again while others are taken has no place for its key.
fn is_of_this_object(error: &S3RestoreError, has_written: bool) -> bool {
    match error {
        S3RestoreError::Content { .. } | S3RestoreError::NotKept { .. } => true,
        S3RestoreError::Vault(_) => error.is_damage(),
        S3RestoreError::S3(error) => {
            let refused = error
                .status()
                .is_some_and(|status| (400..500).contains(&status));
            let stumbles = has_written && error.status() == Some(500);
            (refused || stumbles)
                && !matches!(error.status(), Some(401 | 408 | 429))
                && !error.is_no_bucket()
        }
        S3RestoreError::Refused { .. } | S3RestoreError::Write { .. } => false,
    }
}

/// Whether the listing has what was written; nothing, if what was written is a delete marker.
fn is_as_written(wanted: Option<&(u64, ETag)>, listed: Option<&(u64, ETag)>) -> bool {
    match (wanted, listed) {
        (None, None) => true,
        (Some((size, etag)), Some((found, tag))) => {
            size == found && (etag == tag || etag.0.is_empty() || tag.0.is_empty())
        }
        _ => false,
    }
}

#[derive(Default)]
struct Counts {
    written: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Brought {
    written: u64,
    bytes: u64,
    markers: u64,
    etag: ETag,
    lost: Vec<&'static str>,
    failure: Option<(String, S3RestoreError)>,
}

pub(in crate::s3) fn lost_words((what, count): (&str, u64)) -> String {
    format!("the server did not keep the {what} of {count} objects")
}

#[cfg(test)]
mod tests {
    use rekindle_vault::{VaultError, store::FileKind};

    use super::*;

    #[test]
    fn what_a_server_does_not_keep_is_no_damage_of_the_point() {
        let error = S3RestoreError::NotKept {
            what: "length",
            key: "a/b".to_owned(),
        };
        assert!(is_of_this_object(&error, false) && !error.is_damage());
        let said = "the server has another length of `a/b` than was written";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn a_damaged_directory_of_the_point_does_not_stop_the_others() {
        let error = S3RestoreError::Vault(VaultError::Damaged {
            kind: FileKind::Pack,
            name: "ab".to_owned(),
            reason: "its hash is another one".to_owned(),
        });
        assert!(is_of_this_object(&error, false) && error.is_damage());
    }
}
