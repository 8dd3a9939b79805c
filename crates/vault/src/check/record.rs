//! When each stored file was last read and found whole. Kept on this machine, beside the vault.
//!
//! A text file: a first line that names format and vault, then one line per file, `<name> <seconds since 1970>`, with -1
//! for one that was found damaged. It is written anew as a whole. Losing it costs nothing but reading everything again.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use crate::{durable, id::Id};

const FIRST_WORD: &str = "rekindle-verified-1";
const MODE: u32 = 0o600;
/// In the place of a time.
const DAMAGED: i64 = -1;

/// When each stored file of one vault was last verified. 40 bytes of memory each.
#[derive(Debug)]
pub struct VerifiedRecord {
    path: PathBuf,
    vault_id: String,
    seen: HashMap<Id, i64>,
    is_new: bool,
}

/// The record could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("keep the record of verified packs in {}", path.display())]
pub struct VerifiedRecordError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl VerifiedRecord {
    /// Reads the record of a vault in this directory. One that is not there, is damaged or is of another format
    /// begins anew, because it only says where to go on.
    ///
    /// # Errors
    /// If there is one that this process may not read.
    pub fn open(directory: &Path, vault_id: &str) -> Result<Self, VerifiedRecordError> {
        let path = directory.join(format!("verified-{}.txt", plain_name(vault_id)));
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(VerifiedRecordError { path, source }),
        };
        let seen = parse(&text, vault_id);
        Ok(Self {
            path,
            vault_id: vault_id.to_owned(),
            is_new: seen.is_none(),
            seen: seen.unwrap_or_default(),
        })
    }

    /// Whether nothing was known, so that this begins anew.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// When this file was last found whole.
    #[must_use]
    pub fn verified(&self, name: &Id) -> Option<Timestamp> {
        let seconds = *self.seen.get(name)?;
        let time = Timestamp::from_second(seconds).ok();
        time.filter(|_| seconds != DAMAGED)
    }

    /// Whether it was damaged when it was last read.
    #[must_use]
    pub fn is_damaged(&self, name: &Id) -> bool {
        self.seen.get(name) == Some(&DAMAGED)
    }

    /// Notes that it was found whole.
    pub fn note_whole(&mut self, name: Id, now: Timestamp) {
        self.seen.insert(name, now.as_second());
    }

    /// Notes that it is damaged: it is read each time until it is whole or gone, and counts as never verified.
    pub fn note_damaged(&mut self, name: Id) {
        self.seen.insert(name, DAMAGED);
    }

    /// Forgets what is not there any more.
    pub fn keep_only(&mut self, is_there: impl Fn(&Id) -> bool) {
        self.seen.retain(|name, _| is_there(name));
    }

    /// Writes it, durably and as a whole.
    ///
    /// # Errors
    /// As the file system failed; the old record stands then.
    pub fn save(&self) -> Result<(), VerifiedRecordError> {
        let mut text = format!("{FIRST_WORD} {}\n", self.vault_id);
        let mut names: Vec<_> = self.seen.iter().collect();
        names.sort_unstable();
        for (name, seconds) in names {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} {seconds}");
        }
        let failed = |source| VerifiedRecordError {
            path: self.path.clone(),
            source,
        };
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        durable::replace(&self.path, text.as_bytes(), MODE).map_err(failed)
    }
}

/// The lines of a record; `None` if it is none of this vault. A line that cannot be read is passed over: its pack is
/// read again.
fn parse(text: &str, vault_id: &str) -> Option<HashMap<Id, i64>> {
    let (first, rest) = text.split_once('\n')?;
    if first != format!("{FIRST_WORD} {vault_id}") {
        return None;
    }
    let line = |line: &str| {
        let (name, seconds) = line.split_once(' ')?;
        Some((name.parse().ok()?, seconds.parse().ok()?))
    };
    Some(rest.lines().filter_map(line).collect())
}

/// A vault's id comes out of the vault; a file name must not lead elsewhere.
fn plain_name(vault_id: &str) -> String {
    vault_id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_a_damaged_one_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let mut record = VerifiedRecord::open(dir.path(), "ab12").unwrap();
        assert!(record.is_new());
        record.note_whole(Id::of(b"x"), now);
        record.note_whole(Id::of(b"y"), now);
        record.note_damaged(Id::of(b"y"));
        record.save().unwrap();
        let record = VerifiedRecord::open(dir.path(), "ab12").unwrap();
        assert!(!record.is_new());
        assert_eq!(record.verified(&Id::of(b"x")), Some(now));
        assert_eq!(record.verified(&Id::of(b"y")), None);
        assert!(record.is_damaged(&Id::of(b"y")) && !record.is_damaged(&Id::of(b"x")));
        let text = format!("{FIRST_WORD} ab12\nnonsense\n{} 5\n\u{0}", Id::of(b"z"));
        let seen = parse(&text, "ab12").unwrap();
        assert_eq!(seen.len(), 1);
        assert!(parse("", "ab12").is_none() && parse(&text, "other").is_none());
    }

    #[test]
    fn an_id_that_is_a_path_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let record = VerifiedRecord::open(dir.path(), "../../x").unwrap();
        assert_eq!(record.path, dir.path().join("verified-x.txt"));
    }
}
