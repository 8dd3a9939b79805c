//! AWS Signature Version 4. Source: AWS, "Signature Calculations for the Authorization Header".
//!
//! Our own, because the one of `object_store` signs a path in which `..` and empty names have been resolved; to S3 they
//! are characters like others.

use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use rekindle_stack::S3Credentials;
use ring::{
    digest::{SHA256, digest},
    hmac,
};

/// What a signature covers.
pub(super) struct Unsigned<'a> {
    pub method: &'a Method,
    /// The path as the server reads it: escaped, with all its slashes.
    pub path: &'a str,
    /// Names and values, escaped.
    pub query: &'a [(String, String)],
    pub body: &'a [u8],
}

/// Adds the signature and what it needs to `headers`, all of which it covers. `host` must be among them.
pub(super) fn sign(
    request: &Unsigned<'_>,
    headers: &mut HeaderMap,
    region: &str,
    credentials: &S3Credentials,
    now: Timestamp,
) -> Result<(), http::Error> {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let body = hex(digest(&SHA256, request.body).as_ref());
    headers.insert("x-amz-date", HeaderValue::from_str(&time)?);
    headers.insert("x-amz-content-sha256", HeaderValue::from_str(&body)?);
    if let Some(token) = &credentials.session_token {
        let mut token = HeaderValue::from_str(token.expose())?;
        token.set_sensitive(true);
        headers.insert("x-amz-security-token", token);
    }
    let (names, canonical) = canonical_headers(headers);
    let asked = format!(
        "{}\n{}\n{}\n{canonical}\n{names}\n{body}",
        request.method,
        request.path,
        canonical_query(request.query),
    );
    let day = &time[..8];
    let scope = format!("{day}/{region}/s3/aws4_request");
    let hashed = hex(digest(&SHA256, asked.as_bytes()).as_ref());
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");
    let secret = format!("AWS4{}", credentials.secret_access_key.expose());
    let key = [day, region, "s3", "aws4_request"]
        .into_iter()
        .fold(secret.into_bytes(), |key, part| mac(&key, part));
    let signature = hex(&mac(&key, &to_sign));
    let mut value = HeaderValue::from_str(&format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key_id
    ))?;
    value.set_sensitive(true);
    headers.insert(http::header::AUTHORIZATION, value);
    Ok(())
}

/// A query as it is sent and as it is signed: in the order of its names.
pub(super) fn canonical_query(query: &[(String, String)]) -> String {
    let mut pairs: Vec<_> = query.iter().collect();
    pairs.sort();
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("&")
}

fn canonical_headers(headers: &HeaderMap) -> (String, String) {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            (name.as_str(), value)
        })
        .collect();
    lines.sort();
    let names: Vec<_> = lines.iter().map(|(name, _)| *name).collect();
    let canonical = lines
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"));
    (names.join(";"), canonical.collect())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rekindle_stack::Secret;

    use super::*;

    /// The example of AWS, "Signature Calculations for the Authorization Header", "GET Object".
    #[test]
    fn the_example_of_aws_is_signed_as_there() {
        let credentials = S3Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_static("examplebucket.s3.amazonaws.com");
        headers.insert("host", host);
        headers.insert("range", HeaderValue::from_static("bytes=0-9"));
        let request = Unsigned {
            method: &Method::GET,
            path: "/test.txt",
            query: &[],
            body: b"",
        };
        let now = "2013-05-24T00:00:00Z".parse().unwrap();
        sign(&request, &mut headers, "us-east-1", &credentials, now).unwrap();
        let signed = headers["authorization"].to_str().unwrap();
        assert!(
            signed.ends_with("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            "{signed}"
        );
        assert!(!format!("{headers:?}").contains("Signature="));
    }
}
