//! Why a MeiliSearch server did not do as asked.

use std::{io, path::PathBuf};

use rekindle_stores::HttpApiError;

/// Why a MeiliSearch server did not do as asked, or a dump is none.
#[derive(Debug, thiserror::Error)]
pub enum MeilisearchError {
    /// The server did not answer.
    #[error("MeiliSearch does not answer")]
    Call(#[from] HttpApiError),
    /// The server refused.
    #[error("MeiliSearch refuses {what} ({status}): {message}")]
    Refused {
        /// What was asked, as method and path.
        what: String,
        /// The status.
        status: u16,
        /// The server's code, `invalid_api_key`; empty if it gave none.
        code: String,
        /// The server's words.
        message: String,
    },
    /// An answer that this version does not understand.
    #[error("the answer of MeiliSearch to {what} is not understood")]
    Answer {
        /// What was asked.
        what: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A task ended badly.
    #[error("the task {task} ({kind}) of MeiliSearch {status}: {message}")]
    Task {
        /// Its number.
        task: u64,
        /// What it was to do.
        kind: String,
        /// `failed` or `canceled`.
        status: String,
        /// The server's words.
        message: String,
    },
    /// A task did not end in time. It may still do so.
    #[error("the task {task} ({kind}) of MeiliSearch is still {status} after {limit_seconds} s")]
    TaskTooLong {
        /// Its number.
        task: u64,
        /// What it was to do.
        kind: String,
        /// How far it got.
        status: String,
        /// How long it was waited for.
        limit_seconds: u64,
    },
    /// The dump that the server says it wrote cannot be read.
    #[error("read the dump {}", path.display())]
    ReadDump {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What should be a dump is none, or not all of one.
    #[error("{what} is no whole dump of MeiliSearch: {reason}")]
    NotADump {
        /// What it is.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The documents of a dump cannot be read.
    #[error("read the documents of a dump")]
    ReadDocuments(#[source] io::Error),
    /// A file to work with could not be made or written.
    #[error("write a temporary file")]
    Temporary(#[source] io::Error),
    /// The server is older than the one that the data is from.
    #[error("the data is of MeiliSearch {data}, and the server is {server}, which is older")]
    OlderServer {
        /// Of the data.
        data: String,
        /// Of the server.
        server: String,
    },
    /// What was restored is not what was captured.
    #[error(
        "the index `{index}` has {found} documents after the restore, and {expected} were captured"
    )]
    Count {
        /// Which.
        index: String,
        /// Now.
        found: u64,
        /// As recorded.
        expected: u64,
    },
    /// The command of the configuration failed.
    #[error("the command that rebuilds the indexes {0}")]
    Rebuild(String),
}

impl MeilisearchError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Call(HttpApiError::NoAnswer { .. }) => {
                "is the server running, and is `url` right?"
            }
            Self::Refused { status: 401, .. } => {
                "the server has a master key: give a key of its own with `key_file`"
            }
            Self::Refused { status: 403, .. } => {
                "the key of the configuration may not do that: the guide to search names the actions that it needs"
            }
            Self::TaskTooLong { .. } => {
                "tasks wait for those before them: `GET /tasks?statuses=processing` shows what runs; `task_limit` is how \
                 long Rekindle waits"
            }
            Self::ReadDump { .. } => {
                "`dump_directory` is the server's --dump-dir as seen from here, and must be readable by this user"
            }
            Self::OlderServer { .. } => {
                "restore with a server of that version or later: dumps are read by newer versions only"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether a server that is being restarted explains it.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Call(HttpApiError::NoAnswer { .. })
                | Self::Refused {
                    status: 429 | 502..=504,
                    ..
                }
        )
    }

    /// Whether the server has no such index, document or route.
    pub(super) const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}
