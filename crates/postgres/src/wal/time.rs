//! Times as PostgreSQL writes them.

use jiff::Timestamp;

/// Seconds from 1970 to 2000, when PostgreSQL's timestamps begin.
const EPOCH_SECONDS: i64 = 946_684_800;

/// The moment `micros` microseconds after the beginning of 2000 in UTC, PostgreSQL's
/// `TimestampTz`; `None` if no calendar holds it.
pub(super) fn from_postgres(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros.checked_add(EPOCH_SECONDS * 1_000_000)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_begins_in_2000_and_never_panics() {
        let at = |micros| from_postgres(micros).map(|time| time.to_string());
        assert_eq!(at(0).as_deref(), Some("2000-01-01T00:00:00Z"));
        assert_eq!(at(1_500_000).as_deref(), Some("2000-01-01T00:00:01.5Z"));
        assert_eq!(at(i64::MAX), None);
        assert_eq!(at(i64::MIN), None);
    }
}
