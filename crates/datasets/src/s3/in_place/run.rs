//! Carries a plan out, in batches that are in the journal before anything changes.

use std::collections::BTreeMap;

use rekindle_stores::s3::{S3Client, S3Error};

use super::{
    BucketPlan,
    aside::{BucketAside, S3Aside, Touched},
    change::Change,
};
use crate::{
    Aside, InPlaceError, Journal, RestoredInPlace,
    s3::{
        plan::ASIDE,
        restore::{S3RestoreError, Uploaded, each, lost_words, upload},
    },
};

/// The journal holds all that was done, so it is written at most so many times.
const MOST_BATCHES: usize = 100;
const SHORTEST_BATCH: usize = 64;

/// Changes the buckets as planned. `id` is a name for what is set aside that nothing has yet.
pub fn restore(
    client: &S3Client,
    plans: &[BucketPlan<'_>],
    id: &str,
    journal: &mut dyn Journal,
) -> Result<RestoredInPlace, InPlaceError> {
    let mut aside = S3Aside::default();
    let mut restored = RestoredInPlace::default();
    let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
    for plan in plans {
        aside.buckets.push(BucketAside {
            bucket: plan.point.bucket.clone(),
            by_versions: plan.by_versions,
            folder: format!("{ASIDE}{id}/"),
            ..BucketAside::default()
        });
        let at = aside.buckets.len() - 1;
        let batch = SHORTEST_BATCH.max(plan.changes.len().div_ceil(MOST_BATCHES));
        for batch in plan.changes.chunks(batch) {
            aside.buckets[at].doing = batch.iter().map(|change| change.touched.clone()).collect();
            journal.write(&Aside::S3(aside.clone()))?;
            let bucket = aside.buckets[at].clone();
            let (done, ended) = each(batch, |change| one(client, plan, &bucket, change));
            note(&mut aside.buckets[at], &done, ended.is_ok());
            if let Err(error) = ended {
                // What was done is better known than guessed at; if it cannot be noted, the guess will do.
                let _ = journal.write(&Aside::S3(aside));
                return Err(error.into());
            }
            for done in done.into_iter().flatten() {
                restored.entries += u64::from(done.touched.wrote.is_some());
                restored.bytes += done.touched.wrote.map_or(0, |wrote| wrote.size);
                for what in done.lost {
                    *lost.entry(what).or_default() += 1;
                }
            }
        }
        restored.set_aside.extend(where_it_is(&aside.buckets[at]));
        restored.warnings.extend(plan.warnings.iter().cloned());
    }
    journal.write(&Aside::S3(aside))?;
    restored.warnings.extend(lost.into_iter().map(lost_words));
    Ok(restored)
}

struct Done {
    touched: Touched,
    lost: Vec<&'static str>,
}

/// Notes what was done; of the others nobody knows how far they came.
fn note(bucket: &mut BucketAside, done: &[Option<Done>], all_done: bool) {
    let doing = std::mem::take(&mut bucket.doing);
    for (touched, done) in doing.into_iter().zip(done) {
        match done {
            Some(done) => bucket.done.push(done.touched.clone()),
            None if all_done => {}
            None => bucket.doing.push(touched),
        }
    }
}

fn one(
    client: &S3Client,
    plan: &BucketPlan<'_>,
    aside: &BucketAside,
    change: &Change,
) -> Result<Done, S3RestoreError> {
    let (bucket, key) = (aside.bucket.as_str(), change.touched.key.as_str());
    if !aside.by_versions && change.touched.former.is_some() {
        set_aside(client, aside, &change.touched)?;
    }
    let mut touched = change.touched.clone();
    let Some(entry) = &change.entry else {
        touched.made = client.delete(bucket, key, None)?.version;
        return Ok(Done {
            touched,
            lost: Vec::new(),
        });
    };
    let Uploaded { written, lost, .. } = upload(client, bucket, key, &plan.point, entry)?;
    touched.made.clone_from(&written.version);
    if let Some(wrote) = &mut touched.wrote {
        (wrote.etag, wrote.version) = (written.etag, written.version);
    }
    Ok(Done { touched, lost })
}

/// Copies what is there below the folder, and looks whether it arrived.
fn set_aside(
    client: &S3Client,
    aside: &BucketAside,
    touched: &Touched,
) -> Result<(), S3RestoreError> {
    let (bucket, key) = (aside.bucket.as_str(), touched.key.as_str());
    let copy = format!("{}{key}", aside.folder);
    match copied(client, bucket, key, &copy) {
        // It is gone already: there is nothing to set aside.
        Err(error) if error.is_missing() => Ok(()),
        other => other.map_err(Into::into),
    }
}

/// Copies an object within a bucket; an error if the copy is not what it should be.
pub(super) fn copied(client: &S3Client, bucket: &str, from: &str, to: &str) -> Result<(), S3Error> {
    let before = client.head(bucket, from, None)?;
    let class = before.attributes.storage_class.as_deref();
    client.copy((bucket, from, None), (bucket, to), class)?;
    let after = client.head(bucket, to, None)?;
    let both_tell = before.etag.looks_like_md5() && after.etag.looks_like_md5();
    if before.size == after.size && (!both_tell || before.etag == after.etag) {
        return Ok(());
    }
    Err(S3Error {
        doing: "copy aside",
        what: format!("`{bucket}/{}`", from.escape_debug()),
        source: std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "the copy is not the same as the object, which may have been replaced meanwhile",
        ),
    })
}

fn where_it_is(aside: &BucketAside) -> Option<String> {
    let kept = aside.done.iter().filter(|touched| touched.former.is_some());
    let count = kept.count();
    let (bucket, folder) = (&aside.bucket, &aside.folder);
    (count > 0).then(|| match aside.by_versions {
        true => format!("{count} objects of bucket `{bucket}`: as its older versions"),
        false => format!("{count} objects of bucket `{bucket}`: below `{folder}` in it"),
    })
}
