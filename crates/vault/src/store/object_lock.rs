//! What a store can do that keeps objects from being destroyed for a time: S3's Object Lock.
//!
//! In a bucket with Object Lock every object has versions. To delete an object only puts a *delete marker* on top, and
//! to write it again only puts a new version on top; a version with a lock stays until the lock is over, whoever asks.
//! Source: AWS, "Locking objects with Object Lock"; Ceph, "Bucket Operations" and "Object Operations".

use jiff::{SignedDuration, Timestamp};

use super::{ObjectKey, StoreError};

/// How long objects are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockPeriod {
    days: u16,
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

impl LockPeriod {
    /// The longest, a hundred years, as S3 has it.
    pub const MOST_DAYS: u16 = 36_500;
    /// The longest period.
    pub const LONGEST: Self = Self {
        days: Self::MOST_DAYS,
    };
    /// Locks are looked at about once a day: what would be too short before the next look is extended now.
    const BETWEEN_LOOKS: SignedDuration = DAY;
    /// So much is added at least, so that an object is not extended every few days.
    const LEAST_MARGIN_DAYS: i64 = 3;

    /// At least this many days from the last backup on, 1 to [`LockPeriod::MOST_DAYS`]; `None` for others.
    #[must_use]
    pub const fn of_days(days: u16) -> Option<Self> {
        match days {
            1..=Self::MOST_DAYS => Some(Self { days }),
            _ => None,
        }
    }

    /// The days that were asked for.
    #[must_use]
    pub const fn days(self) -> u16 {
        self.days
    }

    /// Until when an object is locked that is written or extended at `now`: half the period longer than
    /// promised, to the next midnight (UTC). So each object is extended once in half a period, and few different times
    /// are to be remembered.
    #[must_use]
    pub fn end(self, now: Timestamp) -> Timestamp {
        let days = i64::from(self.days);
        let margin = (days / 2).max(Self::LEAST_MARGIN_DAYS);
        let end = now.as_second() + (days + margin) * DAY.as_secs();
        let midnight = end.div_euclid(DAY.as_secs()) + i64::from(end % DAY.as_secs() != 0);
        Timestamp::from_second(midnight * DAY.as_secs()).unwrap_or(Timestamp::MAX)
    }

    /// Whether a lock that ends then may be shorter than promised before somebody looks again.
    #[must_use]
    pub fn is_short(self, end: Timestamp, now: Timestamp) -> bool {
        end.duration_since(now) < self.promised() + Self::BETWEEN_LOOKS
    }

    /// Whether a lock that ends then is shorter than promised.
    #[must_use]
    pub fn is_broken(self, end: Timestamp, now: Timestamp) -> bool {
        end.duration_since(now) < self.promised()
    }

    fn promised(self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.days))
    }
}

/// Whether an object is never rewritten and worth a lock: what points, the archived WAL and their keys consist of.
/// Not locks of running programs, the growing end of the WAL, and what is kept for convenience.
#[must_use]
pub fn is_lockable(key: &ObjectKey) -> bool {
    let key = key.as_str();
    let is_in = |folder: &&str| {
        key.strip_prefix(*folder)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    key == "config" || LOCKED_FOLDERS.iter().any(is_in) && !is_growing(key)
}

/// Folders whose objects are locked.
pub(crate) const LOCKED_FOLDERS: [&str; 7] = [
    "data",
    "index",
    "snapshots",
    "keys",
    "rekindle/wal",
    "rekindle/keys",
    "rekindle/holds",
];

fn is_growing(key: &str) -> bool {
    key.starts_with("rekindle/wal/") && key.contains(".partial")
}

/// What a place says of Object Lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockSupport {
    /// It keeps locks, and versions.
    On,
    /// The store answers that it does not, or does not know what was asked.
    Off,
}

/// A version of an object, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The object.
    pub key: ObjectKey,
    /// The store's name for this version.
    pub id: String,
    /// Whether this is what a reader sees.
    pub is_latest: bool,
    /// Whether it only says that the object was deleted.
    pub is_marker: bool,
    /// When it was written, by the clock of the store.
    pub modified: Timestamp,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// The store's tag for its content: other content has another tag, and the same content may.
    pub tag: String,
}

/// Some versions of a listing, those of one object side by side, the newest first.
#[derive(Clone, Debug, Default)]
pub struct VersionsPage {
    /// The versions.
    pub versions: Vec<ObjectVersion>,
    /// How to get the next page; `None` if this is the last one.
    pub next: Option<PageMark>,
}

/// Where a listing of versions goes on; means something to the store only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageMark {
    /// The name of the last object.
    pub key: String,
    /// Its last version, if there may be more of them.
    pub version: Option<String>,
}

/// What a [`Store`](super::Store) with Object Lock can do besides.
///
/// It locks what [`is_lockable`] as it writes it, for its own [`LockPeriod`], and refuses to write that if the place
/// keeps no locks. It never asks to bypass a lock.
pub trait ObjectLocks: Send + Sync {
    /// For how long it locks.
    fn period(&self) -> LockPeriod;

    /// Whether the place keeps locks.
    ///
    /// # Errors
    /// As the store failed, or refused to tell.
    fn support(&self) -> Result<LockSupport, StoreError>;

    /// Until when this version, or the one that readers see, cannot be destroyed; `None` if it can.
    ///
    /// # Errors
    /// `NotFound` if there is none; as the store failed.
    fn locked_until(
        &self,
        key: &ObjectKey,
        version: Option<&str>,
    ) -> Result<Option<Timestamp>, StoreError>;

    /// Locks the version that readers see until `end`. One that is locked for longer stays so.
    ///
    /// # Errors
    /// `NotFound` if there is none; as the store failed, or refused.
    fn lock_until(&self, key: &ObjectKey, end: Timestamp) -> Result<(), StoreError>;

    /// A page of all versions and delete markers of the object or the folder `folder`. Complete, or an error.
    ///
    /// # Errors
    /// As the store failed.
    fn versions(&self, folder: &str, from: Option<&PageMark>) -> Result<VersionsPage, StoreError>;

    /// Reads one version whole.
    ///
    /// # Errors
    /// `NotFound` if it is gone; as the store failed.
    fn read_version(&self, key: &ObjectKey, version: &str) -> Result<Vec<u8>, StoreError>;

    /// Removes a delete marker, so that what lies below it is seen again.
    ///
    /// # Errors
    /// As the store failed, or refused.
    fn remove_marker(&self, key: &ObjectKey, version: &str) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: i64, hours: i64) -> Timestamp {
        Timestamp::from_second((20_000 + days) * 86_400 + hours * 3600).unwrap()
    }

    #[test]
    fn what_is_never_rewritten_is_locked_and_nothing_else() {
        let lockable = |text: &str| is_lockable(&ObjectKey::parse(text).unwrap());
        for text in [
            "config",
            "keys/ab",
            "data/ab/abcd",
            "index/ab",
            "snapshots/ab",
            "rekindle/wal/7/00000001/000000010000000000000003.zst.age",
            "rekindle/wal/7/00000002/00000002.history.zst.age",
            "rekindle/keys/wal.age",
            "rekindle/holds/ab",
        ] {
            assert!(lockable(text), "{text}");
        }
        for text in [
            "locks/ab",
            "rekindle/tmp/x",
            "rekindle/probe",
            "rekindle/notes/kit",
            "rekindle/copies/offsite",
            "rekindle/set-aside/20261121T123456Z/index/ab",
            "rekindle/wal/7/00000001/000000010000000000000004.partial.zst.age",
            "database/x",
            "config.old",
        ] {
            assert!(!lockable(text), "{text}");
        }
    }

    #[test]
    fn a_lock_is_extended_before_it_is_shorter_than_promised_and_not_every_day() {
        let period = LockPeriod::of_days(30).unwrap();
        let end = period.end(at(0, 5));
        assert_eq!(end, at(46, 0));
        let looks = (0..45).map(|day| at(day, 5));
        let first_short = looks.into_iter().find(|now| period.is_short(end, *now));
        assert_eq!(first_short, Some(at(15, 5)));
        assert!(!period.is_broken(end, at(15, 5)) && period.is_broken(end, at(16, 5)));
        assert_eq!(period.end(at(0, 0)), at(45, 0));
    }

    #[test]
    fn the_shortest_and_the_longest_period_have_an_end() {
        let now = at(0, 1);
        let shortest = LockPeriod::of_days(1).unwrap();
        assert_eq!(shortest.end(now), at(5, 0));
        assert!(!shortest.is_short(shortest.end(now), at(2, 0)));
        let longest = LockPeriod::of_days(LockPeriod::MOST_DAYS).unwrap();
        assert!(longest.end(now) > now);
        assert!(LockPeriod::of_days(0).is_none() && LockPeriod::of_days(36_501).is_none());
    }
}
