//! The way back, however far a restore came, and the end of it.

use rekindle_stores::s3::{ListedVersion, S3Client};

use super::{
    aside::{BucketAside, Content, S3Aside, Touched},
    run::copied,
};
use crate::s3::restore::{S3RestoreError, each};

/// What an undo found of one object.
enum Undone {
    /// It is as it was.
    Back,
    /// What came after the restore stays: it is somebody else's.
    ChangedSince,
    /// What we wrote cannot be deleted; what was there lies on top of it.
    Covered,
    /// It had not been changed.
    Untouched,
}

/// Brings back what was there. May be called again after it failed.
pub fn undo(client: &S3Client, aside: &S3Aside) -> Result<Vec<String>, S3RestoreError> {
    let mut said = Vec::new();
    for bucket in &aside.buckets {
        // Of what was in work nobody knows how far it came.
        let touched: Vec<(&Touched, bool)> = bucket
            .doing
            .iter()
            .map(|touched| (touched, false))
            .chain(bucket.done.iter().map(|touched| (touched, true)))
            .collect();
        let (undone, ended) = each(&touched, |(touched, _)| match bucket.by_versions {
            true => by_versions(client, bucket, touched),
            false => from_copy(client, bucket, touched),
        });
        ended?;
        tell(bucket, &touched, &undone, &mut said);
    }
    Ok(said)
}

fn tell(
    bucket: &BucketAside,
    touched: &[(&Touched, bool)],
    undone: &[Option<Undone>],
    said: &mut Vec<String>,
) {
    let name = &bucket.bucket;
    let (mut back, mut covered) = (0_u64, 0_u64);
    for ((touched, _), undone) in touched.iter().zip(undone) {
        match undone {
            Some(Undone::Back) => back += 1,
            Some(Undone::Covered) => covered += 1,
            Some(Undone::ChangedSince) => said.push(format!(
                "`{name}/{}` was changed after the restore and stays as it is",
                touched.key.escape_debug()
            )),
            Some(Undone::Untouched) | None => {}
        }
    }
    said.push(format!(
        "{back} objects of bucket `{name}` are as they were"
    ));
    if covered > 0 {
        said.push(format!(
            "{covered} objects of bucket `{name}` are as they were, on top of what the restore wrote, which is locked"
        ));
    }
}

/// Removes the version or marker that we made; what was there is current again.
fn by_versions(
    client: &S3Client,
    bucket: &BucketAside,
    touched: &Touched,
) -> Result<Undone, S3RestoreError> {
    let name = bucket.bucket.as_str();
    if let Some(made) = &touched.made {
        let changed_since = is_changed_since(client, name, touched, made)?;
        return remove(client, name, touched, made, changed_since);
    }
    let versions = client.list_versions(name, &touched.key)?;
    let versions: Vec<_> = versions
        .into_iter()
        .filter(|listed| listed.key == touched.key)
        .collect();
    let Some(ours) = newer_and_ours(&versions, touched) else {
        return Ok(Undone::ChangedSince);
    };
    let Some(newest) = ours.first() else {
        return Ok(Undone::Untouched);
    };
    let changed_since = !newest.is_latest;
    let mut undone = Undone::Untouched;
    for ours in ours {
        let made = ours.version.as_deref().unwrap_or_default();
        undone = remove(client, name, touched, made, changed_since)?;
    }
    Ok(undone)
}

/// Whether something else than what we made, and than what was there before, is current.
fn is_changed_since(
    client: &S3Client,
    bucket: &str,
    touched: &Touched,
    made: &str,
) -> Result<bool, S3RestoreError> {
    if touched.wrote.is_none() {
        // A marker has no head; removing ours shows whatever is below or above it.
        return Ok(false);
    }
    let former = touched.former.as_ref();
    match client.head(bucket, &touched.key, None) {
        Err(error) if error.is_missing() => Ok(former.is_some()),
        Err(error) => Err(error.into()),
        Ok(head) => {
            let is_former = former.is_some_and(|former| former.version == head.version);
            Ok(head.version.as_deref() != Some(made) && !is_former)
        }
    }
}

fn remove(
    client: &S3Client,
    bucket: &str,
    touched: &Touched,
    made: &str,
    changed_since: bool,
) -> Result<Undone, S3RestoreError> {
    match client.delete(bucket, &touched.key, Some(made)) {
        Err(error) if error.is_denied() => return cover(client, bucket, touched, changed_since),
        other => drop(other?),
    }
    Ok(match changed_since {
        true => Undone::ChangedSince,
        false => Undone::Back,
    })
}

/// Of versions newest first, those above what was there that are what was going to be written. `None` if what was there
/// is there no longer: then nobody knows what came after it, and nothing is deleted.
fn newer_and_ours<'v>(
    versions: &'v [ListedVersion],
    touched: &Touched,
) -> Option<Vec<&'v ListedVersion>> {
    let newer = match &touched.on_top {
        None => versions.len(),
        on_top => versions
            .iter()
            .position(|listed| listed.version == *on_top)?,
    };
    let ours = versions
        .iter()
        .take(newer)
        .filter(|listed| match &touched.wrote {
            None => listed.is_marker,
            Some(wrote) => !listed.is_marker && wrote.may_be(&listed.etag, listed.size),
        });
    Some(ours.collect())
}

/// What may not be deleted is hidden by what was there before.
fn cover(
    client: &S3Client,
    bucket: &str,
    touched: &Touched,
    changed_since: bool,
) -> Result<Undone, S3RestoreError> {
    if changed_since {
        return Ok(Undone::ChangedSince);
    }
    let key = touched.key.as_str();
    match &touched.former {
        Some(former) => {
            let version = former.version.as_deref();
            let class = client.head(bucket, key, version)?.attributes.storage_class;
            client.copy((bucket, key, version), (bucket, key), class.as_deref())?;
        }
        None => drop(client.delete(bucket, key, None)?),
    }
    Ok(Undone::Covered)
}

/// Copies back what was copied aside. The copy goes when it is back, as with everything that is moved.
fn from_copy(
    client: &S3Client,
    bucket: &BucketAside,
    touched: &Touched,
) -> Result<Undone, S3RestoreError> {
    let (name, key) = (bucket.bucket.as_str(), touched.key.as_str());
    let copy = format!("{}{key}", bucket.folder);
    let now = match client.head(name, key, None) {
        Err(error) if error.is_missing() => None,
        head => Some(head?),
    };
    let is = |content: Option<&Content>| match (content, &now) {
        (Some(content), Some(now)) => content.may_be(&now.etag, now.size),
        (None, None) => true,
        _ => false,
    };
    let Some(former) = &touched.former else {
        // We made it.
        return Ok(match (&now, is(touched.wrote.as_ref())) {
            (None, _) => Undone::Untouched,
            (Some(_), true) => {
                client.delete(name, key, None)?;
                Undone::Back
            }
            (Some(_), false) => Undone::ChangedSince,
        });
    };
    match client.head(name, &copy, None) {
        // It was copied before anything was changed, so nothing was, or it is back already.
        Err(error) if error.is_missing() && is(Some(former)) => return Ok(Undone::Untouched),
        Err(error) if error.is_missing() => {
            return Err(S3RestoreError::refused(
                format!(
                    "`{name}/{copy}`, which a restore set aside, is gone, and `{key}` is not what was there before"
                ),
                "restore the object from a recovery point",
            ));
        }
        head => drop(head?),
    }
    if !is(touched.wrote.as_ref()) && !is(Some(former)) {
        // Somebody wrote to it since. It stays; the copy, too, until it is discarded.
        return Ok(Undone::ChangedSince);
    }
    copied(client, name, &copy, key)?;
    client.delete(name, &copy, None)?;
    Ok(Undone::Back)
}

/// Deletes what was copied aside. Versions are the bucket's own, and stay.
pub fn discard(client: &S3Client, aside: &S3Aside) -> Result<Vec<String>, S3RestoreError> {
    let mut said = Vec::new();
    for bucket in &aside.buckets {
        let name = bucket.bucket.as_str();
        if bucket.by_versions {
            said.push(format!(
                "what was there before stays in bucket `{name}` as its older versions"
            ));
            continue;
        }
        if !bucket.folder.starts_with(crate::s3::plan::ASIDE) {
            return Err(S3RestoreError::refused(
                format!("`{}` is no place for what was set aside", bucket.folder),
                "the journal is damaged; nothing was deleted",
            ));
        }
        let copies = client.list_objects(name, &bucket.folder)?;
        let (_, ended) = each(&copies, |copy| client.delete(name, &copy.key, None));
        ended.map_err(S3RestoreError::from)?;
        let count = copies.len();
        said.push(format!(
            "{count} objects set aside in bucket `{name}` were deleted"
        ));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rekindle_stores::s3::ETag;

    use super::*;

    fn version(id: &str, etag: &str, is_marker: bool) -> ListedVersion {
        ListedVersion {
            key: "k".into(),
            version: Some(id.into()),
            is_latest: false,
            is_marker,
            modified: Timestamp::UNIX_EPOCH,
            size: 1,
            etag: ETag(etag.into()),
            storage_class: None,
        }
    }

    #[test]
    fn only_what_lies_above_the_former_version_and_is_what_was_written_is_ours() {
        let (ours, other) = (
            "0123456789abcdef0123456789abcdef",
            "f123456789abcdef0123456789abcdef",
        );
        let versions = [
            version("5", other, false),
            version("4", ours, false),
            version("3", "", true),
            version("2", ours, false),
            version("1", ours, false),
        ];
        let content = |id: Option<&str>| Content {
            version: id.map(str::to_owned),
            etag: ETag(ours.into()),
            size: 1,
        };
        let mut touched = Touched {
            key: "k".into(),
            former: Some(content(Some("2"))),
            on_top: Some("2".into()),
            wrote: Some(content(None)),
            made: None,
        };
        let ids = |touched: &Touched| {
            let found = newer_and_ours(&versions, touched)?;
            let ids = found.iter().map(|v| v.version.clone().unwrap());
            Some(ids.collect::<Vec<_>>())
        };
        assert_eq!(ids(&touched).unwrap(), ["4"]);
        touched.wrote = None;
        assert_eq!(ids(&touched).unwrap(), ["3"]);
        // It was deleted before: older versions of the same content are not ours.
        (touched.former, touched.wrote) = (None, Some(content(None)));
        touched.on_top = Some("3".into());
        assert_eq!(ids(&touched).unwrap(), ["4"]);
        touched.on_top = Some("gone".into());
        assert_eq!(ids(&touched), None);
    }
}
