//! What S3 keeps of an object beside its bytes.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An object's tag for its content, without quotes: of what was written in one piece the MD5 in hexadecimal, unless the
/// server encrypts; of what was written in parts something with a `-` and the number of parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(pub String);

impl ETag {
    pub(super) fn parse(text: &str) -> Self {
        Self(text.trim().trim_matches('"').to_owned())
    }

    /// Whether it may be an MD5 of the whole content.
    #[must_use]
    pub fn looks_like_md5(&self) -> bool {
        self.0.len() == 32 && self.0.bytes().all(|b| b.is_ascii_hexdigit())
    }

    /// How many parts the object was written in, if it says so.
    #[must_use]
    pub fn parts(&self) -> Option<u64> {
        let (_, parts) = self.0.split_once('-')?;
        parts.parse().ok().filter(|parts| *parts > 0)
    }
}

/// What whoever writes an object may say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Headers that the server gives back as they are, under their names in lower case: `content-type`,
    /// `cache-control`, `content-disposition`, `content-encoding`, `content-language`, `expires`,
    /// `x-amz-website-redirect-location`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The user's own metadata, without `x-amz-meta-`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How the server keeps it; `None` is its standard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Tags. `None`: nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// What a server says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// Length in bytes.
    pub size: u64,
    /// Its tag; empty if the server gives none.
    pub etag: ETag,
    /// When it was written, in whole seconds.
    pub modified: Option<Timestamp>,
    /// Its version; `None` where there are none.
    pub version: Option<String>,
    /// Whether the server keeps it encrypted by a key that makes its tag something else than the MD5.
    pub is_tag_opaque: bool,
    /// How many tags it has, where the server counts them.
    pub tag_count: Option<u64>,
    /// The rest; its tags are not asked for.
    pub attributes: Attributes,
}

/// Kept as they are, apart from the user's own.
const KEPT: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
];
const USERS_OWN: &str = "x-amz-meta-";

impl Attributes {
    /// Without the storage class that says nothing.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let mut attributes = Self::default();
        for (name, value) in headers {
            let name = name.as_str();
            // Metadata is UTF-8 where somebody sent it so, though headers should be ASCII.
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if let Some(name) = name.strip_prefix(USERS_OWN) {
                attributes.metadata.insert(name.to_owned(), value);
            } else if KEPT.contains(&name) {
                attributes.headers.insert(name.to_owned(), value);
            } else if name == "x-amz-storage-class" && value != "STANDARD" && !value.is_empty() {
                attributes.storage_class = Some(value);
            }
        }
        attributes
    }

    /// As headers of a request that writes an object; tags are among them.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) -> Result<(), http::Error> {
        for (name, value) in &self.headers {
            if KEPT.contains(&name.as_str()) {
                headers.insert(
                    HeaderName::from_bytes(name.as_bytes())?,
                    HeaderValue::from_bytes(value.as_bytes())?,
                );
            }
        }
        for (name, value) in &self.metadata {
            let name = format!("{USERS_OWN}{name}");
            headers.insert(
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_bytes(value.as_bytes())?,
            );
        }
        if let Some(class) = &self.storage_class {
            headers.insert("x-amz-storage-class", HeaderValue::from_str(class)?);
        }
        if let Some(tags) = self.tags.as_ref().filter(|tags| !tags.is_empty()) {
            let escaped = crate::escape::escaped;
            let pairs = tags
                .iter()
                .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
            let value = pairs.collect::<Vec<_>>().join("&");
            headers.insert("x-amz-tagging", HeaderValue::from_str(&value)?);
        }
        Ok(())
    }
}

impl ObjectHead {
    /// `size` is that of the whole object, which the head of a range does not give as its length.
    pub(super) fn from_headers(headers: &HeaderMap, size: u64) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_encrypted = text("x-amz-server-side-encryption").is_some_and(|how| how != "AES256")
            || text("x-amz-server-side-encryption-customer-algorithm").is_some();
        Self {
            size,
            etag: text("etag").map(ETag::parse).unwrap_or_default(),
            modified: text("last-modified").and_then(http_time),
            version: text("x-amz-version-id").map(str::to_owned),
            is_tag_opaque: is_encrypted,
            tag_count: text("x-amz-tagging-count").and_then(|count| count.parse().ok()),
            attributes: Attributes::from_headers(headers),
        }
    }
}

/// A time as HTTP writes it: `Fri, 24 May 2013 00:00:00 GMT`.
fn http_time(text: &str) -> Option<Timestamp> {
    let text = text.trim().strip_suffix(" GMT")?;
    let parsed = jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S", text).ok()?;
    Some(parsed.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_as_headers() {
        let mut attributes = Attributes::default();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        attributes.headers.extend([
            pair("content-type", "text/plain; charset=utf-8"),
            pair("cache-control", "max-age=60"),
        ]);
        attributes.metadata.extend([pair("owner", "Zoë")]);
        attributes.storage_class = Some("COLD".into());
        let mut headers = HeaderMap::new();
        attributes.add_to(&mut headers).unwrap();
        assert_eq!(Attributes::from_headers(&headers), attributes);

        attributes.metadata.insert("bad".into(), "a\nb".into());
        assert!(attributes.add_to(&mut headers).is_err());
    }

    #[test]
    fn tags_of_contents_tell_what_they_are() {
        let etag = ETag::parse("\"d41d8cd98f00b204e9800998ecf8427e\"");
        assert!(etag.looks_like_md5() && etag.parts().is_none());
        let etag = ETag::parse("\"d41d8cd98f00b204e9800998ecf8427e-3\"");
        assert!(!etag.looks_like_md5());
        assert_eq!(etag.parts(), Some(3));
        let time = http_time("Fri, 24 May 2013 00:00:00 GMT").unwrap();
        assert_eq!(time.to_string(), "2013-05-24T00:00:00Z");
    }
}
