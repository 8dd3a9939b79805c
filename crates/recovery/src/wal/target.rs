//! Which moment is wanted.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use jiff::{Timestamp, civil, tz::TimeZone};
use rekindle_postgres::{Lsn, Timeline};
use rekindle_vault::{Ownership, Progress};
use serde::Serialize;

/// Where replay stops. PostgreSQL accepts at most one target, so this is one choice and not five
/// optional fields. Source: PostgreSQL manual, "Recovery Target".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryTarget {
    /// The end of what the archive has.
    Latest,
    /// The first moment at which the base backup is consistent.
    Consistent,
    /// The last commit at or before this moment.
    Time(Timestamp),
    /// The record that begins here, or the first one after it.
    Lsn(Lsn),
    /// This transaction's commit. It decides by the order of commits, not of numbers.
    Transaction(u32),
    /// A name given by `pg_create_restore_point`.
    RestorePoint(String),
}

/// Which history to follow, where timelines part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimelineChoice {
    /// The newest one that descends from the base backup.
    #[default]
    Latest,
    /// The base backup's own.
    Current,
    /// This one.
    Number(Timeline),
}

/// What the server does when it has reached the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetAction {
    /// Begins a new timeline and accepts writes.
    #[default]
    Promote,
    /// Waits, readable, so that a person can look and decide (`pg_wal_replay_resume()` ends it).
    Pause,
    /// Stops.
    Shutdown,
}

/// What to restore, to which moment, and where to.
#[derive(Clone)]
pub struct RestoreAtRequest {
    /// A service with a PostgreSQL dataset.
    pub service: String,
    /// The base backup to begin from: a point's id or the beginning of one. `None`: the newest that
    /// leads to the target.
    pub point: Option<String>,
    /// The moment.
    pub target: RecoveryTarget,
    /// The history.
    pub timeline: TimelineChoice,
    /// Whether the target itself is still part of it.
    pub inclusive: bool,
    /// What happens there.
    pub action: TargetAction,
    /// Whether the restored server archives its own WAL as the source did. Not for a server that
    /// only stands beside the real one.
    pub keeps_archiving: bool,
    /// An empty or new directory.
    pub to: PathBuf,
    /// Whose the files shall be. If `None`, as they were.
    pub ownership: Option<Ownership>,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

impl FromStr for TimelineChoice {
    type Err = ParseTimelineError;

    /// Reads `latest`, `current` or a number.
    fn from_str(text: &str) -> Result<Self, ParseTimelineError> {
        match text {
            "latest" => Ok(Self::Latest),
            "current" => Ok(Self::Current),
            number => number
                .parse()
                .map(Self::Number)
                .map_err(|_| ParseTimelineError),
        }
    }
}

/// As [`TimelineChoice::from_str`] reads it.
impl fmt::Display for TimelineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Current => f.write_str("current"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// A text that names no timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give `latest`, `current` or a number")]
pub struct ParseTimelineError;

/// A text that names no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no moment: {reason}")]
pub struct ParseTargetError {
    text: String,
    reason: &'static str,
}

const FORMS: &str = "give a time such as `2026-11-21 14:29:59+01`, an LSN such as `16/B374D848`, a \
     transaction as `xid:742`, a restore point as `name:before-import`, `latest` or `consistent`";

impl FromStr for RecoveryTarget {
    type Err = ParseTargetError;

    /// Reads `latest`, `consistent`, a time, an LSN, or one of these with `time:`, `lsn:`, `xid:` or
    /// `name:` before it. What looks like neither time nor LSN and has no spaces is a restore point.
    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        let text = text.trim();
        let refuse = |reason| ParseTargetError {
            text: text.to_owned(),
            reason,
        };
        if let Some((kind, value)) = text.split_once(':') {
            match kind {
                "time" => return time(value).map(Self::Time).map_err(refuse),
                "lsn" => return value.parse().map(Self::Lsn).map_err(|_| refuse(FORMS)),
                "xid" => return xid(value).map(Self::Transaction).ok_or(refuse(FORMS)),
                "name" => return name(value).map(Self::RestorePoint).ok_or(refuse(FORMS)),
                _ => {}
            }
        }
        match text {
            "latest" => return Ok(Self::Latest),
            "consistent" | "immediate" => return Ok(Self::Consistent),
            _ => {}
        }
        if let Ok(lsn) = text.parse() {
            return Ok(Self::Lsn(lsn));
        }
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match time(text) {
            Ok(time) => Ok(Self::Time(time)),
            Err(reason) if reason != FORMS => Err(refuse(reason)),
            Err(_) if is_number => Err(refuse("a transaction is written `xid:742`")),
            Err(_) if text.contains(char::is_whitespace) || text.contains(':') => {
                Err(refuse(FORMS))
            }
            Err(_) => name(text).map(Self::RestorePoint).ok_or(refuse(FORMS)),
        }
    }
}

/// A time with its zone, or in this machine's zone without one. A time of day alone is today's.
fn time(text: &str) -> Result<Timestamp, &'static str> {
    let text = text.trim();
    if let Some(moment) = zoned(text) {
        return Ok(moment);
    }
    let local = |moment: civil::DateTime| {
        // An hour that the clock shows twice, or never, is nobody's to guess.
        let zoned = TimeZone::system().into_ambiguous_zoned(moment);
        zoned.unambiguous().map(|zoned| zoned.timestamp()).map_err(|_| {
            "the clocks were changed at that time; add the offset, as in `2026-10-25 02:30:00+01`"
        })
    };
    if let Ok(moment) = text.parse::<civil::DateTime>() {
        return local(moment);
    }
    if let Ok(moment) = civil::DateTime::strptime("%Y-%m-%d %H:%M", text) {
        return local(moment);
    }
    let of_day = text
        .parse::<civil::Time>()
        .or_else(|_| civil::Time::strptime("%H:%M", text));
    match of_day {
        Ok(of_day) => local(jiff::Zoned::now().date().to_datetime(of_day)),
        Err(_) => Err(FORMS),
    }
}

/// With `Z`, `UTC` or an offset: as RFC 3339 writes it, as PostgreSQL prints it (`+01`), as
/// `date` prints it.
fn zoned(text: &str) -> Option<Timestamp> {
    let utc = ["UTC", "GMT", "Z", "z"]
        .into_iter()
        .find_map(|zone| text.strip_suffix(zone));
    if let Some(text) = utc {
        let moment: civil::DateTime = text.trim_end().parse().ok()?;
        return TimeZone::UTC.to_timestamp(moment).ok();
    }
    let date = text.find(['T', 't', ' '])?;
    let sign = text[date..].find(['+', '-'])? + date;
    let (moment, offset) = text.split_at(sign);
    let moment: civil::DateTime = moment.trim_end().parse().ok()?;
    let seconds = offset_seconds(offset)?;
    let offset = jiff::tz::Offset::from_seconds(seconds).ok()?;
    offset.to_timestamp(moment).ok()
}

/// `+01`, `+0130`, `-01:30`.
fn offset_seconds(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
    let (hours, minutes) = match digits.len() {
        2 if all_digits => (digits.parse::<i32>().ok()?, 0),
        4 if all_digits => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    (hours <= 15 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Transaction numbers below 3 are PostgreSQL's own.
fn xid(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|number| *number >= 3)
}

/// A restore point's name has 63 bytes at most (`MAXFNAMELEN` − 1).
fn name(text: &str) -> Option<String> {
    let fine = !text.is_empty() && text.len() < 64 && !text.contains(char::is_control);
    fine.then(|| text.to_owned())
}

/// As a person reads it; times in UTC.
impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("the end of the archive"),
            Self::Consistent => f.write_str("the end of the base backup"),
            Self::Time(time) => write!(f, "{}", utc(*time)),
            Self::Lsn(lsn) => write!(f, "LSN {lsn}"),
            Self::Transaction(xid) => write!(f, "transaction {xid}"),
            Self::RestorePoint(name) => write!(f, "restore point `{name}`"),
        }
    }
}

/// `2026-11-21 14:29:59.123 UTC`: as PostgreSQL takes it too.
pub(crate) fn utc(time: Timestamp) -> String {
    let text = time.strftime("%Y-%m-%d %H:%M:%S%.f").to_string();
    format!("{text} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RecoveryTarget {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_moment_is_told_by_its_form() {
        let expected = RecoveryTarget::Time("2026-11-21T13:29:59Z".parse().unwrap());
        for text in [
            "2026-11-21 14:29:59+01",
            "2026-11-21T14:29:59+01:00",
            "2026-11-21 13:29:59Z",
            "2026-11-21 13:29:59 UTC",
            "2026-11-21T13:29:59.000+0000",
            "time:2026-11-21 08:29:59-05",
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        let lsn = RecoveryTarget::Lsn("16/B374D848".parse().unwrap());
        assert_eq!(
            (parse("16/B374D848"), parse("lsn:16/B374D848")),
            (lsn.clone(), lsn)
        );
        assert_eq!(parse("xid:742"), RecoveryTarget::Transaction(742));
        assert_eq!(
            (parse("latest"), parse("immediate")),
            (RecoveryTarget::Latest, RecoveryTarget::Consistent)
        );
        let name = |name: &str| RecoveryTarget::RestorePoint(name.into());
        assert_eq!(parse("before-import"), name("before-import"));
        assert_eq!(parse("name:latest"), name("latest"));
    }

    #[test]
    fn a_time_without_a_zone_is_this_machines() {
        let RecoveryTarget::Time(moment) = parse("2026-11-21 14:29:59") else {
            panic!("no time")
        };
        let shown = moment.to_zoned(TimeZone::system());
        assert_eq!(shown.strftime("%F %T").to_string(), "2026-11-21 14:29:59");
        assert!(matches!(parse("14:30"), RecoveryTarget::Time(_)));
        assert!(matches!(parse("2026-11-21 14:30"), RecoveryTarget::Time(_)));
    }

    #[test]
    fn what_names_no_moment_is_refused_with_the_forms() {
        for text in [
            "",
            "742",
            "xid:2",
            "xid:x",
            "2026-13-21 14:29:59",
            "2026-11-21 14:29:59+99",
            "lsn:16",
            "next tuesday",
            "name:",
            "25:61",
        ] {
            let error = text.parse::<RecoveryTarget>().unwrap_err().to_string();
            assert!(error.contains("xid:742"), "{text}: {error}");
        }
    }

    #[test]
    fn a_time_is_written_as_postgresql_reads_it() {
        let time = "2026-11-21T13:29:59.120Z".parse().unwrap();
        assert_eq!(utc(time), "2026-11-21 13:29:59.12 UTC");
        assert_eq!(
            utc("2026-11-21T13:29:59Z".parse().unwrap()),
            "2026-11-21 13:29:59 UTC"
        );
    }
}
