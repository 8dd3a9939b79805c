//! What a server said when it refused.

use std::io;

use http::StatusCode;
use object_store::client::{HttpError, HttpErrorKind, HttpResponse};

/// A server's refusal: its status, and its own words without anything of our request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store answered {status}{}", said(code, message))]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// The store's code, such as `SlowDown`; empty if it gave none.
    pub(crate) code: String,
    pub(crate) message: String,
}

/// More than any store's explanation.
const MOST_WORDS: usize = 300;

fn said(code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => String::new(),
        ("", words) | (words, "") => format!(": {words}"),
        (code, message) => format!(": {code}: {message}"),
    }
}

/// Whether an answer of this status is ours to judge. The others have a meaning to `object_store`: not
/// there, not modified, a condition that failed.
pub(super) fn is_one(status: StatusCode) -> bool {
    let known = [
        StatusCode::NOT_MODIFIED,
        StatusCode::PRECONDITION_FAILED,
        StatusCode::NOT_FOUND,
    ];
    !status.is_success() && !known.contains(&status)
}

/// A conflict that means "it is there already" goes on to `object_store`; all else is an error.
pub(super) async fn pass_or_fail(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (parts, body) = response.into_parts();
    let body = body.bytes().await.unwrap_or_default();
    let refusal = Refusal::read(parts.status, &String::from_utf8_lossy(&body));
    if refusal.status == StatusCode::CONFLICT && refusal.code.ends_with("AlreadyExists") {
        return Ok(HttpResponse::from_parts(parts, body.into()));
    }
    Err(HttpError::new(HttpErrorKind::Unknown, refusal))
}

impl Refusal {
    /// From the body of an answer: S3's and Azure's XML, or Google's JSON. Only code and message are
    /// kept: the rest repeats our request.
    pub(crate) fn read(status: StatusCode, body: &str) -> Self {
        let xml = |name: &str| between(body, &format!("<{name}>"), &format!("</{name}>"));
        let json = |name: &str| between(body, &format!("\"{name}\": \""), "\"");
        let words = |found: Option<&str>| found.unwrap_or_default().trim().to_owned();
        let mut message = words(xml("Message").or_else(|| json("message")));
        if let Some((end, _)) = message.char_indices().nth(MOST_WORDS) {
            message.truncate(end);
        }
        Self {
            status,
            code: words(xml("Code").or_else(|| json("reason"))),
            message,
        }
    }

    /// Whether the same request may well succeed in a while.
    pub(crate) fn is_passing(&self) -> bool {
        let by_code = [
            "SlowDown",
            "RequestTimeout",
            "InternalError",
            "ServiceUnavailable",
            "ConditionalRequestConflict",
            "OperationAborted",
        ];
        by_code.contains(&self.code.as_str())
            || self.status.is_server_error() && self.status != StatusCode::NOT_IMPLEMENTED
            || matches!(
                self.status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
            )
    }

    pub(crate) fn io_kind(&self) -> io::ErrorKind {
        match (self.code.as_str(), self.status) {
            ("QuotaExceeded" | "XMinioStorageFull", _) | (_, StatusCode::INSUFFICIENT_STORAGE) => {
                io::ErrorKind::StorageFull
            }
            ("InvalidRange", _) | (_, StatusCode::RANGE_NOT_SATISFIABLE) => {
                io::ErrorKind::UnexpectedEof
            }
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken", _)
            | (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                io::ErrorKind::PermissionDenied
            }
            _ => io::ErrorKind::Other,
        }
    }

    /// What to do about it. Source of the codes: AWS, "Error responses".
    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self.code.as_str() {
            "InvalidAccessKeyId" => {
                "the store does not know this access key: was it deleted, or is it for another store?"
            }
            "SignatureDoesNotMatch" => {
                "the secret key is wrong, or the region or the endpoint is another one"
            }
            "ExpiredToken" | "TokenRefreshRequired" => {
                "the temporary credentials have expired: get new ones"
            }
            "RequestTimeTooSkewed" => "this machine's clock is wrong: set it, for instance by NTP",
            "NoSuchBucket" => "make the bucket first; a vault is made in a bucket that exists",
            "AuthorizationHeaderMalformed" | "PermanentRedirect" => {
                "the bucket is in another region: add ?region=… to its URL"
            }
            "InvalidObjectState" => {
                "the object is in an archive class and must be restored there before it can be read"
            }
            "QuotaExceeded" => "the store's quota is used up: raise it, or forget and prune",
            "AccessDenied" => {
                "these access keys may not do that here; the guide to stores lists the rights needed"
            }
            _ if self.status == StatusCode::FORBIDDEN
                || self.status == StatusCode::UNAUTHORIZED =>
            {
                "the store refuses these access keys: are they right, still valid, and allowed to do that?"
            }
            _ if self.status.is_redirection() => {
                "the bucket is elsewhere: is the region in its URL, and is the endpoint right?"
            }
            _ => return None,
        })
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_the_stores_words_and_nothing_of_our_request() {
        let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>No match</Message>\
                    <AWSAccessKeyId>AKIA</AWSAccessKeyId><StringToSign>x</StringToSign></Error>";
        let refusal = Refusal::read(StatusCode::FORBIDDEN, body);
        assert_eq!(
            refusal.to_string(),
            "the store answered 403 Forbidden: SignatureDoesNotMatch: No match"
        );
        assert!(!refusal.is_passing());
        assert_eq!(refusal.io_kind(), io::ErrorKind::PermissionDenied);
        assert!(refusal.hint().is_some_and(|hint| hint.contains("secret")));
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        let passing = |status: u16, body: &str| {
            Refusal::read(StatusCode::from_u16(status).unwrap(), body).is_passing()
        };
        for status in [500, 502, 503, 504, 429, 408] {
            assert!(passing(status, ""), "{status}");
        }
        assert!(passing(409, "<Code>ConditionalRequestConflict</Code>"));
        for status in [400, 401, 403, 405, 409, 411, 501] {
            assert!(!passing(status, "<Code>Other</Code>"), "{status}");
        }
    }
}
