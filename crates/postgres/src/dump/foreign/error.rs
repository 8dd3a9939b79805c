//! Why a dump of unknown origin is not restored.

use std::io;

/// Why a file is no dump that can be restored, or cannot be told to be one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// It could not be read.
    #[error("read {path}")]
    Read {
        /// Where.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is nothing that PostgreSQL's tools write.
    #[error("{path} is no dump of PostgreSQL's: {looks_like}")]
    NotADump {
        /// Where.
        path: String,
        /// What it is instead, as far as its first bytes tell.
        looks_like: String,
    },
    /// It is known what it is, and this program cannot read it.
    #[error("{path} cannot be read as it is: {reason}")]
    Unsupported {
        /// Where.
        path: String,
        /// What it is.
        reason: String,
        /// What makes it readable.
        instead: String,
    },
    /// It ends too early, or its bytes are not those that were written.
    #[error("{path} is not whole: {reason}")]
    NotWhole {
        /// Where.
        path: String,
        /// What is missing or wrong, and where.
        reason: String,
    },
}

impl ForeignError {
    /// What to do next, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            Self::NotADump { .. } => Some(
                "dumps of pg_dump and pg_dumpall are read: SQL text, custom (-Fc), directory \
                 (-Fd) and tar (-Ft), also within gzip, zstd or lz4"
                    .to_owned(),
            ),
            Self::Unsupported { instead, .. } => Some(instead.clone()),
            Self::NotWhole { .. } => Some(
                "part of the data is missing, so nothing was changed; copy or make the dump again"
                    .to_owned(),
            ),
        }
    }
}

/// What went wrong below, before it is known of which file.
#[derive(Debug)]
pub(in crate::dump) enum Fault {
    Disk(io::Error),
    NotADump(String),
    Unsupported { reason: String, instead: String },
    NotWhole(String),
}

impl Fault {
    pub(super) fn not_whole(reason: impl Into<String>) -> Self {
        Self::NotWhole(reason.into())
    }

    pub(in crate::dump) fn of(self, path: &std::path::Path) -> ForeignError {
        let path = path.display().to_string();
        match self {
            Self::Disk(source) => ForeignError::Read { path, source },
            Self::NotADump(looks_like) => ForeignError::NotADump { path, looks_like },
            Self::Unsupported { reason, instead } => ForeignError::Unsupported {
                path,
                reason,
                instead,
            },
            Self::NotWhole(reason) => ForeignError::NotWhole { path, reason },
        }
    }

    /// The same, with the place where it happened.
    pub(super) fn within(self, what: impl FnOnce() -> String) -> Self {
        match self {
            Self::NotWhole(reason) => Self::NotWhole(format!("{}: {reason}", what())),
            other => other,
        }
    }
}

/// Marks what the operating system said of the file itself, so that it is not taken for damage.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct DiskError(pub(super) String, pub(super) io::ErrorKind);

impl From<io::Error> for Fault {
    /// An error of the disk stays one; anything else came from a decoder, which met an end or
    /// bytes that it did not expect.
    fn from(error: io::Error) -> Self {
        if let Some(disk) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<DiskError>())
        {
            return Self::Disk(io::Error::new(disk.1, disk.0.clone()));
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::not_whole("it ends in the middle"),
            _ => Self::not_whole(format!("its compressed data is damaged ({error})")),
        }
    }
}
