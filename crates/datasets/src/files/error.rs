//! Why files were not captured.

use std::path::PathBuf;

/// Why files were not captured.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A path that has no place in a recovery point.
    #[error("the path `{}` cannot be backed up: {reason}", path.display())]
    BadPath {
        /// As declared.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// Two paths of which one holds the other, or that would lie in one place of the recovery point.
    #[error("the paths `{}` and `{}` {reason}", one.display(), other.display())]
    NotApart {
        /// As declared.
        one: PathBuf,
        /// As declared.
        other: PathBuf,
        /// How they meet.
        reason: &'static str,
    },
    /// A pattern that is none.
    #[error("the pattern `{pattern}` of `exclude` cannot be used: {reason}")]
    BadPattern {
        /// As declared.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// A declared path is not there.
    #[error("{} is not there, and rekindle.yaml says that it belongs to the stack", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
}

impl FilesError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::BadPath { .. } => "write it as an absolute path, or relative and without `..`",
            Self::NotApart { .. } => {
                "leave out the one that lies in the other, or give one of them to another service"
            }
            Self::BadPattern { .. } => {
                "patterns are those of `.gitignore`; a backslash takes a special meaning away"
            }
            Self::Missing { .. } => {
                "is its disk mounted? If it need not be there, name it under `optional_paths` instead"
            }
        };
        Some(hint.to_owned())
    }
}
