//! RDB, the format of Redis' snapshots: read far enough to know that one is whole and how many keys it
//! holds, without keeping any of them in memory.
//!
//! Source: `rdb.c` and `rdb.h` of Redis 6.2 to 8 and Valkey 9.

mod crc;
mod parse;
mod tap;
mod value;

use std::fmt;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

pub(super) use parse::read_preamble;
pub(super) use tap::Tap;

/// Why a file or a stream is no RDB that a server would load.
#[derive(Debug, thiserror::Error)]
pub enum RdbError {
    /// Its source failed.
    #[error("read the RDB")]
    Read(#[source] io::Error),
    /// Whoever takes it failed.
    #[error("pass the RDB on")]
    Write(#[source] io::Error),
    /// It does not begin as one.
    #[error("this is no RDB: it does not begin with `REDIS` or `VALKEY` and a version")]
    NotRdb,
    /// It ends in the middle.
    #[error("the RDB is cut: it ends after {at} bytes, before its closing mark")]
    Cut {
        /// Where it ends.
        at: u64,
    },
    /// Its content is not what was written.
    #[error(
        "the RDB is damaged: its checksum is {found:016x}, and {stored:016x} stands at its end"
    )]
    Checksum {
        /// Of its content.
        found: u64,
        /// What stands at its end.
        stored: u64,
    },
    /// Something stands where nothing can.
    #[error("the RDB is damaged at byte {at}: {what}")]
    Malformed {
        /// Where.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// More follows.
    #[error("the RDB ends at byte {at}, and something follows it")]
    Trailing {
        /// Where it ends.
        at: u64,
    },
}

/// Whose numbers an RDB's version is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RdbFamily {
    /// `REDIS0009`: Redis, and Valkey where it says nothing that Redis 7.2 does not understand.
    Redis,
    /// `VALKEY080`: Valkey 9 and later.
    Valkey,
}

/// The format of an RDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdbVersion {
    /// Whose.
    pub family: RdbFamily,
    /// Its number.
    pub number: u32,
}

impl fmt::Display for RdbVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family {
            RdbFamily::Redis => write!(f, "RDB version {}", self.number),
            RdbFamily::Valkey => write!(f, "Valkey's RDB version {}", self.number),
        }
    }
}

/// What an RDB holds. Fields are added, never renamed or reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdbSummary {
    /// Its format.
    pub version: RdbVersion,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its checksum, which was compared; `None` if its server writes none (`rdbchecksum no`).
    pub checksum: Option<String>,
    /// The databases that have keys, by number. Keys behind `unknown` are not counted.
    pub databases: Vec<DatabaseKeys>,
    /// Libraries of functions.
    #[serde(default)]
    pub functions: u64,
    /// When it was begun, in seconds since 1970 by its server's clock.
    #[serde(default)]
    pub created: Option<i64>,
    /// The version of the server that wrote it.
    #[serde(default)]
    pub written_by: Option<String>,
    /// From where on nothing was counted: something in it is newer than this program. The checksum holds all the
    /// same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// Keys of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseKeys {
    /// The database's number.
    pub database: u64,
    /// Its keys.
    pub keys: u64,
    /// Those among them that have a time to live.
    pub expiring: u64,
    /// Those among them that were to be gone already when the RDB was read, or soon after: a server may drop them as it loads.
    #[serde(default)]
    pub expired: u64,
    /// How many keys the server announced; `None` if it did not.
    #[serde(default)]
    pub announced: Option<u64>,
}

impl RdbSummary {
    /// Keys of all databases.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.databases.iter().map(|counts| counts.keys).sum()
    }

    /// Whether every key was counted.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.unknown.is_none()
    }

    /// What a person should know of it, though it is no error.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.checksum.is_none() {
            remarks.push(
                "the RDB has no checksum (`rdbchecksum no`): damage on its way could not have been noticed"
                    .to_owned(),
            );
        }
        if let Some(unknown) = &self.unknown {
            remarks.push(format!(
                "keys were not all counted: {unknown}, which this version of Rekindle does not know; the RDB itself \
                 is whole"
            ));
            return remarks;
        }
        for counts in &self.databases {
            if let Some(announced) = counts
                .announced
                .filter(|announced| *announced != counts.keys)
            {
                remarks.push(format!(
                    "database {}: the server announced {announced} keys, and its RDB has {}",
                    counts.database, counts.keys
                ));
            }
        }
        remarks
    }
}

/// Reads an RDB to its end, passing every byte on to `sink`.
///
/// # Errors
/// [`RdbError`]: if it is cut or damaged, or something follows it.
pub fn read_rdb(source: &mut dyn Read, sink: &mut dyn Write) -> Result<RdbSummary, RdbError> {
    let mut tap = Tap::new(source, sink);
    let summary = read_preamble(&mut tap)?;
    if !tap.peek()?.is_empty() {
        return Err(RdbError::Trailing { at: tap.offset() });
    }
    Ok(summary)
}

#[cfg(test)]
mod tests;
