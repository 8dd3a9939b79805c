//! The server's own programs, of the very version of a data directory.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ControlError;
use crate::programs::{Place, usual_places};

const NEEDED: [&str; 2] = ["postgres", "pg_ctl"];

/// A directory with `postgres` and `pg_ctl` of one major version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    bin_dir: PathBuf,
}

impl Programs {
    /// Finds the programs of exactly `major`: a data directory belongs to one. Looks in `bin_dir`
    /// first if it is given, then in `PATH` and where packages put them.
    ///
    /// # Errors
    /// [`ControlError::NoPrograms`], which names every place that was looked at.
    pub fn find(bin_dir: Option<&Path>, major: u32) -> Result<Self, ControlError> {
        let given = bin_dir.map(Path::to_owned);
        let mut looked_at = Vec::new();
        for dir in given.into_iter().chain(usual_places("postgres")) {
            let place = Place::look(dir, &NEEDED);
            if place.major == Ok(major) {
                return Ok(Self {
                    bin_dir: place.bin_dir,
                });
            }
            looked_at.push(place.describe());
        }
        Err(ControlError::NoPrograms {
            wanted: major,
            looked_at,
        })
    }

    /// The directory they are in.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.bin_dir.join(program)
    }

    /// One of them, in nobody's environment: what a person has set for libpq or for another server
    /// is not meant for this one. Messages are in English, because they are read by us too.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").current_dir("/");
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_not_here_is_refused_with_the_places_looked_at() {
        let error = Programs::find(Some(Path::new("/nonexistent")), 7).unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent (no postgres)"),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
}
