//! Objects out of a recovery point into a bucket, verified.

use std::{
    io::{self, Read},
    thread,
};

use bytes::Bytes;
use rekindle_stores::s3::{Attributes, ETag, S3Client, S3Error, Written, part_bytes_of};

use super::{BucketInPoint, S3RestoreError, compare::has_same_content};
use crate::s3::ObjectEntry;

/// Longer objects are written in parts.
const LARGE: u64 = 32 << 20;
/// With the length of a part this bounds the memory of one object.
const PARTS_AT_ONCE: usize = 3;

/// An object that was written.
#[derive(Clone, Debug, Default)]
pub struct Uploaded {
    /// What the server says of it.
    pub written: Written,
    /// Its tag as it is listed; some servers answer with another one when parts are put together.
    pub listed: ETag,
    /// What the server did not take or keep of what belongs to it.
    pub lost: Vec<&'static str>,
}

/// Writes an object under `key`, and looks whether the server has what it was given.
pub fn upload(
    client: &S3Client,
    bucket: &str,
    key: &str,
    point: &BucketInPoint<'_>,
    entry: &ObjectEntry,
) -> Result<Uploaded, S3RestoreError> {
    let mut lost = Vec::new();
    let written = match write(client, bucket, key, point, entry, &entry.attributes) {
        // A class that this server does not have, or tags that it does not take.
        Err(S3RestoreError::S3(error)) if is_about_extras(&error, &entry.attributes) => {
            let plain = Attributes {
                storage_class: None,
                tags: None,
                ..entry.attributes.clone()
            };
            lost.push("storage class or tags");
            write(client, bucket, key, point, entry, &plain)?
        }
        written => written?,
    };
    let head = client.head(bucket, key, written.version.as_deref())?;
    let not_kept = |what| S3RestoreError::NotKept {
        what,
        key: key.to_owned(),
    };
    if head.size != entry.size {
        return Err(not_kept("length"));
    }
    let is_as_said = written.etag.0.is_empty() || head.etag == written.etag;
    let is_of_parts = written.etag.parts().is_some() && head.etag.parts().is_none();
    let is_same =
        is_as_said || (is_of_parts && has_same_content(client, bucket, key, point, entry)?);
    if !is_same {
        return Err(not_kept("content"));
    }
    if head.attributes.metadata != entry.attributes.metadata {
        lost.push("metadata");
    }
    if head.attributes.headers != entry.attributes.headers {
        lost.push("content type and other headers");
    }
    point.did_bytes(entry.size);
    Ok(Uploaded {
        written,
        listed: head.etag,
        lost,
    })
}

fn is_about_extras(error: &S3Error, attributes: &Attributes) -> bool {
    let has_extras = attributes.storage_class.is_some() || attributes.tags.is_some();
    has_extras && (error.status() == Some(400) || error.is_unsupported())
}

fn write(
    client: &S3Client,
    bucket: &str,
    key: &str,
    point: &BucketInPoint<'_>,
    entry: &ObjectEntry,
    attributes: &Attributes,
) -> Result<Written, S3RestoreError> {
    let path = entry.path.as_deref().unwrap_or_default();
    let mut content = point.open(path)?;
    if entry.size > LARGE || entry.etag.parts().is_some_and(|_| entry.size > 0) {
        return in_parts(client, bucket, key, point, entry, attributes, &mut content);
    }
    let mut body = Vec::with_capacity(usize::try_from(entry.size).unwrap_or_default());
    let read = content.read_to_end(&mut body);
    read.map_err(|source| point.bad(path, source))?;
    ensure_length(point, path, body.len() as u64, entry.size)?;
    Ok(client.put(bucket, key, body.into(), attributes)?)
}

fn ensure_length(
    point: &BucketInPoint<'_>,
    path: &str,
    found: u64,
    wanted: u64,
) -> Result<(), S3RestoreError> {
    if found == wanted {
        return Ok(());
    }
    let said = format!("it has {found} bytes and should have {wanted}");
    Err(point.bad(path, io::Error::new(io::ErrorKind::InvalidData, said)))
}

fn in_parts(
    client: &S3Client,
    bucket: &str,
    key: &str,
    point: &BucketInPoint<'_>,
    entry: &ObjectEntry,
    attributes: &Attributes,
    content: &mut dyn Read,
) -> Result<Written, S3RestoreError> {
    let path = entry.path.as_deref().unwrap_or_default();
    let part_bytes = part_bytes_of(entry.size, &entry.etag);
    let upload = client.begin_parts(bucket, key, attributes)?;
    let (mut number, mut total) = (0, 0);
    loop {
        let mut parts = Vec::new();
        while parts.len() < PARTS_AT_ONCE {
            let mut part = Vec::new();
            let read = content.take(part_bytes).read_to_end(&mut part);
            read.map_err(|source| point.bad(path, source))?;
            if part.is_empty() {
                break;
            }
            number += 1;
            total += part.len() as u64;
            parts.push((number, Bytes::from(part)));
        }
        if parts.is_empty() {
            break;
        }
        put_all(&upload, parts)?;
    }
    // Before there is an object.
    ensure_length(point, path, total, entry.size)?;
    let (written, expected) = upload.finish()?;
    // A server that encrypts gives tags of its own making.
    let is_md5 = entry.etag.parts().is_some() && written.etag.parts().is_some();
    if is_md5 && written.etag != expected {
        tracing::debug!(key, etag = %written.etag.0, "the server's tag is not made of the parts' MD5");
    }
    Ok(written)
}

fn put_all(
    upload: &rekindle_stores::s3::PartsUpload<'_>,
    parts: Vec<(u32, Bytes)>,
) -> Result<(), S3Error> {
    thread::scope(|scope| {
        let threads: Vec<_> = parts
            .into_iter()
            .map(|(number, part)| scope.spawn(move || upload.put(number, part)))
            .collect();
        let ended = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ended.collect::<Result<Vec<_>, _>>().map(drop)
    })
}
