//! Objects that are written in parts. Source: AWS, "Uploading and copying objects using multipart upload".

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use http::Method;
use md5::{Digest, Md5};

use super::{
    Attributes, ETag, S3Client, S3Error, Written,
    error::strange,
    object::{late_etag, written},
    send::Request,
    sign::hex,
};
use crate::xml;

/// An object in the making: not there before it is finished, and given up when it is dropped.
pub struct PartsUpload<'a> {
    client: &'a S3Client,
    bucket: String,
    key: String,
    id: String,
    /// Number, tag and MD5 of each part.
    parts: Mutex<Vec<(u32, ETag, [u8; 16])>>,
    /// Given to the object when it is there: Ceph 16 cannot read those that an upload began with.
    tags: BTreeMap<String, String>,
    is_finished: bool,
}

const MIB: u64 = 1 << 20;
/// S3's limit.
const MOST_PARTS: u64 = 10_000;
/// Part sizes that tools use by default, the likeliest first.
const USUAL: [u64; 10] = [8, 5, 16, 10, 15, 32, 64, 100, 128, 512];

/// How long the parts of an object should be: if `etag` tells how many it had, as they probably were, so that its tag
/// becomes the same again; else what suits its size. At least 5 MiB, and no more than 10,000 parts.
#[must_use]
pub fn part_bytes_of(size: u64, etag: &ETag) -> u64 {
    let fits = |bytes: u64, parts: u64| size.div_ceil(bytes) == parts;
    let usual = USUAL.iter().map(|mib| mib * MIB);
    if let Some(parts) = etag.parts() {
        let even = size.div_ceil(parts).next_multiple_of(MIB);
        let mut candidates = usual.chain([even]);
        let found = candidates.find(|bytes| *bytes >= 5 * MIB && fits(*bytes, parts));
        if let Some(found) = found.filter(|bytes| *bytes <= 128 * MIB) {
            return found;
        }
    }
    let least = size.div_ceil(MOST_PARTS).next_multiple_of(MIB);
    least.max(16 * MIB)
}

/// The tag of an object in parts: the MD5 of the MD5s of its parts, and their number.
#[must_use]
pub fn md5_of_parts(parts: &[[u8; 16]]) -> ETag {
    let whole = Md5::digest(parts.concat());
    ETag(format!("{}-{}", hex(&whole), parts.len()))
}

impl S3Client {
    /// Begins an object in parts.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn begin_parts(
        &self,
        bucket: &str,
        key: &str,
        attributes: &Attributes,
    ) -> Result<PartsUpload<'_>, S3Error> {
        let mut request = Request::new("begin", Method::POST, bucket, key).with("uploads", "");
        let untagged = Attributes {
            tags: None,
            ..attributes.clone()
        };
        if let Err(error) = untagged.add_to(&mut request.headers) {
            return Err(request.error(io::Error::new(io::ErrorKind::InvalidInput, error)));
        }
        let answer = self.ask(&request)?;
        // rclone's server calls it otherwise.
        let xml = answer.xml("InitiateMultipartUploadResult");
        let xml = xml.or_else(|_| answer.xml("InitiateMultipartUpload"));
        let id = xml.and_then(|xml| {
            let id = xml::text(&xml, "UploadId").ok_or_else(|| strange("it names no upload"))?;
            xml::unescaped(id).map_err(strange)
        });
        Ok(PartsUpload {
            client: self,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            id: id.map_err(|source| request.error(source))?,
            parts: Mutex::default(),
            tags: attributes.tags.clone().unwrap_or_default(),
            is_finished: false,
        })
    }
}

impl PartsUpload<'_> {
    /// Writes a part, numbered from 1; several threads may at once.
    ///
    /// # Errors
    /// [`S3Error`], also if the server's tag is not that of the content.
    pub fn put(&self, number: u32, body: Bytes) -> Result<(), S3Error> {
        let md5: [u8; 16] = Md5::digest(&body).into();
        let request = Request::new("write a part of", Method::PUT, &self.bucket, &self.key)
            .with("partNumber", number.to_string())
            .with("uploadId", &self.id)
            .carrying(body);
        let etag = written(&self.client.ask(&request)?).etag;
        if etag.0.is_empty() {
            return Err(request.error(strange("the part has no tag")));
        }
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push((number, etag, md5));
        Ok(())
    }

    /// Makes the object of its parts. The second value is the tag that it should have, if the server does not encrypt.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn finish(mut self) -> Result<(Written, ETag), S3Error> {
        let parts = self.parts.get_mut().unwrap_or_else(PoisonError::into_inner);
        parts.sort_by_key(|(number, ..)| *number);
        let expected = md5_of_parts(&parts.iter().map(|(.., md5)| *md5).collect::<Vec<_>>());
        let list: String = parts
            .iter()
            .map(|(number, etag, _)| {
                let etag = xml::escaped(&format!("\"{}\"", etag.0));
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
            })
            .collect();
        let body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        let request = Request::new("finish", Method::POST, &self.bucket, &self.key)
            .with("uploadId", &self.id)
            .carrying(body.into());
        let answer = self.client.ask(&request)?;
        let etag = late_etag(&answer, "CompleteMultipartUploadResult");
        let etag = etag.map_err(|source| request.error(source))?;
        self.is_finished = true;
        let mut written = Written {
            etag,
            ..written(&answer)
        };
        if written.etag.0.is_empty() {
            // Ceph 16 names none here.
            let head = self
                .client
                .head(&self.bucket, &self.key, written.version.as_deref())?;
            (written.etag, written.version) = (head.etag, head.version);
        }
        if !self.tags.is_empty() {
            let version = written.version.as_deref();
            self.client
                .put_tags(&self.bucket, &self.key, version, &self.tags)?;
        }
        Ok((written, expected))
    }
}

impl Drop for PartsUpload<'_> {
    /// Parts of an upload that nobody finishes cost money until somebody looks.
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let request = Request::new("give up", Method::DELETE, &self.bucket, &self.key)
            .with("uploadId", &self.id);
        if let Err(error) = self.client.ask_only_once(&request) {
            tracing::warn!(%error, cause = %error.source, "parts of an upload were left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_as_long_as_they_probably_were() {
        let etag = |parts: u64| ETag(format!("d41d8cd98f00b204e9800998ecf8427e-{parts}"));
        assert_eq!(part_bytes_of(20 * MIB, &etag(3)), 8 * MIB);
        assert_eq!(part_bytes_of(20 * MIB, &etag(4)), 5 * MIB);
        assert_eq!(part_bytes_of(20 * MIB, &etag(1)), 32 * MIB);
        assert_eq!(part_bytes_of(60 * MIB, &etag(3)), 20 * MIB);
        assert_eq!(part_bytes_of(20 * MIB, &ETag("x".into())), 16 * MIB);
        assert_eq!(part_bytes_of(5 << 40, &etag(3)), 525 * MIB);
    }
}
