//! Lengths of time as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time, written `90s`, `5m`, `1h30m`, `7d` or `1w`; whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Duration);

/// Why a text is no [`Period`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PeriodError(&'static str);

const UNITS: [(char, u64); 5] = [
    ('w', 604_800),
    ('d', 86_400),
    ('h', 3_600),
    ('m', 60),
    ('s', 1),
];

impl Period {
    /// The length as the standard library's type.
    pub fn as_duration(self) -> Duration {
        self.0
    }

    /// The length in seconds.
    pub fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl From<Duration> for Period {
    /// Drops what is smaller than a second.
    fn from(duration: Duration) -> Self {
        Self(Duration::from_secs(duration.as_secs()))
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let mut seconds = 0u64;
        let mut units = UNITS.iter();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit());
            let (number, tail) = match digits {
                Some(0) => return Err(PeriodError("a number is missing before the unit")),
                Some(at) => rest.split_at(at),
                None => return Err(PeriodError("the unit is missing")),
            };
            let unit = tail.chars().next().unwrap_or_default();
            if !UNITS.iter().any(|(letter, _)| *letter == unit) {
                return Err(PeriodError("the unit is unknown"));
            }
            // Only units smaller than the last one are still in `units`.
            let (_, factor) = units
                .find(|(letter, _)| *letter == unit)
                .ok_or(PeriodError("the units are not in falling order"))?;
            seconds = number
                .parse::<u64>()
                .ok()
                .and_then(|count| count.checked_mul(*factor))
                .and_then(|more| seconds.checked_add(more))
                .ok_or(PeriodError("the length is too large"))?;
            rest = &tail[unit.len_utf8()..];
        }
        if text.is_empty() {
            return Err(PeriodError("it is empty"));
        }
        Ok(Self(Duration::from_secs(seconds)))
    }
}

impl fmt::Display for Period {
    /// In days and smaller units, so that `7d` stays `7d`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.as_secs();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (letter, factor) in &UNITS[1..] {
            if rest >= *factor {
                write!(f, "{}{letter}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_ways_of_writing_are_read_and_written_back() {
        for (text, seconds, shown) in [
            ("5m", 300, "5m"),
            ("1h30m", 5400, "1h30m"),
            ("7d", 604_800, "7d"),
            ("1w", 604_800, "7d"),
            ("90s", 90, "1m30s"),
            ("0s", 0, "0s"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(
                (period.as_secs(), period.to_string().as_str()),
                (seconds, shown)
            );
        }
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "5x",
            "30m1h",
            "1h1h",
            "-5m",
            "1.5h",
            "99999999999999w",
            "5mi",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
