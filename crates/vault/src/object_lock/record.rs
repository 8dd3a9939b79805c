//! Until when each object is locked, as far as this machine knows: so that not every backup asks the store for each
//! object. Kept on this machine, beside the vault.
//!
//! A text file: a first line that names format and vault, a second with the time of the last look, then for each end of locks
//! a line `until <seconds since 1970>` and the objects that are locked so long, one per line. Losing it costs one request per
//! object. It is a help to save requests, and no proof: `status` asks the store.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    durable,
    store::{LockPeriod, ObjectKey},
};

const FIRST_WORD: &str = "rekindle-object-locks-1";
const MODE: u32 = 0o600;
/// A daily backup comes now and then a little early.
const BETWEEN_LOOKS: SignedDuration = SignedDuration::from_hours(20);

/// Until when each object of a vault is locked.
#[derive(Debug)]
pub struct LockRecord {
    path: PathBuf,
    vault_id: String,
    looked: Option<Timestamp>,
    ends: HashMap<ObjectKey, i64>,
}

/// The record could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("keep the record of object locks in {}", path.display())]
pub struct LockRecordError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl LockRecord {
    /// Reads the record of a vault in this directory. One that is not there, is damaged or is of another format begins anew.
    ///
    /// # Errors
    /// If there is one that this process may not read.
    pub fn open(directory: &Path, vault_id: &str) -> Result<Self, LockRecordError> {
        let plain: String = vault_id.chars().filter(char::is_ascii_hexdigit).collect();
        let path = directory.join(format!("object-locks-{plain}.txt"));
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(LockRecordError { path, source }),
        };
        let (looked, ends) = parse(&text, vault_id).unwrap_or_default();
        Ok(Self {
            path,
            vault_id: vault_id.to_owned(),
            looked,
            ends,
        })
    }

    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Self {
            path: PathBuf::new(),
            vault_id: String::new(),
            looked: None,
            ends: HashMap::new(),
        }
    }

    /// When all needed objects were looked at last, and none was too short after that.
    #[must_use]
    pub const fn looked(&self) -> Option<Timestamp> {
        self.looked
    }

    /// The first end of a lock.
    #[must_use]
    pub fn earliest(&self) -> Option<Timestamp> {
        let first = self.ends.values().min()?;
        Timestamp::from_second(*first).ok()
    }

    /// Whether it is time to look again. What was written since the last look is locked for longer than that.
    #[must_use]
    pub fn is_due(&self, period: LockPeriod, now: Timestamp) -> bool {
        let Some(looked) = self.looked else {
            return true;
        };
        let since = now.duration_since(looked);
        // A look in the future was by a clock that was wrong.
        since.is_negative()
            || since >= BETWEEN_LOOKS
            || self.earliest().is_some_and(|end| period.is_short(end, now))
    }

    pub(super) fn end(&self, key: &ObjectKey) -> Option<Timestamp> {
        Timestamp::from_second(*self.ends.get(key)?).ok()
    }

    pub(super) fn note(&mut self, key: &ObjectKey, end: Timestamp) {
        self.ends.insert(key.clone(), end.as_second());
    }

    pub(super) fn drop(&mut self, key: &ObjectKey) {
        self.ends.remove(key);
    }

    pub(super) fn keep_only(&mut self, needed: &HashSet<ObjectKey>) {
        self.ends.retain(|key, _| needed.contains(key));
    }

    /// `None` if something was left to do, so that the next one looks again.
    pub(super) fn set_looked(&mut self, now: Option<Timestamp>) {
        self.looked = now;
    }

    /// Writes it, durably and as a whole.
    ///
    /// # Errors
    /// As the file system failed; the old record stands then.
    pub fn save(&self) -> Result<(), LockRecordError> {
        let failed = |source| LockRecordError {
            path: self.path.clone(),
            source,
        };
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        durable::replace(&self.path, self.text().as_bytes(), MODE).map_err(failed)
    }

    fn text(&self) -> String {
        let mut by_end: BTreeMap<i64, Vec<&ObjectKey>> = BTreeMap::new();
        for (key, end) in &self.ends {
            by_end.entry(*end).or_default().push(key);
        }
        let looked = self.looked.map_or(0, Timestamp::as_second);
        let mut text = format!("{FIRST_WORD} {}\n{looked}\n", self.vault_id);
        for (end, mut keys) in by_end {
            keys.sort_unstable();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "until {end}");
            for key in keys {
                let _ = writeln!(text, "{key}");
            }
        }
        text
    }
}

type Parsed = (Option<Timestamp>, HashMap<ObjectKey, i64>);

/// `None` if it is not the whole record of this vault.
fn parse(text: &str, vault_id: &str) -> Option<Parsed> {
    let mut lines = text.strip_suffix('\n')?.lines();
    let (word, id) = lines.next()?.split_once(' ')?;
    if word != FIRST_WORD || id != vault_id {
        return None;
    }
    let looked: i64 = lines.next()?.parse().ok()?;
    let looked = match looked {
        0 => None,
        seconds => Some(Timestamp::from_second(seconds).ok()?),
    };
    let (mut ends, mut end) = (HashMap::new(), None);
    for line in lines {
        match line.strip_prefix("until ") {
            Some(seconds) => end = Some(seconds.parse().ok()?),
            None => drop(ends.insert(ObjectKey::parse(line)?, end?)),
        }
    }
    Some((looked, ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second((20_000 + day) * 86_400).unwrap()
    }

    #[test]
    fn what_was_noted_comes_back_and_another_vaults_record_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let key = |text: &str| ObjectKey::parse(text).unwrap();
        let mut record = LockRecord::open(dir.path(), "abc").unwrap();
        record.note(&key("data/ab/abcd"), day(45));
        record.note(&key("config"), day(40));
        record.set_looked(Some(day(0)));
        record.save().unwrap();
        let read = LockRecord::open(dir.path(), "abc").unwrap();
        assert_eq!(read.end(&key("config")), Some(day(40)));
        assert_eq!(read.end(&key("data/ab/abcd")), Some(day(45)));
        assert_eq!(
            (read.looked(), read.earliest()),
            (Some(day(0)), Some(day(40)))
        );
        let text = record.text();
        assert!(parse(&text, "abd").is_none() && parse(&text[..text.len() - 1], "abc").is_none());
    }

    #[test]
    fn it_is_time_once_a_day_and_before_a_lock_is_too_short() {
        let period = LockPeriod::of_days(30).unwrap();
        let mut record = LockRecord::empty();
        assert!(record.is_due(period, day(0)));
        record.set_looked(Some(day(0)));
        record.note(&ObjectKey::config(), day(46));
        let hours = |hours| day(0) + SignedDuration::from_hours(hours);
        assert!(!record.is_due(period, hours(19)) && record.is_due(period, hours(20)));
        assert!(record.is_due(period, hours(-1)));
        record.note(&ObjectKey::config(), day(30));
        assert!(record.is_due(period, hours(1)));
    }
}
