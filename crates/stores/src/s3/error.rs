//! Why a request to a server failed.

use std::io;

use crate::{error::refusal_in, http::Refusal, retrying::Failing};

/// A request that failed, after it was tried again as long as that made sense.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {what}")]
pub struct S3Error {
    /// What was being done: `read`, `list the versions of`.
    pub doing: &'static str,
    /// With what: `bucket/key`.
    pub what: String,
    /// The answer.
    pub source: io::Error,
}

impl S3Error {
    /// The server's code, such as `NoSuchKey`; empty if it gave none.
    #[must_use]
    pub fn code(&self) -> &str {
        refusal_in(&self.source).map_or("", |refusal| &refusal.code)
    }

    /// The status of the answer, if there was one that refused.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        refusal_in(&self.source).map(|refusal| refusal.status.as_u16())
    }

    /// Whether the object or version is not there. That a bucket is not there is another matter.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.status() == Some(404) && !self.is_no_bucket()
    }

    /// Whether the bucket is not there.
    #[must_use]
    pub fn is_no_bucket(&self) -> bool {
        self.code() == "NoSuchBucket"
    }

    /// Whether these access keys may not do that.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }

    /// Whether the object is no longer the one that was meant.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.status() == Some(412)
    }

    /// Whether the answer tells that this server does not know the question.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self.status(), Some(405 | 501))
            || matches!(self.code(), "NotImplemented" | "MethodNotAllowed")
            || self.source.kind() == io::ErrorKind::Unsupported
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        if self.is_no_bucket() {
            return Some("is its name right, and the endpoint that of the server that has it?");
        }
        let refusal = refusal_in(&self.source);
        if let Some(hint) = refusal.and_then(Refusal::hint) {
            return Some(hint);
        }
        if self.source.to_string().contains("invalid peer certificate") {
            return Some(
                "if an authority of your own signed the server's certificate, name its file as `ca_file`",
            );
        }
        match self.source.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected => {
                Some("nobody answers there: is the server running, and `endpoint` right?")
            }
            _ => None,
        }
    }
}

impl Failing for S3Error {
    fn answer(&self) -> &io::Error {
        &self.source
    }

    fn is_an_answer(&self) -> bool {
        self.status().is_some()
    }
}

/// An answer that no sense can be made of.
pub(super) fn strange(reason: impl AsRef<str>) -> io::Error {
    let said = format!(
        "the server's answer cannot be understood: {}",
        reason.as_ref()
    );
    io::Error::new(io::ErrorKind::InvalidData, said)
}

pub(super) fn unsupported(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, reason.to_owned())
}
