//! Clocks that disagree: moments to restore to, and the ages of recovery points, are told by them.

use std::time::Duration;

use jiff::Timestamp;
use rekindle_postgres::Client;

use super::Findings;

/// More than this is not the time that the answer took.
const TOLERATED: Duration = Duration::from_secs(5);

/// Holds the server's clock against this machine's.
pub(super) fn look_at_postgres(subject: &str, client: &mut Client, findings: &mut Findings) {
    let before = Timestamp::now();
    let sql = "select extract(epoch from clock_timestamp())::float8";
    let Ok(seconds) = client.query(sql).and_then(|rows| rows.single::<f64>()) else {
        return;
    };
    if let Ok(theirs) = Timestamp::from_microsecond((seconds * 1e6) as i64) {
        judge(subject, theirs, before, Timestamp::now(), findings);
    }
}

/// Holds a moment that was told between `before` and `after` against them.
pub(super) fn judge(
    subject: &str,
    theirs: Timestamp,
    before: Timestamp,
    after: Timestamp,
    findings: &mut Findings,
) {
    let (ahead, behind) = (theirs.duration_since(after), before.duration_since(theirs));
    let (skew, direction) = if ahead > behind {
        (ahead, "ahead of")
    } else {
        (behind, "behind")
    };
    let seconds = skew.as_secs();
    if seconds > TOLERATED.as_secs() as i64 {
        let text = format!(
            "its clock is {seconds} s {direction} this machine's: moments to restore to are told by it"
        );
        let fix = "let both follow the same time servers (`timedatectl set-ntp true`)";
        findings.advice(subject, text, fix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(offset: i64) -> Vec<String> {
        let now = Timestamp::from_second(1_000_000).unwrap_or_default();
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap_or_default();
        let mut findings = Findings::default();
        judge("db", at(offset), now, at(2), &mut findings);
        findings.0.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_clock_that_is_minutes_off_is_told_with_its_direction() {
        assert!(said(120)[0].starts_with("its clock is 118 s ahead of this machine's"));
        assert!(said(-90)[0].starts_with("its clock is 90 s behind this machine's"));
        for offset in [-4, 0, 1, 2, 6] {
            assert_eq!(said(offset), Vec::<String>::new(), "{offset}");
        }
    }
}
