//! Where PostgreSQL's own programs are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where packages of the larger distributions put the programs, one directory per version.
const PACKAGE_DIRS: [(&str, &str); 3] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/usr/local", "pgsql"),
];

/// A directory that was looked at.
pub(crate) struct Place {
    pub bin_dir: PathBuf,
    /// The major version of what is in it, or what is missing.
    pub major: Result<u32, String>,
}

impl Place {
    /// Looks for all of `needed` in a directory; the first of them is asked for its version.
    pub(crate) fn look(bin_dir: PathBuf, needed: &[&str]) -> Self {
        let major = major_of(&bin_dir, needed);
        Self { bin_dir, major }
    }

    /// In words, for somebody who wonders why it was not taken.
    pub(crate) fn describe(&self) -> String {
        match &self.major {
            Ok(major) => format!("{} ({major})", self.bin_dir.display()),
            Err(reason) => format!("{} ({reason})", self.bin_dir.display()),
        }
    }
}

/// The directories of `PATH` and of packages that hold `program` itself.
pub(crate) fn usual_places(program: &str) -> Vec<PathBuf> {
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
    places.retain(|place| is_itself(&place.join(program)));
    places.dedup();
    places
}

/// Debian's `/usr/bin/pg_dump` is a script that chooses a version by rules of its own.
fn is_itself(program: &Path) -> bool {
    fs::canonicalize(program).is_ok_and(|real| real.file_name() == program.file_name())
}

fn major_of(bin_dir: &Path, needed: &[&str]) -> Result<u32, String> {
    if let Some(missing) = needed.iter().find(|name| !bin_dir.join(name).is_file()) {
        return Err(format!("no {missing}"));
    }
    let asked = Command::new(bin_dir.join(needed.first().copied().unwrap_or_default()))
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let output = asked.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse_major(&text).ok_or_else(|| "does not tell its version".to_owned())
}

/// `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
pub(crate) fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_whatever_follows() {
        assert_eq!(
            parse_major("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"),
            Some(15)
        );
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("something else"), None);
    }
}
