//! Where the server's client tools are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::DumpError;
use crate::programs::{Place, parse_major, usual_places};

/// What a dump and its restore need.
const NEEDED: [&str; 3] = ["pg_dump", "pg_dumpall", "pg_restore"];

/// A directory with `pg_dump`, `pg_dumpall` and `pg_restore` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    bin_dir: PathBuf,
    major: u32,
    /// Words before the command line that make it run where the server runs.
    prefix: Vec<OsString>,
}

impl Tools {
    /// Finds tools that can dump a server of `server_major`: they must be of the same major version
    /// or a later one, and the nearest is taken. Looks only in `bin_dir` if it is given, else in
    /// `PATH` and where packages put them.
    ///
    /// # Errors
    /// [`DumpError::NoTools`], which names every place that was looked at.
    pub fn find(bin_dir: Option<&Path>, server_major: u32) -> Result<Self, DumpError> {
        let places = bin_dir.map_or_else(|| usual_places("pg_dump"), |dir| vec![dir.to_owned()]);
        let places: Vec<Place> = places
            .into_iter()
            .map(|dir| Place::look(dir, &NEEDED))
            .collect();
        let looked_at = places.iter().map(Place::describe).collect();
        let found = places.into_iter().filter_map(|place| {
            place.major.ok().map(|major| Self {
                bin_dir: place.bin_dir,
                major,
                prefix: Vec::new(),
            })
        });
        found
            .filter(|tools| tools.major >= server_major)
            .min_by_key(|tools| tools.major)
            .ok_or(DumpError::NoTools {
                wanted: server_major,
                looked_at,
            })
    }

    /// The tools where the server itself runs, as in its container: `prefix` are the words that make a command line run
    /// there, with its streams passed through and those environment variables passed on that [`Tools::passed_on`] names.
    /// They reach their server without being told where it is. Only for dumps: a restore that is interrupted must
    /// end on the far side, too, and nobody can promise that.
    ///
    /// # Errors
    /// [`DumpError::NoTools`] if there are none, or older ones than the server.
    pub fn elsewhere(prefix: Vec<OsString>, server_major: u32) -> Result<Self, DumpError> {
        let mut tools = Self {
            bin_dir: PathBuf::new(),
            major: 0,
            prefix,
        };
        let none = |reason: String| DumpError::NoTools {
            wanted: server_major,
            looked_at: vec![format!("where the server runs ({reason})")],
        };
        let asked = tools.command("pg_dump").arg("--version").output();
        let output = asked.map_err(|error| none(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        tools.major = parse_major(&text).ok_or_else(|| {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            none(format!("no pg_dump: {said}"))
        })?;
        match tools.major >= server_major {
            true => Ok(tools),
            false => Err(none(format!("pg_dump {}", tools.major))),
        }
    }

    /// Environment variables that tools elsewhere are to be given.
    #[must_use]
    pub const fn passed_on() -> &'static [&'static str] {
        &[
            "PGUSER",
            "PGDATABASE",
            "PGAPPNAME",
            "PGCONNECT_TIMEOUT",
            "LC_ALL",
            "PGPASSWORD",
            "PGPASSFILE",
        ]
    }

    /// Whether they run somewhere else than this process.
    #[must_use]
    pub fn are_elsewhere(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// A command line of one of them.
    pub(super) fn command(&self, tool: &str) -> Command {
        match self.prefix.split_first() {
            None => Command::new(self.path(tool)),
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(self.path(tool));
                command
            }
        }
    }

    /// The tools' major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The directory they are in.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// The newest tools that can be found, of whatever version; `None` if there are none.
    pub fn newest(bin_dir: Option<&Path>) -> Option<Self> {
        let places = bin_dir.map_or_else(|| usual_places("pg_dump"), |dir| vec![dir.to_owned()]);
        let found = places.into_iter().map(|dir| Place::look(dir, &NEEDED));
        let tools = found.filter_map(|place| {
            place.major.ok().map(|major| Self {
                bin_dir: place.bin_dir,
                major,
                prefix: Vec::new(),
            })
        });
        tools.max_by_key(|tools| tools.major)
    }

    /// Major and minor version of psql.
    pub(super) fn psql_version(&self) -> Option<(u32, u32)> {
        let asked = self.command("psql").arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&asked.stdout).into_owned();
        let version = text
            .split_once("(PostgreSQL) ")?
            .1
            .split_whitespace()
            .next()?;
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// The path of one of them.
    pub(super) fn path(&self, tool: &str) -> PathBuf {
        self.bin_dir.join(tool)
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "what tests write need not survive a power cut"
)]
mod tests {
    use std::fs;

    use super::*;

    fn bin_dir(root: &Path, version: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let dir = root.join(version);
        fs::create_dir(&dir).unwrap();
        for tool in NEEDED {
            let path = dir.join(tool);
            fs::write(
                &path,
                format!("#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n"),
            )
            .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        dir
    }

    #[test]
    fn tools_older_than_the_server_are_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let dir = bin_dir(root.path(), "15.18");
        assert_eq!(Tools::find(Some(&dir), 15).unwrap().major(), 15);
        assert_eq!(Tools::find(Some(&dir), 13).unwrap().major(), 15);
        let error = Tools::find(Some(&dir), 16).unwrap_err().to_string();
        assert!(error.contains("15.18 (15)"), "{error}");
    }

    #[test]
    fn tools_elsewhere_are_asked_through_the_words_before_them() {
        let root = tempfile::tempdir().unwrap();
        let dir = bin_dir(root.path(), "16.3");
        let path = format!("PATH={}:/usr/bin:/bin", dir.display());
        let there: Vec<OsString> = ["env", &path].map(OsString::from).to_vec();
        let tools = Tools::elsewhere(there.clone(), 16).unwrap();
        assert_eq!((tools.major(), tools.are_elsewhere()), (16, true));
        let error = Tools::elsewhere(there, 17).unwrap_err().to_string();
        assert!(error.contains("pg_dump 16"), "{error}");
        let nowhere = ["env", "PATH=/nonexistent"].map(OsString::from).to_vec();
        let error = Tools::elsewhere(nowhere, 15).unwrap_err().to_string();
        assert!(error.contains("where the server runs"), "{error}");
    }

    #[test]
    fn a_directory_without_tools_says_which_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let error = Tools::find(Some(root.path()), 15).unwrap_err().to_string();
        assert!(error.contains("no pg_dump"), "{error}");
    }
}
