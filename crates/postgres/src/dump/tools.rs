//! Where the server's client tools are.

use std::path::{Path, PathBuf};

use super::DumpError;
use crate::programs::{Place, usual_places};

/// What a dump and its restore need.
const NEEDED: [&str; 3] = ["pg_dump", "pg_dumpall", "pg_restore"];

/// A directory with `pg_dump`, `pg_dumpall` and `pg_restore` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    bin_dir: PathBuf,
    major: u32,
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
            })
        });
        tools.max_by_key(|tools| tools.major)
    }

    /// Major and minor version of psql.
    pub(super) fn psql_version(&self) -> Option<(u32, u32)> {
        let asked = std::process::Command::new(self.path("psql"))
            .arg("--version")
            .output()
            .ok()?;
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
    fn a_directory_without_tools_says_which_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let error = Tools::find(Some(root.path()), 15).unwrap_err().to_string();
        assert!(error.contains("no pg_dump"), "{error}");
    }
}
