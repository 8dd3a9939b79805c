//! Places and timelines of the write-ahead log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseLayoutError;

/// A place in the PostgreSQL write-ahead log, as a byte offset. Written `16/B374D848`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(u64);

impl Lsn {
    /// The byte offset zero, which PostgreSQL uses for "no place".
    pub const INVALID: Self = Self(0);

    /// The place at this byte offset.
    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    /// The byte offset from the beginning of the log.
    pub const fn offset(self) -> u64 {
        self.0
    }

    /// The place `bytes` further on.
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = ParseLayoutError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseLayoutError::new("WAL location", text);
        let (high, low) = text.trim().split_once('/').ok_or_else(refuse)?;
        let half = |part: &str| match part.len() {
            // The standard library would take a sign too.
            1..=8 if part.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u32::from_str_radix(part, 16).map_err(|_| refuse())
            }
            _ => Err(refuse()),
        };
        Ok(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl TryFrom<String> for Lsn {
    type Error = ParseLayoutError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

/// One history of a cluster. The first is 1; every promotion and every recovery to a point in time
/// begins the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timeline(u32);

impl Timeline {
    /// The timeline a fresh cluster begins with.
    pub const FIRST: Self = Self(1);

    /// The timeline of this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The name of its history file, `00000002.history`.
    pub fn history_file_name(self) -> String {
        format!("{:08X}.history", self.0)
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Timeline {
    type Err = ParseLayoutError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().parse() {
            Ok(number) if number > 0 => Ok(Self(number)),
            _ => Err(ParseLayoutError::new("timeline", text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_written_as_postgresql_writes_it() {
        let lsn: Lsn = "16/B374D848".parse().unwrap();
        assert_eq!(lsn.offset(), 0x16_B374_D848);
        assert_eq!(lsn.to_string(), "16/B374D848");
        assert_eq!(Lsn::new(0x100_0000_0028).to_string(), "100/28");
    }

    #[test]
    fn what_is_no_location_is_refused() {
        for text in ["", "16", "16/", "/1", "16/123456789", "g/1", "1/-1", "1/+1"] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?}");
        }
    }
}
