//! Whether a place can take a data directory.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use rekindle_postgres::ControlFile;
use serde::Serialize;

use super::{Guard, GuardFinding};
use crate::restore::free_bytes;

/// What a data directory needs of its place.
#[derive(Clone, Debug, Serialize)]
pub struct DirectoryNeeds {
    /// Its major version.
    pub major: u32,
    /// Of which cluster it is; `None` if that is not known.
    pub system_identifier: Option<u64>,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Where a data directory goes.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryPlace<'a> {
    /// The directory, which need not exist.
    pub directory: &'a Path,
    /// The data directory that it takes the place of, if it does.
    pub replaces: Option<&'a Path>,
    /// Where the programs of the server are that will run on it, if that is known.
    pub bin_dir: Option<&'a Path>,
}

/// A place, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryFacts {
    /// Free bytes of its file system; `None` if that cannot be asked.
    pub free_bytes: Option<u64>,
    /// The major version of the server's programs; an error if they do not tell.
    pub server_major: Option<Result<u32, String>>,
    /// Of which cluster the replaced directory is.
    pub replaced_system_identifier: Option<u64>,
    /// The major version of the replaced directory.
    pub replaced_major: Option<u32>,
}

/// Looks at a place, and says what stands in the way of putting a data directory there. Give the
/// result to [`permit`](super::permit).
#[must_use]
pub fn guards_for_directory(
    needs: &DirectoryNeeds,
    place: &DirectoryPlace<'_>,
) -> Vec<GuardFinding> {
    judge_directory(needs, &DirectoryFacts::gather(place))
}

impl DirectoryFacts {
    /// Looks at a place. Changes nothing.
    #[must_use]
    pub fn gather(place: &DirectoryPlace<'_>) -> Self {
        let control = place.replaces.and_then(|path| ControlFile::read(path).ok());
        let version = place
            .replaces
            .and_then(|path| std::fs::read_to_string(path.join("PG_VERSION")).ok());
        Self {
            free_bytes: free_bytes(place.directory),
            server_major: place.bin_dir.map(server_major),
            replaced_system_identifier: control.map(|control| control.system_identifier),
            replaced_major: version.and_then(|version| version.trim().parse().ok()),
        }
    }
}

/// Says what stands in the way.
#[must_use]
pub fn judge_directory(needs: &DirectoryNeeds, facts: &DirectoryFacts) -> Vec<GuardFinding> {
    let mut findings = Vec::new();
    findings.extend(judge_major(needs, facts));
    findings.extend(judge_identity(needs, facts));
    findings.extend(judge_space(needs, facts));
    findings
}

fn judge_major(needs: &DirectoryNeeds, facts: &DirectoryFacts) -> Option<GuardFinding> {
    let major = needs.major;
    let advice = format!(
        "a data directory of PostgreSQL {major} runs on {major} only: install it, or restore a dump"
    );
    match &facts.server_major {
        Some(Ok(server)) if *server != major => Some(GuardFinding::refuse(
            Guard::ServerMajor,
            format!("it is of PostgreSQL {major}, the server's programs are of {server}"),
            advice,
        )),
        Some(Err(reason)) => Some(GuardFinding::warn(
            Guard::ServerMajor,
            format!("the server's programs do not tell their version: {reason}"),
            advice,
        )),
        _ => {
            let replaced = facts.replaced_major.filter(|replaced| *replaced != major)?;
            Some(GuardFinding::refuse(
                Guard::ServerMajor,
                format!("it is of PostgreSQL {major}, and would replace a directory of {replaced}"),
                advice,
            ))
        }
    }
}

fn judge_identity(needs: &DirectoryNeeds, facts: &DirectoryFacts) -> Option<GuardFinding> {
    let (ours, theirs) = (needs.system_identifier?, facts.replaced_system_identifier?);
    (ours != theirs).then(|| {
        GuardFinding::refuse(
            Guard::SystemIdentifier,
            format!("it is of cluster {ours}, and would replace one of cluster {theirs}"),
            "is it the right service and the right point? Another cluster's standbys, slots and WAL \
             archive do not fit it",
        )
    })
}

fn judge_space(needs: &DirectoryNeeds, facts: &DirectoryFacts) -> Option<GuardFinding> {
    let free = facts.free_bytes.filter(|free| *free < needs.bytes)?;
    Some(GuardFinding::refuse(
        Guard::DiskSpace,
        format!(
            "{} MiB are free there, and {} MiB are needed",
            free >> 20,
            needs.bytes.div_ceil(1 << 20)
        ),
        "make room, or choose a directory on a larger disk",
    ))
}

/// What `postgres --version` says.
fn server_major(bin_dir: &Path) -> Result<u32, String> {
    let output = Command::new(bin_dir.join("postgres"))
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", bin_dir.join("postgres").display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let digits = number.map(|number| {
        number
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap_or_default()
    });
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("`{}`", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guards(facts: &DirectoryFacts) -> Vec<Guard> {
        let needs = DirectoryNeeds {
            major: 15,
            system_identifier: Some(7),
            bytes: 1 << 30,
        };
        judge_directory(&needs, facts)
            .iter()
            .map(|finding| finding.guard)
            .collect()
    }

    #[test]
    fn a_place_that_fits_finds_nothing_in_its_way() {
        let facts = DirectoryFacts {
            free_bytes: Some(1 << 31),
            server_major: Some(Ok(15)),
            replaced_system_identifier: Some(7),
            replaced_major: Some(15),
        };
        assert_eq!(guards(&facts), []);
        assert_eq!(guards(&DirectoryFacts::default()), []);
    }

    #[test]
    fn each_thing_in_the_way_has_its_name() {
        let facts = DirectoryFacts::default;
        let other = DirectoryFacts {
            server_major: Some(Ok(16)),
            ..facts()
        };
        assert_eq!(guards(&other), [Guard::ServerMajor]);
        let replaced = DirectoryFacts {
            replaced_major: Some(14),
            ..facts()
        };
        assert_eq!(guards(&replaced), [Guard::ServerMajor]);
        let cluster = DirectoryFacts {
            replaced_system_identifier: Some(8),
            ..facts()
        };
        assert_eq!(guards(&cluster), [Guard::SystemIdentifier]);
        let full = DirectoryFacts {
            free_bytes: Some(1 << 20),
            ..facts()
        };
        assert_eq!(guards(&full), [Guard::DiskSpace]);
    }
}
