//! What `object_store` and the client below it report, as the errors of a store.

use std::{error::Error, io};

use object_store::client::{HttpError, HttpErrorKind};

use crate::{error::io_error_in, http::Refusal};

/// Why a request failed.
pub(crate) enum Failure {
    Local(io::Error),
    Cloud(object_store::Error),
    Http(HttpError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Local(error)
    }
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        Self::Cloud(error)
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl Failure {
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Cloud(error @ object_store::Error::NotFound { .. }) if no_bucket(error).is_none())
    }

    /// Whether the store answered the whole object when a part was asked for.
    pub(super) fn is_of_ranges(&self) -> bool {
        matches!(self, Self::Cloud(error) if error.to_string().contains("non-partial response"))
    }

    /// Whether the store answered, and no sense could be made of it.
    pub(super) fn is_odd_answer(&self) -> bool {
        let Self::Cloud(error @ object_store::Error::Generic { .. }) = self else {
            return false;
        };
        cause::<Refusal>(error).is_none() && cause::<HttpError>(error).is_none()
    }

    pub(super) fn is_already_there(&self) -> bool {
        matches!(self, Self::Cloud(object_store::Error::AlreadyExists { .. }))
    }

    /// Whether the store does not know conditions at all.
    pub(super) fn is_not_implemented(&self) -> bool {
        let Self::Cloud(error) = self else {
            return false;
        };
        cause::<Refusal>(error).is_some_and(|refusal| {
            refusal.status == http::StatusCode::NOT_IMPLEMENTED || refusal.code == "NotImplemented"
        })
    }

    /// Whether the store answered and said no, for good.
    pub(super) fn is_refusal(&self) -> bool {
        let refusal = match self {
            Self::Local(_) => None,
            Self::Cloud(error) => cause::<Refusal>(error),
            Self::Http(error) => cause::<Refusal>(error),
        };
        refusal.is_some_and(|refusal| !refusal.is_passing())
    }

    /// Its kind as callers act on it, and the store's words without URL, which may be signed.
    pub(crate) fn into_io(self) -> io::Error {
        let error = match self {
            Self::Local(error) => return error,
            Self::Cloud(error) => error,
            Self::Http(error) => return of_http(&error),
        };
        if let Some(refusal) = cause::<Refusal>(&error) {
            return io::Error::new(refusal.io_kind(), refusal.clone());
        }
        if let Some(http) = cause::<HttpError>(&error) {
            return of_http(http);
        }
        if let Some(refusal) = no_bucket(&error) {
            return io::Error::other(refusal);
        }
        match &error {
            object_store::Error::NotFound { .. } => io::ErrorKind::NotFound.into(),
            object_store::Error::AlreadyExists { .. }
            | object_store::Error::Precondition { .. } => io::ErrorKind::AlreadyExists.into(),
            _ => io::Error::other(words(&error)),
        }
    }
}

fn of_http(error: &HttpError) -> io::Error {
    match cause::<Refusal>(error) {
        Some(refusal) => io::Error::new(refusal.io_kind(), refusal.clone()),
        None => io::Error::new(transport_kind(error), words(error)),
    }
}

/// A bucket that is not there is no missing object: a vault there is not "not made yet".
fn no_bucket(error: &object_store::Error) -> Option<Refusal> {
    let said = error.to_string();
    let codes = [
        "NoSuchBucket",
        "ContainerNotFound",
        "specified bucket does not exist",
    ];
    codes
        .iter()
        .any(|code| said.contains(code))
        .then(|| Refusal {
            status: http::StatusCode::NOT_FOUND,
            code: "NoSuchBucket".to_owned(),
            message: "there is no such bucket".to_owned(),
        })
}

/// Only kinds of the connection: that it ended early must not pass for an object that is too short.
fn transport_kind(error: &HttpError) -> io::ErrorKind {
    use io::ErrorKind as Kind;
    let found = io_error_in(error).map(io::Error::kind);
    match (found, error.kind()) {
        (Some(kind @ (Kind::TimedOut | Kind::ConnectionRefused | Kind::ConnectionReset)), _)
        | (Some(kind @ (Kind::BrokenPipe | Kind::InvalidData | Kind::InvalidInput)), _) => kind,
        (_, HttpErrorKind::Timeout) => Kind::TimedOut,
        (_, HttpErrorKind::Connect) => Kind::NotConnected,
        _ => Kind::ConnectionAborted,
    }
}

/// The innermost words, which are the ones that tell.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push(error.to_string());
        cause = error.source();
    }
    let last = said.pop().unwrap_or_else(|| error.to_string());
    match said.pop() {
        Some(before) if !before.contains(&last) && !before.contains("://") => {
            format!("{before}: {last}")
        }
        _ => last,
    }
}

pub(super) fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
