//! Which objects' locks are to be extended. Pure: looks at what is remembered, and at nothing else.

use jiff::Timestamp;

use super::record::LockRecord;
use crate::store::{LockPeriod, ObjectKey};

/// What is to be done for the objects that are needed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LockPlan {
    /// Nothing is known of their locks: the store is asked.
    pub ask: Vec<ObjectKey>,
    /// Their locks are too short.
    pub extend: Vec<ObjectKey>,
    /// How many are locked for long enough.
    pub fine: usize,
}

/// Sorts the needed objects by what is remembered of their locks.
pub(super) fn plan(
    needed: Vec<ObjectKey>,
    record: &LockRecord,
    period: LockPeriod,
    now: Timestamp,
) -> LockPlan {
    let mut plan = LockPlan::default();
    for key in needed {
        match record.end(&key) {
            None => plan.ask.push(key),
            Some(end) if period.is_short(end, now) => plan.extend.push(key),
            Some(_) => plan.fine += 1,
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unknown_is_asked_for_the_short_extended_and_the_rest_costs_nothing() {
        let key = |text: &str| ObjectKey::parse(text).unwrap();
        let day = |day: i64| Timestamp::from_second((20_000 + day) * 86_400).unwrap();
        let period = LockPeriod::of_days(30).unwrap();
        let mut record = LockRecord::empty();
        record.note(&key("data/a"), day(30));
        record.note(&key("data/b"), day(45));
        let needed = ["data/a", "data/b", "data/c"].map(key).to_vec();
        let expected = LockPlan {
            ask: vec![key("data/c")],
            extend: vec![key("data/a")],
            fine: 1,
        };
        assert_eq!(plan(needed.clone(), &record, period, day(0)), expected);
        assert_eq!(plan(needed, &record, period, day(20)).extend.len(), 2);
    }
}
