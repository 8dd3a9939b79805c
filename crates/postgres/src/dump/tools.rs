//! Where the server's client tools are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::DumpError;

/// What a dump and its restore need.
const NEEDED: [&str; 3] = ["pg_dump", "pg_dumpall", "pg_restore"];

/// Where packages of the larger distributions put the tools, one directory per version.
const PACKAGE_DIRS: [(&str, &str); 3] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/usr/local", "pgsql"),
];

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
        let places = bin_dir.map_or_else(usual_places, |dir| vec![dir.to_owned()]);
        let mut looked_at = Vec::new();
        let mut found: Vec<Self> = Vec::new();
        for place in places {
            match major_of(&place) {
                Ok(major) => {
                    looked_at.push(format!("{} ({major})", place.display()));
                    found.push(Self {
                        bin_dir: place,
                        major,
                    });
                }
                Err(reason) => looked_at.push(format!("{} ({reason})", place.display())),
            }
        }
        let fitting = found
            .into_iter()
            .filter(|tools| tools.major >= server_major);
        fitting
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

    /// The path of one of them.
    pub(super) fn path(&self, tool: &str) -> PathBuf {
        self.bin_dir.join(tool)
    }
}

fn usual_places() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for (parent, prefix) in PACKAGE_DIRS {
        let Ok(entries) = fs::read_dir(parent) else {
            continue;
        };
        let names = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        let mut versions: Vec<PathBuf> = names.map(|entry| entry.path().join("bin")).collect();
        versions.sort();
        places.extend(versions);
    }
    places.retain(|place| is_own_tool(&place.join("pg_dump")));
    places.dedup();
    places
}

/// Debian's `/usr/bin/pg_dump` is a script that chooses a version by rules of its own.
fn is_own_tool(tool: &Path) -> bool {
    fs::canonicalize(tool).is_ok_and(|real| real.file_name() == tool.file_name())
}

fn major_of(bin_dir: &Path) -> Result<u32, String> {
    if let Some(missing) = NEEDED.iter().find(|tool| !bin_dir.join(tool).is_file()) {
        return Err(format!("no {missing}"));
    }
    let asked = Command::new(bin_dir.join("pg_dump"))
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let output = asked.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse_major(&text).ok_or_else(|| "does not tell its version".to_owned())
}

/// `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "what tests write need not survive a power cut"
)]
mod tests {
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

    #[test]
    fn versions_are_read_with_whatever_follows() {
        assert_eq!(
            parse_major("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"),
            Some(15)
        );
        assert_eq!(parse_major("pg_dump (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("something else"), None);
    }
}
