//! How to prune.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::store::Distance;

/// A clock that says less was never set. Nothing was ever pruned before.
const EARLIEST: i64 = 1_767_225_600; // 2026-01-01
/// A mark that is farther from now than this is not believed: one of the two clocks was wrong.
const BELIEVED: SignedDuration = SignedDuration::from_hours(366 * 24);

/// How to prune.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// How much waste may stay in packs that are used.
    pub max_unused: MaxUnused,
    /// At most so many bytes are packed anew in one run; `None` is without limit.
    pub max_repack_bytes: Option<u64>,
    /// Whether many small packs are joined.
    pub join_small: bool,
    /// New packs are stored when they have so many bytes.
    pub pack_bytes: usize,
    /// How long packs stay after they were marked.
    pub grace: Grace,
    /// How long to wait for others, to be alone in the vault.
    pub wait: Duration,
    /// What time it is; the clock's if `None`.
    pub now: Option<Timestamp>,
    /// Threads that pack anew; if `None` as many as there are cores, or more where the store is far.
    pub threads: Option<usize>,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            max_unused: MaxUnused::Percent(5),
            max_repack_bytes: None,
            join_small: true,
            pack_bytes: 16 << 20,
            grace: Grace::default(),
            wait: Duration::from_secs(10 * 60),
            now: None,
            threads: None,
        }
    }
}

impl PruneOptions {
    pub(super) fn time(&self) -> Timestamp {
        self.now.unwrap_or_else(Timestamp::now)
    }

    pub(super) fn threads(&self, distance: Distance) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let usual = || distance.stretch_readers(cores);
        self.threads.unwrap_or_else(usual).max(1)
    }
}

/// How much waste may stay in packs that are used. To pack anew costs time and traffic; a little
/// waste costs only room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxUnused {
    /// So many percent of all that stays.
    Percent(u8),
    /// So many bytes.
    Bytes(u64),
    /// Any: only packs without a single used piece leave.
    Unlimited,
}

impl MaxUnused {
    /// In bytes, if so many are used.
    pub(super) fn bytes(self, used: u64) -> u64 {
        match self {
            Self::Percent(percent @ 0..100) => {
                let percent = u128::from(percent);
                let bytes = u128::from(used) * percent / (100 - percent);
                u64::try_from(bytes).unwrap_or(u64::MAX)
            }
            Self::Bytes(bytes) => bytes,
            Self::Percent(_) | Self::Unlimited => u64::MAX,
        }
    }
}

/// How long packs stay after they were marked as on their way out: as long as a program may work in
/// the vault that takes no lock, and counts on what the index said when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// So long.
    For(Duration),
    /// Not at all: they are removed in the same run. Only for a vault in which every other program
    /// takes restic's locks.
    None,
}

impl Default for Grace {
    fn default() -> Self {
        Self::For(Duration::from_secs(24 * 60 * 60))
    }
}

/// What the age of a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// The grace is over.
    Due,
    /// It may go from then on.
    Until(Timestamp),
    /// It says no time, or one that cannot be right. The grace begins now.
    Unknown,
}

impl Grace {
    /// What to do at `now` with a pack that was marked at `mark`. A mark from the future counts as
    /// a new one.
    pub(super) fn age(self, mark: Option<Timestamp>, now: Timestamp) -> Age {
        let Self::For(grace) = self else {
            return Age::Due;
        };
        let Some(mark) = mark.filter(|mark| now.duration_since(*mark).abs() <= BELIEVED) else {
            return Age::Unknown;
        };
        match mark.checked_add(grace) {
            Ok(end) if end <= now => Age::Due,
            Ok(end) => Age::Until(end),
            Err(_) => Age::Until(Timestamp::MAX),
        }
    }
}

/// Whether a clock that says `now` can be right.
pub(super) fn is_possible(now: Timestamp) -> bool {
    now.as_second() >= EARLIEST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(EARLIEST).unwrap() + SignedDuration::from_hours(hours)
    }

    #[test]
    fn a_mark_is_due_when_its_grace_is_over_and_not_before() {
        let grace = Grace::default();
        assert_eq!(grace.age(Some(at(0)), at(23)), Age::Until(at(24)));
        assert_eq!(grace.age(Some(at(0)), at(24)), Age::Due);
        assert_eq!(Grace::None.age(Some(at(9)), at(0)), Age::Due);
    }

    #[test]
    fn a_mark_from_the_future_is_new_and_one_from_another_age_is_not_believed() {
        let grace = Grace::default();
        assert_eq!(grace.age(Some(at(5)), at(0)), Age::Until(at(29)));
        let far = at(400 * 24);
        assert_eq!(grace.age(Some(at(0)), far), Age::Unknown);
        assert_eq!(grace.age(Some(far), at(0)), Age::Unknown);
        assert_eq!(grace.age(None, at(0)), Age::Unknown);
        assert!(is_possible(at(0)) && !is_possible(at(-1)));
        assert!(!is_possible(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn waste_is_a_share_of_what_stays() {
        assert_eq!(MaxUnused::Percent(5).bytes(95), 5);
        assert_eq!(MaxUnused::Percent(0).bytes(95), 0);
        assert_eq!(MaxUnused::Percent(100).bytes(95), u64::MAX);
        assert_eq!(MaxUnused::Percent(50).bytes(u64::MAX), u64::MAX);
        assert_eq!(MaxUnused::Bytes(7).bytes(95), 7);
    }
}
