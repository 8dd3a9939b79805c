//! When scheduled work runs.

use std::fmt;
use std::str::FromStr;

/// A time table of five fields as in crontab(5): minute, hour, day of month, month, day of week.
///
/// Each field is `*`, a value, a range `a-b`, a step `*/n` or `a-b/n`, or a list of these. Months
/// and weekdays may be written by their English three-letter names; Sunday is 0 or 7.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CronExpression(String);

/// Why a text is no [`CronExpression`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error("a schedule has five fields (minute, hour, day, month, weekday); this has {0}")]
    Fields(usize),
    /// A field that is not understood or out of range.
    #[error("`{value}` is no {field} ({least} to {most})")]
    Value {
        /// Which field: `minute`, `hour`, `day of month`, `month` or `day of week`.
        field: &'static str,
        /// The part that is wrong.
        value: String,
        /// Smallest value of the field.
        least: u32,
        /// Largest value of the field.
        most: u32,
    },
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        least: 0,
        most: 59,
        names: &[],
    },
    Field {
        name: "hour",
        least: 0,
        most: 23,
        names: &[],
    },
    Field {
        name: "day of month",
        least: 1,
        most: 31,
        names: &[],
    },
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: MONTHS,
    },
    Field {
        name: "day of week",
        least: 0,
        most: 7,
        names: WEEKDAYS,
    },
];

impl CronExpression {
    /// The five fields, separated by single spaces.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CronExpression {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        if parts.len() != FIELDS.len() {
            return Err(CronError::Fields(parts.len()));
        }
        for (field, part) in FIELDS.iter().zip(&parts) {
            if let Some(wrong) = part.split(',').find(|item| !field.holds(item)) {
                return Err(CronError::Value {
                    field: field.name,
                    value: wrong.to_owned(),
                    least: field.least,
                    most: field.most,
                });
            }
        }
        Ok(Self(parts.join(" ")))
    }
}

impl Field {
    fn holds(&self, item: &str) -> bool {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let step_fits =
            step.is_none_or(|step| number(step).is_some_and(|n| n >= 1 && n <= self.most));
        let range_fits = match range.split_once('-') {
            _ if range == "*" => true,
            Some((from, to)) => {
                matches!((self.value(from), self.value(to)), (Some(from), Some(to)) if from <= to)
            }
            // A step needs something to step through; cron itself disagrees about `5/10`.
            None => step.is_none() && self.value(range).is_some(),
        };
        step_fits && range_fits
    }

    fn value(&self, text: &str) -> Option<u32> {
        let lower = text.to_ascii_lowercase();
        if let Some(index) = self.names.iter().position(|name| *name == lower) {
            return u32::try_from(index).ok().map(|index| index + self.least);
        }
        number(text).filter(|n| (self.least..=self.most).contains(n))
    }
}

/// Digits only: `parse` alone would take `+5`.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_schedules_are_accepted() {
        for text in [
            "0 2 * * *",
            "*/15 * * * *",
            "0 5 1 jan-mar Mon",
            "0,30 8-18/2 1-7 * 0,7",
        ] {
            assert_eq!(text.parse::<CronExpression>().unwrap().as_str(), text);
        }
        assert_eq!(
            " 0  2 * * * ".parse::<CronExpression>().unwrap().as_str(),
            "0 2 * * *"
        );
    }

    #[test]
    fn what_would_never_run_or_is_misspelt_is_refused() {
        for text in [
            "",
            "0 2 * *",
            "0 2 * * * *",
            "60 2 * * *",
            "0 24 * * *",
            "0 0 0 * *",
            "0 0 * 13 *",
            "0 0 * * 8",
            "*/0 * * * *",
            "5/10 * * * *",
            "0 9-8 * * *",
            "a * * * *",
            "0, * * * *",
            "+1 * * * *",
            "@daily",
        ] {
            assert!(text.parse::<CronExpression>().is_err(), "{text}");
        }
    }
}
