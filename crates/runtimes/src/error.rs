//! Why a runtime did not do as asked.

use std::{error::Error, io, time::Duration};

/// Why a runtime did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It cannot do this, whatever one does.
    #[error("{runtime} {what}")]
    Unsupported {
        /// Which.
        runtime: String,
        /// What it cannot: `cannot pause a service`.
        what: String,
    },
    /// It cannot be asked at all.
    #[error("{runtime} cannot be reached")]
    Unreachable {
        /// What and where.
        runtime: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
        /// What to do.
        hint: Option<String>,
    },
    /// It knows no such service.
    #[error("{runtime} has no service `{service}`; it has {known}")]
    NoService {
        /// Which runtime.
        runtime: String,
        /// What was asked for.
        service: String,
        /// What there is, in words.
        known: String,
    },
    /// It refused, or it went wrong.
    #[error("{doing} `{service}`: {reason}")]
    Failed {
        /// What was being done: `start`, `run pg_dump in`.
        doing: String,
        /// The service.
        service: String,
        /// What it said.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// It took too long, and was given up.
    #[error("{doing} `{service}`: not done within {} s", limit.as_secs())]
    TookTooLong {
        /// What was being done.
        doing: String,
        /// The service.
        service: String,
        /// How long was waited.
        limit: Duration,
    },
    /// A stream or a file on our side.
    #[error("{doing}")]
    Io {
        /// What was being done, and with what.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl RuntimeError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { hint, .. } | Self::Failed { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}
