//! One request: signed, sent, its answer read to the end, and tried again if that may help.

use std::io;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use md5::{Digest, Md5};
use object_store::{
    PutPayload,
    client::{HttpRequest, HttpRequestBody, HttpService},
};
use rekindle_stack::S3Credentials;

use super::{
    S3Error, S3Settings,
    error::{strange, unsupported},
    sign::{Unsigned, canonical_query, sign},
};
use crate::{
    OpenStoreError, RetryPolicy,
    cloud::failure::Failure,
    escape::{escaped, escaped_path},
    http::{Connector, Refusal, client_config},
    retrying::Tries,
    runtime::wait_for,
};

/// Handed to the socket in pieces, so that a transfer that moves can be told from one that does not.
const PIECE: usize = 64 << 10;

/// A server that speaks S3.
#[derive(Debug)]
pub struct S3Client {
    connector: Connector,
    scheme: String,
    /// Host and port.
    host: String,
    path_style: bool,
    region: String,
    credentials: S3Credentials,
    tries: Tries,
}

/// A request before it is signed.
pub(super) struct Request<'a> {
    pub doing: &'static str,
    pub method: Method,
    pub bucket: &'a str,
    pub key: &'a str,
    /// Escaped when it is sent.
    pub query: Vec<(&'a str, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A whole answer.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl<'a> Request<'a> {
    pub fn new(doing: &'static str, method: Method, bucket: &'a str, key: &'a str) -> Self {
        Self {
            doing,
            method,
            bucket,
            key,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub fn with(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub fn of_version(self, version: Option<&str>) -> Self {
        match version {
            Some(version) => self.with("versionId", version),
            None => self,
        }
    }

    /// With a body, and its MD5: some requests need it, and the others are safer with it.
    pub fn carrying(mut self, body: Bytes) -> Self {
        let md5 = BASE64.encode(Md5::digest(&body));
        // Base64 is always a value.
        if let Ok(value) = HeaderValue::from_str(&md5) {
            self.headers.insert("content-md5", value);
        }
        self.body = body;
        self
    }

    pub fn error(&self, source: io::Error) -> S3Error {
        let what = match (self.bucket, self.key) {
            ("", _) => "the server".to_owned(),
            (bucket, "") => format!("bucket `{bucket}`"),
            (bucket, key) => format!("`{bucket}/{}`", key.escape_debug()),
        };
        S3Error {
            doing: self.doing,
            what,
            source,
        }
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text, if it is an answer of this kind and whole. Some servers answer questions that they do not know with
    /// something else, and call that a success.
    pub fn xml(&self, element: &str) -> Result<String, io::Error> {
        let text = self.text();
        if !text.contains(&format!("<{element}")) {
            return Err(unsupported("the server gave an answer to another question"));
        }
        let is_whole =
            text.contains(&format!("</{element}>")) || text.contains(&format!("<{element}/>"));
        // An empty one may have attributes.
        let is_empty = text.trim_end().ends_with("/>");
        if !is_whole && !is_empty {
            return Err(strange("it is cut"));
        }
        Ok(text)
    }
}

impl S3Client {
    /// A client of the server of `settings`. Nothing is sent yet.
    ///
    /// # Errors
    /// If the endpoint is no URL or a certificate cannot be read.
    pub fn new(settings: S3Settings) -> Result<Self, OpenStoreError> {
        let region = settings.region.clone();
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = settings.endpoint.clone();
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let wrong = |reason: String| OpenStoreError::Setting {
            location: endpoint.clone(),
            reason,
        };
        let (scheme, host) = match endpoint.split_once("://") {
            Some((scheme @ ("http" | "https"), host)) => (scheme, host),
            Some(_) => return Err(wrong("the endpoint is neither http:// nor https://".into())),
            None => ("https", endpoint.as_str()),
        };
        let host = host.trim_end_matches('/');
        if host.is_empty() || host.contains(['/', '?', '@']) {
            return Err(wrong("the endpoint must be a host and a port alone".into()));
        }
        let tls = client_config(settings.ca_file.as_deref()).map_err(wrong)?;
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let resolved = settings.resolved.map(|address| (name, address));
        Ok(Self {
            connector: Connector::resolving(tls, settings.stall, resolved).map_err(wrong)?,
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            path_style: settings.path_style.unwrap_or(settings.endpoint.is_some()),
            region,
            credentials: settings.credentials,
            tries: Tries::new(RetryPolicy::lasting(settings.retry_for)),
        })
    }

    /// The server, as `https://host:port`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    pub(super) fn is_aws(&self) -> bool {
        self.host.ends_with(".amazonaws.com")
    }

    /// Sends a request without trying again, when nobody shall wait for it.
    pub(super) fn ask_only_once(&self, request: &Request<'_>) -> Result<Answer, S3Error> {
        let answer = wait_for(self.ask_once(request)).map_err(|error| request.error(error))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(request.error(refusal(answer.status, &answer.text())))
    }

    /// Sends a request until it is answered; anything but success is an error.
    pub(super) fn ask(&self, request: &Request<'_>) -> Result<Answer, S3Error> {
        self.tries.run(|_| self.ask_only_once(request))
    }

    async fn ask_once(&self, request: &Request<'_>) -> Result<Answer, io::Error> {
        let signed = self.signed(request)?;
        let failed = |error| Failure::Http(error).into_io();
        let response = self.connector.call(signed).await.map_err(failed)?;
        let (parts, body) = response.into_parts();
        let body = body.bytes().await.map_err(failed)?;
        // The transport notices it, too; nothing depends on that.
        let expected = parts.headers.get(http::header::CONTENT_LENGTH);
        let expected = expected.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if request.method != Method::HEAD && expected.is_some_and(|length| length != body.len()) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    fn signed(&self, request: &Request<'_>) -> Result<HttpRequest, io::Error> {
        let unusable = |error: http::Error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let is_in_host = !self.path_style && !request.bucket.is_empty();
        let (host, folder) = match is_in_host {
            true => (format!("{}.{}", request.bucket, self.host), String::new()),
            false => (self.host.clone(), escaped_path(request.bucket)),
        };
        let (path, sent_path) = paths(&folder, request.key)?;
        let query: Vec<_> = request
            .query
            .iter()
            .map(|(name, value)| (escaped(name), escaped(value)))
            .collect();
        let mut headers = request.headers.clone();
        let value = HeaderValue::from_str(&host).map_err(|error| unusable(error.into()))?;
        headers.insert(http::header::HOST, value);
        let unsigned = Unsigned {
            method: &request.method,
            path: &path,
            query: &query,
            body: &request.body,
        };
        let now = Timestamp::now();
        sign(
            &unsigned,
            &mut headers,
            &self.region,
            &self.credentials,
            now,
        )
        .map_err(unusable)?;
        if request.body.is_empty() && matches!(request.method, Method::PUT | Method::POST) {
            // Of no body, the client says no length; some servers want one of all that may have one.
            let none = HeaderValue::from_static("0");
            headers.insert(http::header::CONTENT_LENGTH, none);
        }
        let mut url = format!("{}://{host}{sent_path}", self.scheme);
        if !query.is_empty() {
            url = format!("{url}?{}", canonical_query(&query));
        }
        let mut signed = HttpRequest::new(pieces(&request.body));
        *signed.method_mut() = request.method.clone();
        *signed.uri_mut() = url
            .parse()
            .map_err(|error: http::uri::InvalidUri| unusable(error.into()))?;
        *signed.headers_mut() = headers;
        Ok(signed)
    }
}

fn pieces(body: &Bytes) -> HttpRequestBody {
    let starts = (0..body.len()).step_by(PIECE);
    let pieces = starts.map(|at| body.slice(at..body.len().min(at + PIECE)));
    HttpRequestBody::from(pieces.collect::<PutPayload>())
}

/// The path as the server reads it, which is signed, and as it is sent: whoever handles URLs on the way resolves names
/// that are `.` or `..`, so the slashes beside those are escaped.
fn paths(folder: &str, key: &str) -> Result<(String, String), io::Error> {
    let slash = if folder.is_empty() { "" } else { "/" };
    let read = match key {
        "" => format!("/{folder}"),
        key => format!("/{folder}{slash}{}", escaped_path(key)),
    };
    let is_dots = |name: &str| matches!(name, "." | "..");
    if is_dots(key) {
        return Err(unsupported("no URL can name this key"));
    }
    let mut sent = String::new();
    let mut last: Option<&str> = None;
    for name in key.split('/') {
        match last {
            None => {}
            Some(before) if is_dots(before) || is_dots(name) => sent.push_str("%2F"),
            Some(_) => sent.push('/'),
        }
        sent.push_str(&escaped_path(name));
        last = Some(name);
    }
    let sent = match key {
        "" => read.clone(),
        _ => format!("/{folder}{slash}{sent}"),
    };
    Ok((read, sent))
}

pub(super) fn refusal(status: StatusCode, body: &str) -> io::Error {
    let refusal = Refusal::read(status, body);
    io::Error::new(refusal.io_kind(), refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_empty_names_reach_the_server_as_they_are() {
        let both = |read: &str, sent: &str| (read.to_owned(), sent.to_owned());
        let of = |key: &str| paths("b", key).unwrap();
        assert_eq!(of("a//b/"), both("/b/a//b/", "/b/a//b/"));
        assert_eq!(of("../x"), both("/b/../x", "/b/..%2Fx"));
        assert_eq!(of("a/../x"), both("/b/a/../x", "/b/a%2F..%2Fx"));
        assert_eq!(of("a/.."), both("/b/a/..", "/b/a%2F.."));
        assert_eq!(of("/a"), both("/b//a", "/b//a"));
        assert_eq!(of("a b%"), both("/b/a%20b%25", "/b/a%20b%25"));
        assert_eq!(of(""), both("/b", "/b"));
        assert!(paths("b", "..").is_err());
        assert_eq!(paths("", "x").unwrap(), both("/x", "/x"));
    }
}
