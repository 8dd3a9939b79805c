//! Why a dataset was not put in its place.

use std::{io, path::PathBuf};

use jiff::Timestamp;
use rekindle_datasets::InPlaceError;
use rekindle_runtimes::RuntimeError;

/// Why a dataset was not put in the place of the live one, or not taken back.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The service has none of that kind, or several and none was named.
    #[error("`{service}` has {known}; {wanted}")]
    WhichDataset {
        /// The service.
        service: String,
        /// What it has, in words.
        known: String,
        /// What is wrong with what was asked for.
        wanted: String,
    },
    /// An earlier one did not come to its end.
    #[error(
        "a restore in place of {kind} of `{service}`, begun at {started}, did not come to its end"
    )]
    Unfinished {
        /// The service.
        service: String,
        /// Of which kind.
        kind: String,
        /// When it was begun.
        started: Timestamp,
    },
    /// There is nothing to take back or to remove.
    #[error("nothing of `{service}` is set aside")]
    NothingAside {
        /// The service.
        service: String,
    },
    /// It ended half way, with the service running: what is there now may be of both states.
    #[error("{kind} of `{service}` was not restored: {done}")]
    HalfDone {
        /// The service.
        service: String,
        /// Of which kind.
        kind: String,
        /// What was done, or may have been.
        done: String,
        /// What went wrong.
        source: Box<InPlaceError>,
    },
    /// Somebody else does the same.
    #[error("another restore in place of `{service}` is under way")]
    UnderWay {
        /// The service.
        service: String,
    },
    /// The journal cannot be read or written. Nothing was changed after that.
    #[error("{doing} the journal {}", path.display())]
    Journal {
        /// What was being done with it.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The service could not be stopped, or does not start again.
    #[error("the service could not be stopped or started")]
    Runtime(#[from] RuntimeError),
    /// The data is neither as it was nor as it shall be, and a service that starts on half of its data makes it worse.
    #[error("`{service}` stays stopped, because its data is not in order")]
    LeftStopped {
        /// The service.
        service: String,
        /// Of which kind the data is.
        kind: String,
        /// What went wrong.
        source: Box<ReplaceError>,
    },
    /// The dataset refused or failed; what was done is in the journal.
    #[error("{doing} {kind} of `{service}` in place")]
    Dataset {
        /// What was being done: `restore`, `take back`.
        doing: &'static str,
        /// Of which kind.
        kind: String,
        /// The service.
        service: String,
        /// Why it failed.
        source: Box<InPlaceError>,
    },
}

impl ReplaceError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::WhichDataset { .. } => Some("say which with `--kind KIND`".to_owned()),
            Self::Unfinished { service, kind, .. } => Some(format!(
                "`rekindle restore --undo --service {service} --kind {kind}` brings back what was there; then try again"
            )),
            Self::NothingAside { .. } => Some(
                "only what `restore --in-place` set aside on this machine can be taken back"
                    .to_owned(),
            ),
            Self::HalfDone {
                service,
                kind,
                source,
                ..
            } => {
                let undo = format!(
                    "`rekindle restore --undo --service {service} --kind {kind}` brings back what was there"
                );
                Some(match source.hint() {
                    Some(hint) => format!("{hint}; {undo}"),
                    None => undo,
                })
            }
            Self::UnderWay { .. } => Some("wait until it is done".to_owned()),
            Self::LeftStopped { service, kind, .. } => Some(format!(
                "once the cause is gone, `rekindle restore --undo --service {service} --kind {kind}` brings back what was \
                 there and starts the service"
            )),
            Self::Runtime(error) => error.hint(),
            Self::Dataset { source, .. } => source.hint(),
            Self::Journal { .. } => None,
        }
    }
}
