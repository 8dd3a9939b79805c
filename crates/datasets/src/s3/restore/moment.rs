//! Which moments of a bucket a recovery point can tell. Pure.

use jiff::Timestamp;

use super::S3RestoreError;
use crate::s3::{BucketRecord, ObjectEntry, VersioningRecord};

/// Refuses a moment that the point cannot tell of this bucket. `began` is when the backup began, for points that do not say
/// when the bucket was listed.
///
/// # Errors
/// [`S3RestoreError::Refused`], which says which moments there are.
pub fn ensure_known(
    record: &BucketRecord,
    entries: &[ObjectEntry],
    began: Timestamp,
    at: Timestamp,
) -> Result<(), S3RestoreError> {
    let bucket = &record.name;
    if !record.with_versions {
        let why = match record.versioning {
            VersioningRecord::On | VersioningRecord::Suspended => {
                "were not captured (`versions: current`)"
            }
            _ => "are not kept by it",
        };
        return Err(S3RestoreError::refused(
            format!(
                "older versions of bucket `{bucket}` {why}: it is known as it was captured only"
            ),
            "`rekindle points` lists when that was; `@TIME` in the place of POINT names the newest one that is not after a time",
        ));
    }
    let times = entries.iter().map(|entry| entry.modified);
    // The server's clock need not be ours.
    let until = times
        .clone()
        .fold(record.listed.unwrap_or(began), Timestamp::max);
    let from = times.min().unwrap_or(until);
    if (from..=until).contains(&at) {
        return Ok(());
    }
    let hint = match at > until {
        true => "a later point may have it; without POINT, the first one after the moment is taken",
        false => "an older point may have it, if versions were removed since",
    };
    Err(S3RestoreError::refused(
        format!(
            "the point has bucket `{bucket}` as it was from {from} to {until}, and not at {at}"
        ),
        hint,
    ))
}

#[cfg(test)]
mod tests {
    use rekindle_stores::s3::{ETag, ListedVersion};

    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_moment_is_known_from_the_oldest_version_to_the_listing() {
        let entries = [10, 30].map(|at| {
            ObjectEntry::listed(&ListedVersion {
                key: "k".into(),
                version: Some(at.to_string()),
                is_latest: false,
                is_marker: false,
                modified: second(at),
                size: 1,
                etag: ETag::default(),
                storage_class: None,
            })
        });
        let mut record = BucketRecord {
            name: "b".into(),
            with_versions: true,
            listed: Some(second(40)),
            ..BucketRecord::default()
        };
        let known =
            |record: &BucketRecord, at| ensure_known(record, &entries, second(20), second(at));
        for at in [10, 20, 40] {
            known(&record, at).unwrap();
        }
        let refused = known(&record, 41).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("from 1970-01-01T00:00:10Z to 1970-01-01T00:00:40Z"),
            "{said}"
        );
        assert!(known(&record, 9).unwrap_err().hint().is_some());
        record.listed = None;
        assert!(known(&record, 30).is_ok() && known(&record, 31).is_err());
        record.with_versions = false;
        assert!(known(&record, 20).is_err());
    }
}
