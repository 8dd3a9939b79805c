//! Names of archived files, and where they lie.

use std::fmt;

use super::FOLDER;
use crate::store::ObjectKey;

const ENDING: &str = ".zst.age";

/// A file of the archive: whose it is and what the server calls it.
///
/// It lies at `rekindle/wal/<system>/<timeline>/<name>.zst.age`. Its name begins with its timeline,
/// a history file's with the timeline whose history it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalFile {
    /// PostgreSQL's system identifier of the cluster.
    pub system: u64,
    /// The timeline.
    pub timeline: u32,
    /// As the server writes it: a segment (24 hex digits), `<segment>.partial`,
    /// `<segment>.<offset>.backup`, or `<timeline>.history`.
    pub name: String,
}

/// A name that no file of a WAL archive has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not the name of a WAL file{}", of_timeline(*timeline))]
pub struct BadWalName {
    /// What it was to be called.
    pub name: String,
    /// The timeline that it should be of, if one was given.
    pub timeline: Option<u32>,
}

impl WalFile {
    /// The file of this name, its timeline read from the name.
    ///
    /// # Errors
    /// If it is no name of a WAL file.
    pub fn named(system: u64, name: impl Into<String>) -> Result<Self, BadWalName> {
        let name = name.into();
        match timeline_of(&name) {
            Some(timeline) => Ok(Self {
                system,
                timeline,
                name,
            }),
            None => Err(BadWalName {
                name,
                timeline: None,
            }),
        }
    }

    /// Whether it is the part of a segment that was there when its timeline ended, or until now.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.name.ends_with(".partial")
    }

    pub(crate) fn key(&self) -> Result<ObjectKey, BadWalName> {
        let bad = || BadWalName {
            name: self.name.clone(),
            timeline: Some(self.timeline),
        };
        if timeline_of(&self.name) != Some(self.timeline) {
            return Err(bad());
        }
        let folder = system_folder(self.system);
        let text = format!("{folder}/{:08X}/{}{ENDING}", self.timeline, self.name);
        ObjectKey::parse(&text).ok_or_else(bad)
    }

    /// The file that lies there; `None` if it is none of ours.
    pub(crate) fn of_key(key: &ObjectKey) -> Option<Self> {
        let rest = key.as_str().strip_prefix(FOLDER)?.strip_prefix('/')?;
        let (system, rest) = rest.split_once('/')?;
        let (folder, name) = rest.split_once('/')?;
        let file = Self::named(system.parse().ok()?, name.strip_suffix(ENDING)?).ok()?;
        // Numbers may be written in several ways, and only one of them is where we look.
        (file.system.to_string() == system && folder == format!("{:08X}", file.timeline))
            .then_some(file)
    }
}

impl fmt::Display for WalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of system {}", self.name, self.system)
    }
}

impl fmt::Debug for WalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:08X}/{}", self.system, self.timeline, self.name)
    }
}

pub(super) fn system_folder(system: u64) -> String {
    format!("{FOLDER}/{system}")
}

/// The timeline of a well-formed name.
fn timeline_of(name: &str) -> Option<u32> {
    let mut parts = name.split('.');
    let first = parts.next()?;
    let rest = (parts.next(), parts.next(), parts.next());
    let is_known = match (first.len(), rest) {
        (24, (None | Some("partial"), None, None)) | (8, (Some("history"), None, None)) => true,
        (24, (Some(offset), Some("backup"), None)) => offset.len() == 8 && is_hex(offset),
        _ => false,
    };
    (is_known && is_hex(first))
        .then(|| u32::from_str_radix(first.get(..8)?, 16).ok())
        .flatten()
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

fn of_timeline(timeline: Option<u32>) -> String {
    timeline.map_or_else(String::new, |number| format!(" of timeline {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_file_lies_with_its_timeline_and_is_found_there() {
        for (name, timeline) in [
            ("000000010000000000000003", 1),
            ("0000000A000000FF000000FE.partial", 10),
            ("00000002.history", 2),
            ("000000010000000000000002.00000028.backup", 1),
            ("FFFFFFFF0000000000000001", u32::MAX),
        ] {
            let file = WalFile::named(u64::MAX, name).unwrap();
            assert_eq!(file.timeline, timeline, "{name}");
            let key = file.key().unwrap();
            let expected =
                format!("rekindle/wal/18446744073709551615/{timeline:08X}/{name}.zst.age");
            assert_eq!(key.as_str(), expected);
            assert_eq!(WalFile::of_key(&key), Some(file));
        }
    }

    #[test]
    fn what_is_no_wal_file_is_refused() {
        for name in [
            "",
            "..",
            "00000001000000000000000",
            "0000000100000000000000033",
            "00000001000000000000000a",
            "../../../../etc/passwd0000",
            "000000010000000000000003.",
            "000000010000000000000003.partial.partial",
            "000000010000000000000003.0000028.backup",
            "000000010000000000000003.backup",
            "00000002.history.partial",
            "0000000é0000000000000003",
            "archive_status",
        ] {
            assert!(WalFile::named(1, name).is_err(), "{name}");
        }
        let mut file = WalFile::named(1, "000000010000000000000003").unwrap();
        file.timeline = 2;
        let error = file.key().unwrap_err().to_string();
        assert!(error.contains("of timeline 2"), "{error}");
    }

    #[test]
    fn what_lies_elsewhere_is_none_of_ours() {
        let name = "000000010000000000000003.zst.age";
        for text in [
            format!("rekindle/wal/1/00000002/{name}"),
            format!("rekindle/wal/01/00000001/{name}"),
            format!("rekindle/wal/+1/00000001/{name}"),
            format!("rekindle/wal/x/00000001/{name}"),
            format!("rekindle/wal/1/{name}"),
            format!("rekindle/wal/1/00000001/deep/{name}"),
            format!("rekindle/wal/1/00000001/{name}-tmp-0123456789ab"),
            format!("rekindle/walrus/1/00000001/{name}"),
        ] {
            assert_eq!(
                WalFile::of_key(&ObjectKey::parse(&text).unwrap()),
                None,
                "{text}"
            );
        }
    }
}
