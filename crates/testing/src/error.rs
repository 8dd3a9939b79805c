//! What can go wrong with a fixture.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a fixture could not be made or used.
///
/// `Debug` prints the whole message over several lines, because `unwrap` in a test shows that.
#[derive(thiserror::Error)]
pub enum TestingError {
    /// This machine does not have it and it could not be installed. Tests skip, loudly.
    #[error("{what} is not available: {why}")]
    Unavailable {
        /// The server, tool or right that is missing.
        what: String,
        /// Why, and what would help.
        why: String,
    },
    /// A file operation of the fixture itself failed.
    #[error("{doing} {}", path.display())]
    File {
        /// What was being done, such as "create".
        doing: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A program could not be started or read from.
    #[error("run {program}")]
    Run {
        /// The program.
        program: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A program ran and reported failure.
    #[error("{command}: {status}\n{output}")]
    Failed {
        /// The command line, without secrets.
        command: String,
        /// How it ended.
        status: String,
        /// Its stderr, and its stdout when stderr was empty.
        output: String,
    },
    /// A server did not become ready, or did not stop.
    #[error("server in {}: {why}\n--- end of its log ---\n{log}", data_dir.display())]
    Server {
        /// Its data directory.
        data_dir: PathBuf,
        /// What was waited for and what came instead.
        why: String,
        /// The last lines of its log.
        log: String,
    },
    /// What a program printed was not what its manual promises.
    #[error("{what}: {found}")]
    Unexpected {
        /// What was expected.
        what: &'static str,
        /// What came.
        found: String,
    },
}

impl TestingError {
    /// Makes the adapter for `map_err` of one file operation.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }

    /// True if a test should skip instead of fail.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl fmt::Debug for TestingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
