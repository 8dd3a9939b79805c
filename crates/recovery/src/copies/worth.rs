//! Which of the vault's points a copy should have.

use rekindle_stack::VaultCopy;
use rekindle_vault::{CopiedSnapshots, Snapshot};

/// Of the vault's points, oldest first, those that a copy should have, in the order in which it gets
/// them.
///
/// All of them, the newest first: it is the one that is needed. A copy with a retention of its own gets
/// only what is newer than its newest point, since what it lacks of the past it may have forgotten
/// on purpose; and it gets the oldest first, so that nothing is passed over when a run is cut short.
pub(super) fn worth_having<'a>(
    copy: &VaultCopy,
    points: &'a [Snapshot],
    copied: &CopiedSnapshots,
) -> Vec<&'a Snapshot> {
    if copy.retention.is_none() {
        return points.iter().rev().collect();
    }
    let is_there = |point: &&Snapshot| copied.find(point).is_some();
    let newest = points.iter().rev().find(is_there);
    let newest = newest.map(|point| point.stored.time);
    let is_worth = |point: &&Snapshot| is_there(point) || Some(point.stored.time) > newest;
    points.iter().filter(is_worth).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::made_up::point, *};
    use rekindle_stack::Stack;

    fn days(retention: &str, copied: &[u8]) -> Vec<i8> {
        let yaml = format!(
            "stack: shop\nvault: {{ at: v, password: p, copies: [ {{ name: c, at: w{retention} }} ] }}\n\
             services: {{ page: {{ stateless: true }} }}\n"
        );
        let stack = Stack::parse(&yaml, std::path::Path::new("/x/rekindle.yaml"))
            .unwrap()
            .stack;
        let points: Vec<_> = (1..=5).map(point).collect();
        let copied = CopiedSnapshots::new(copied.iter().map(|day| point(*day)).collect());
        let worth = worth_having(&stack.vault.copies[0], &points, &copied);
        let day = |point: &Snapshot| point.stored.time.to_zoned(jiff::tz::TimeZone::UTC).day();
        worth.into_iter().map(day).collect()
    }

    #[test]
    fn a_copy_gets_everything_and_the_newest_first() {
        assert_eq!(days("", &[2]), [5, 4, 3, 2, 1]);
    }

    #[test]
    fn what_a_copy_with_rules_of_its_own_forgot_does_not_come_back() {
        let own = ", retention: { last: 2 }";
        assert_eq!(days(own, &[]), [1, 2, 3, 4, 5]);
        assert_eq!(days(own, &[2, 3]), [2, 3, 4, 5]);
        assert_eq!(days(own, &[1, 3]), [1, 3, 4, 5]);
    }
}
