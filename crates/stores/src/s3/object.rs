//! Objects: read, written, copied, deleted; their tags.
//!
//! Source: AWS, "GetObject", "PutObject", "CopyObject", "DeleteObject", "GetObjectTagging".

use std::{collections::BTreeMap, io, ops::Range};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use md5::{Digest, Md5};

use super::{
    Attributes, ETag, ObjectHead, S3Client, S3Error,
    error::strange,
    send::{Answer, Request, refusal},
    sign::hex,
};
use crate::{escape::escaped_path, xml};

/// An object or a part of one, as it was read.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What the server says of the whole object.
    pub head: ObjectHead,
    /// The bytes: as many as were asked for.
    pub body: Bytes,
}

impl Fetched {
    /// The MD5 of the bytes, as a tag.
    #[must_use]
    pub fn md5(&self) -> ETag {
        ETag(hex(&Md5::digest(&self.body)))
    }

    /// Whether the bytes are what the tag says; `None` if it says nothing of them. Of whole objects only.
    #[must_use]
    pub fn is_as_tagged(&self) -> Option<bool> {
        let tells = self.head.etag.looks_like_md5() && !self.head.is_tag_opaque;
        tells.then(|| self.md5().0.eq_ignore_ascii_case(&self.head.etag.0))
    }
}

/// The MD5 of a content that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct ContentMd5(Md5);

impl ContentMd5 {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The MD5 of all pieces, as a tag.
    #[must_use]
    pub fn finish(self) -> ETag {
        ETag(hex(&self.0.finalize()))
    }
}

/// What a server says of something it wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The tag of the content; empty after a deletion.
    pub etag: ETag,
    /// The new version, or the delete marker; `None` where there are none.
    pub version: Option<String>,
}

impl S3Client {
    /// Reads an object of at most some MiB, or `range` of one. With `etag` only if it is still that one.
    ///
    /// # Errors
    /// [`S3Error`]; [`S3Error::is_missing`], [`S3Error::is_changed`].
    pub fn get(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        etag: Option<&ETag>,
        range: Option<Range<u64>>,
    ) -> Result<Fetched, S3Error> {
        let mut request = Request::new("read", Method::GET, bucket, key).of_version(version);
        if let Some(range) = &range {
            let value = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            set(&mut request.headers, "range", &value);
        }
        if let Some(etag) = etag {
            set(&mut request.headers, "if-match", &format!("\"{}\"", etag.0));
        }
        let answer = self.ask(&request)?;
        let fetched = fetched(answer, range).map_err(|source| request.error(source))?;
        // Not every server knows the condition.
        if etag.is_some_and(|etag| *etag != fetched.head.etag) {
            return Err(request.error(refusal(StatusCode::PRECONDITION_FAILED, "")));
        }
        Ok(fetched)
    }

    /// What the server says of an object.
    ///
    /// # Errors
    /// As [`S3Client::get`].
    pub fn head(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<ObjectHead, S3Error> {
        let request = Request::new("look at", Method::HEAD, bucket, key).of_version(version);
        let answer = self.ask(&request)?;
        let size = number(&answer.headers, "content-length");
        let size =
            size.ok_or_else(|| request.error(strange("it does not say how long the object is")))?;
        Ok(ObjectHead::from_headers(&answer.headers, size))
    }

    /// Writes an object in one piece; the server checks the MD5 of what it got, and so do we.
    ///
    /// # Errors
    /// [`S3Error`], also if the server's tag is not that of the content.
    pub fn put(
        &self,
        bucket: &str,
        key: &str,
        body: Bytes,
        attributes: &Attributes,
    ) -> Result<Written, S3Error> {
        let md5 = ETag(hex(&Md5::digest(&body)));
        let mut request = Request::new("write", Method::PUT, bucket, key).carrying(body);
        if let Err(error) = attributes.add_to(&mut request.headers) {
            return Err(request.error(io::Error::new(io::ErrorKind::InvalidInput, error)));
        }
        let answer = self.ask(&request)?;
        let head = ObjectHead::from_headers(&answer.headers, 0);
        let tells = head.etag.looks_like_md5() && !head.is_tag_opaque;
        if tells && !head.etag.0.eq_ignore_ascii_case(&md5.0) {
            return Err(request.error(strange("it has stored other bytes than it was sent")));
        }
        Ok(written(&answer))
    }

    /// Copies an object within the server, with all that belongs to it. Its storage class must be said: a copy gets the
    /// standard one otherwise. At most 5 GiB on AWS.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn copy(
        &self,
        (bucket, key, version): (&str, &str, Option<&str>),
        (to_bucket, to_key): (&str, &str),
        storage_class: Option<&str>,
    ) -> Result<Written, S3Error> {
        let mut request = Request::new("copy to", Method::PUT, to_bucket, to_key);
        let mut source = format!("/{}/{}", escaped_path(bucket), escaped_path(key));
        if let Some(version) = version {
            source = format!("{source}?versionId={}", crate::escape::escaped(version));
        }
        set(&mut request.headers, "x-amz-copy-source", &source);
        set(&mut request.headers, "x-amz-metadata-directive", "COPY");
        if let Some(class) = storage_class {
            set(&mut request.headers, "x-amz-storage-class", class);
        }
        let answer = self.ask(&request)?;
        let etag = late_etag(&answer, "CopyObjectResult").map_err(|e| request.error(e))?;
        Ok(Written {
            etag,
            ..written(&answer)
        })
    }

    /// Deletes an object, or one version of it for good. Deleting what is not there is no error.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn delete(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Written, S3Error> {
        let request = Request::new("delete", Method::DELETE, bucket, key).of_version(version);
        match self.ask(&request) {
            Err(error) if error.is_missing() => Ok(Written::default()),
            answer => answer.map(|answer| written(&answer)),
        }
    }

    /// The tags of an object.
    ///
    /// # Errors
    /// [`S3Error`]; [`S3Error::is_unsupported`] if the server keeps none.
    pub fn tags(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<BTreeMap<String, String>, S3Error> {
        let request = Request::new("read the tags of", Method::GET, bucket, key)
            .with("tagging", "")
            .of_version(version);
        match self.ask(&request) {
            Err(error) if error.code() == "NoSuchTagSet" => Ok(BTreeMap::new()),
            Err(error) => Err(error),
            // Ceph 16, of an object in parts that got its tags when it was begun.
            Ok(answer) if answer.body.is_empty() => Err(request.error(strange("it is empty"))),
            Ok(answer) => {
                let tags = answer.xml("Tagging").and_then(|xml| tags_in(&xml));
                tags.map_err(|source| request.error(source))
            }
        }
    }

    /// Gives an object these tags in place of those it has.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn put_tags(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), S3Error> {
        let set: String = tags
            .iter()
            .map(|(name, value)| {
                let (name, value) = (xml::escaped(name), xml::escaped(value));
                format!("<Tag><Key>{name}</Key><Value>{value}</Value></Tag>")
            })
            .collect();
        let body = format!("<Tagging><TagSet>{set}</TagSet></Tagging>");
        let request = Request::new("tag", Method::PUT, bucket, key)
            .with("tagging", "")
            .of_version(version)
            .carrying(body.into());
        self.ask(&request).map(drop)
    }
}

fn fetched(answer: Answer, range: Option<Range<u64>>) -> io::Result<Fetched> {
    let length = answer.body.len() as u64;
    let Some(range) = range else {
        let head = ObjectHead::from_headers(&answer.headers, length);
        return Ok(Fetched {
            head,
            body: answer.body,
        });
    };
    let wanted = range.end - range.start;
    let said = answer.headers.get("content-range");
    let said = said.and_then(|value| value.to_str().ok());
    let whole = || {
        let (start, end) = (range.start, range.end);
        strange(format!(
            "bytes {start} to {end} were asked for, {length} came, as `{}`",
            said.unwrap_or_default()
        ))
    };
    if answer.status != StatusCode::PARTIAL_CONTENT && said.is_none() {
        // The server does not know ranges: this is the whole object.
        let place = |at: u64| usize::try_from(at).ok().filter(|at| *at as u64 <= length);
        let (start, end) = (place(range.start), place(range.end));
        let (start, end) = start.zip(end).ok_or_else(whole)?;
        return Ok(Fetched {
            head: ObjectHead::from_headers(&answer.headers, length),
            body: answer.body.slice(start..end),
        });
    }
    let (span, size) = said
        .and_then(|said| said.strip_prefix("bytes ")?.split_once('/'))
        .ok_or_else(whole)?;
    let size = size.trim().parse().map_err(|_| whole())?;
    let expected = format!("{}-{}", range.start, range.end.saturating_sub(1));
    if span.trim() != expected || length != wanted {
        return Err(whole());
    }
    Ok(Fetched {
        head: ObjectHead::from_headers(&answer.headers, size),
        body: answer.body,
    })
}

pub(super) fn written(answer: &Answer) -> Written {
    let head = ObjectHead::from_headers(&answer.headers, 0);
    Written {
        etag: head.etag,
        version: head.version,
    }
}

/// The tag in an answer that is begun before the work is done: it may be a success and hold an error.
pub(super) fn late_etag(answer: &Answer, element: &str) -> io::Result<ETag> {
    let text = answer.text();
    if text.contains("<Error>") {
        return Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, &text));
    }
    let xml = answer.xml(element)?;
    let etag = xml::text(&xml, "ETag").ok_or_else(|| strange("it names no tag"))?;
    Ok(ETag::parse(&xml::unescaped(etag).map_err(strange)?))
}

pub(super) fn tags_in(xml: &str) -> io::Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for tag in xml::all(xml, "Tag").map_err(strange)? {
        let text = |name: &str| xml::unescaped(xml::text(tag, name).unwrap_or_default());
        tags.insert(
            text("Key").map_err(strange)?,
            text("Value").map_err(strange)?,
        );
    }
    Ok(tags)
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // What is set here is made of plain characters.
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}
