//! Why a restore in place was not done, or did not succeed.

use std::{
    io,
    path::{Path, PathBuf},
};

use rekindle_postgres::{self as pg, server::ControlError};
use serde::Serialize;

use crate::RecoveryError;

/// Something that speaks against a restore in place, found before anything was touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

impl Refusal {
    pub(super) fn new(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            hint: hint.into(),
        }
    }
}

/// Why a restore in place was not done, or did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum InPlaceError {
    /// Nobody says where the data directory is.
    #[error("where the data directory of `{service}` is cannot be found out: {reason}")]
    UnknownDirectory {
        /// Whose.
        service: String,
        /// Why not.
        reason: String,
    },
    /// What is there is no data directory.
    #[error("{} is not a data directory that can be replaced: {reason}", path.display())]
    NotADirectory {
        /// Where.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Something speaks against it; nothing was touched.
    #[error("{}", reasons(refusals))]
    Refused {
        /// What.
        refusals: Vec<Refusal>,
    },
    /// An earlier restore in place is not over.
    #[error("an earlier restore in place of {} {state}", path.display())]
    NotOver {
        /// The data directory.
        path: PathBuf,
        /// How far it is.
        state: String,
    },
    /// There is no journal, so nothing was put in the place of the live directory.
    #[error("nothing is held for {}: no restore in place is recorded there", path.display())]
    NothingHeld {
        /// The data directory.
        path: PathBuf,
    },
    /// Another process works on the same directory.
    #[error("another restore in place works in {} right now", path.display())]
    Busy {
        /// The directory above the data directory.
        path: PathBuf,
    },
    /// A journal that cannot be read.
    #[error("the journal {} cannot be read: {reason}", path.display())]
    BadJournal {
        /// Where.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file system said no.
    #[error("{action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The server was not stopped or started.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The server refused, or a file of it cannot be read.
    #[error(transparent)]
    Postgres(#[from] pg::Error),
    /// The candidate was not built; the live server was not touched.
    #[error("build the candidate; the live server was not touched")]
    Candidate {
        /// Why not.
        source: Box<RecoveryError>,
    },
    /// What was started is not what should have been.
    #[error("the restored server is not the one that was wanted: {reason}")]
    WrongServer {
        /// What is wrong with it.
        reason: String,
    },
    /// A step failed, and what was done was taken back or not.
    #[error("{doing}; {after}")]
    Failed {
        /// What was being done.
        doing: String,
        /// How things stand now.
        after: String,
        /// What to do next.
        hint: String,
        /// Why.
        source: Box<InPlaceError>,
    },
}

impl InPlaceError {
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// What to do next, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownDirectory { .. } => {
                "name it by `data_directory` of the dataset".to_owned()
            }
            Self::NotADirectory { .. } => {
                "`rekindle restore --to DIR` builds a directory to start by hand".to_owned()
            }
            Self::Refused { refusals } => {
                let hints: Vec<_> = refusals.iter().map(|refusal| &*refusal.hint).collect();
                hints.join("; ")
            }
            Self::NotOver { .. } => "`rekindle restore --undo` goes back to the old directory; \
                 `rekindle restore --discard` keeps the new one for good"
                .to_owned(),
            Self::BadJournal { .. } => {
                "look at the directories beside it; nothing was moved now".to_owned()
            }
            Self::Control(error) => return error.hint().map(str::to_owned),
            Self::Postgres(error) => return error.hint().map(str::to_owned),
            Self::Candidate { source } => return source.hint(),
            Self::Failed { hint, .. } => hint.clone(),
            _ => return None,
        })
    }

    /// Whether data that is stored turned out not to be restorable.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Candidate { source } if source.is_damage())
    }
}

fn reasons(refusals: &[Refusal]) -> String {
    let reasons: Vec<_> = refusals.iter().map(|refusal| &*refusal.reason).collect();
    reasons.join("; ")
}
