//! Listings of a bucket: whole, or an error.
//!
//! Source: AWS, "ListObjectsV2", "ListObjectVersions".

use std::io;

use http::Method;
use jiff::Timestamp;

use super::{
    S3Client, S3Error,
    error::strange,
    send::{Answer, Request},
    types::ETag,
};
use crate::{escape, xml};

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersion {
    /// The object's key.
    pub key: String,
    /// Its version; `None` in a listing that knows of none.
    pub version: Option<String>,
    /// Whether it is what a reader without a version gets.
    pub is_latest: bool,
    /// Whether it hides the object instead of having a content.
    pub is_marker: bool,
    /// When it was written.
    pub modified: Timestamp,
    /// Length in bytes; 0 of a marker.
    pub size: u64,
    /// The tag of its content; empty of a marker.
    pub etag: ETag,
    /// How the server keeps it; `None` is its standard.
    pub storage_class: Option<String>,
}

/// A page of a listing, and where it goes on.
struct Page {
    entries: Vec<ListedVersion>,
    next: Option<Next>,
}

#[derive(PartialEq)]
enum Next {
    Token(String),
    Key(String, Option<String>),
}

/// How texts stand in an answer: some servers cannot write every key into XML and escape them when asked.
struct Texts {
    are_escaped: bool,
}

impl Texts {
    fn of(xml: &str) -> Self {
        let kind = xml::text(xml, "EncodingType").map(str::trim);
        Self {
            are_escaped: kind == Some("url"),
        }
    }

    fn key(&self, text: &str) -> Result<String, String> {
        let text = xml::unescaped(text)?;
        if !self.are_escaped {
            return Ok(text);
        }
        escape::unescaped(&text).ok_or_else(|| "a key is escaped wrongly".to_owned())
    }
}

impl S3Client {
    /// The objects whose keys begin with `prefix`, as a reader without versions sees them.
    ///
    /// # Errors
    /// [`S3Error`], also if the listing is cut or does not say whether it goes on.
    pub fn list_objects(&self, bucket: &str, prefix: &str) -> Result<Vec<ListedVersion>, S3Error> {
        self.list("list", bucket, |next| {
            let request = Request::new("list", Method::GET, bucket, "")
                .with("list-type", "2")
                .with("encoding-type", "url")
                .with("max-keys", "1000")
                .with("prefix", prefix);
            let request = match next {
                Some(Next::Token(token)) => request.with("continuation-token", token),
                _ => request,
            };
            let answer = self.ask(&request)?;
            objects(&answer).map_err(|source| request.error(source))
        })
    }

    /// All versions and delete markers of the objects whose keys begin with `prefix`; those of one object newest first.
    ///
    /// # Errors
    /// As [`S3Client::list_objects`].
    pub fn list_versions(&self, bucket: &str, prefix: &str) -> Result<Vec<ListedVersion>, S3Error> {
        self.list("list the versions of", bucket, |next| {
            let request = Request::new("list the versions of", Method::GET, bucket, "")
                .with("versions", "")
                .with("encoding-type", "url")
                .with("max-keys", "1000")
                .with("prefix", prefix);
            let request = match next {
                Some(Next::Key(key, version)) => {
                    let request = request.with("key-marker", key);
                    match version {
                        Some(version) => request.with("version-id-marker", version),
                        None => request,
                    }
                }
                _ => request,
            };
            let answer = self.ask(&request)?;
            versions(&answer).map_err(|source| request.error(source))
        })
    }

    fn list(
        &self,
        doing: &'static str,
        bucket: &str,
        ask: impl Fn(Option<&Next>) -> Result<Page, S3Error>,
    ) -> Result<Vec<ListedVersion>, S3Error> {
        let mut listed = Vec::new();
        let mut next = None;
        loop {
            let page = ask(next.as_ref())?;
            listed.extend(page.entries);
            if page.next.is_some() && page.next == next {
                let request = Request::new(doing, Method::GET, bucket, "");
                return Err(request.error(strange("the listing goes on where it began")));
            }
            match page.next {
                None => return Ok(listed),
                more => next = more,
            }
        }
    }
}

fn objects(answer: &Answer) -> io::Result<Page> {
    let xml = answer.xml("ListBucketResult")?;
    let texts = Texts::of(&xml);
    let mut entries = Vec::new();
    for inner in xml::all(&xml, "Contents").map_err(strange)? {
        let mut entry = entry(inner, &texts, false).map_err(strange)?;
        (entry.is_latest, entry.version) = (true, None);
        entries.push(entry);
    }
    let next = match goes_on(&xml)? {
        false => None,
        true => {
            let token = xml::text(&xml, "NextContinuationToken");
            let token = token.filter(|token| !token.is_empty());
            let token = token.ok_or_else(|| strange("the listing goes on, but not where"))?;
            Some(Next::Token(xml::unescaped(token).map_err(strange)?))
        }
    };
    Ok(Page { entries, next })
}

fn versions(answer: &Answer) -> io::Result<Page> {
    let xml = answer.xml("ListVersionsResult")?;
    let texts = Texts::of(&xml);
    let mut entries = Vec::new();
    let mut rest = xml.as_str();
    while let Some((is_marker, inner, after)) = xml::next_version(rest).map_err(strange)? {
        entries.push(entry(inner, &texts, is_marker).map_err(strange)?);
        rest = after;
    }
    let next = match goes_on(&xml)? {
        false => None,
        true => Some(next_key(&xml, &texts, entries.last()).map_err(strange)?),
    };
    Ok(Page { entries, next })
}

/// Where a list of versions goes on. Whether that key is escaped depends on the server (Ceph 16 escapes all keys but this
/// one), so the last key of the page, which it nearly always is, settles it.
fn next_key(xml: &str, texts: &Texts, last: Option<&ListedVersion>) -> Result<Next, String> {
    let text = xml::text(xml, "NextKeyMarker").ok_or("the list goes on, but not where")?;
    let plain = xml::unescaped(text)?;
    let key = match last {
        Some(last) if last.key == plain => plain,
        _ => texts.key(text)?,
    };
    let version = match xml::text(xml, "NextVersionIdMarker") {
        Some("") | None => None,
        Some(version) => Some(xml::unescaped(version)?),
    };
    Ok(Next::Key(key, version))
}

fn goes_on(xml: &str) -> io::Result<bool> {
    match xml::text(xml, "IsTruncated").map(str::trim) {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(strange("it does not say whether the list goes on")),
    }
}

fn entry(xml: &str, texts: &Texts, is_marker: bool) -> Result<ListedVersion, String> {
    let field = |name: &str| xml::text(xml, name).ok_or_else(|| format!("an entry has no {name}"));
    let size = match is_marker {
        true => 0,
        false => field("Size")?
            .trim()
            .parse()
            .map_err(|_| "an entry's Size is no number".to_owned())?,
    };
    let text = |name: &str| xml::text(xml, name).map(xml::unescaped).transpose();
    Ok(ListedVersion {
        key: texts.key(field("Key")?)?,
        version: text("VersionId")?,
        is_latest: xml::text(xml, "IsLatest").is_some_and(|is| is.trim() == "true"),
        is_marker,
        modified: xml::time(xml, "LastModified")?,
        size,
        etag: text("ETag")?
            .map(|etag| ETag::parse(&etag))
            .unwrap_or_default(),
        storage_class: text("StorageClass")?
            .filter(|class| class != "STANDARD" && !class.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(text: &str) -> Answer {
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from(text.to_owned()),
        }
    }

    const OBJECTS: &str = "<ListBucketResult xmlns=\"x\"><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>\
        <Contents><Key>a%2Fb+c%01</Key><LastModified>2026-11-21T12:00:01.5Z</LastModified><ETag>&quot;e&quot;</ETag>\
        <Size>3</Size><StorageClass>STANDARD</StorageClass></Contents>\
        <NextContinuationToken>t&amp;1</NextContinuationToken></ListBucketResult>";

    #[test]
    fn keys_that_xml_cannot_hold_come_through_escaped() {
        let page = objects(&answer(OBJECTS)).unwrap();
        let entry = &page.entries[0];
        assert_eq!((entry.key.as_str(), entry.size), ("a/b c\u{1}", 3));
        assert_eq!((entry.etag.0.as_str(), &entry.storage_class), ("e", &None));
        assert!(page.next == Some(Next::Token("t&1".into())));
    }

    #[test]
    fn listings_that_are_cut_or_do_not_say_how_they_go_on_are_refused() {
        for wrong in [
            OBJECTS.replace("</ListBucketResult>", ""),
            OBJECTS.replace("<IsTruncated>true</IsTruncated>", ""),
            OBJECTS.replace("<NextContinuationToken>t&amp;1</NextContinuationToken>", ""),
            OBJECTS.replace("<Size>3</Size>", ""),
            "<ListAllMyBucketsResult></ListAllMyBucketsResult>".into(),
        ] {
            assert!(objects(&answer(&wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_go_on_at_a_key_whether_the_server_escapes_it_or_not() {
        let page = |marker: &str| {
            let text = format!(
                "<ListVersionsResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>\
                 <NextKeyMarker>{marker}</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>\
                 <DeleteMarker><Key>a%2525</Key><VersionId>d</VersionId><IsLatest>true</IsLatest>\
                 <LastModified>2026-11-21T12:00:01Z</LastModified></DeleteMarker></ListVersionsResult>"
            );
            versions(&answer(&text)).unwrap()
        };
        let wanted = || Some(Next::Key("a%25".into(), Some("v".into())));
        assert!(page("a%25").next == wanted());
        assert!(page("a%2525").next == wanted());
        let marker = &page("x").entries[0];
        assert!(marker.is_marker && marker.is_latest && marker.version.as_deref() == Some("d"));
    }
}
