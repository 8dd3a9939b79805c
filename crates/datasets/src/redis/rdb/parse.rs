//! What stands between the keys.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::value::{Known, skip_value};
use super::{DatabaseKeys, RdbError, RdbFamily, RdbSummary, RdbVersion, Tap};

/// Keys that are gone within this time may be gone before anybody counts them.
const SOON_MILLISECONDS: i64 = 10 * 60 * 1000;
/// Texts that the server says of itself are short; what is longer is passed over.
const LONGEST_AUX: u64 = 1024;

/// What stands before a key or instead of one.
mod opcode {
    pub const SLOT_IMPORT: u8 = 243;
    pub const SLOT_INFO: u8 = 244;
    pub const FUNCTION: u8 = 245;
    pub const MODULE_AUX: u8 = 247;
    pub const IDLE: u8 = 248;
    pub const FREQUENCY: u8 = 249;
    pub const AUX: u8 = 250;
    pub const RESIZE: u8 = 251;
    pub const EXPIRES_MILLISECONDS: u8 = 252;
    pub const EXPIRES_SECONDS: u8 = 253;
    pub const SELECT: u8 = 254;
    pub const END: u8 = 255;
}

/// Reads an RDB up to its end; what follows, as in an append-only file, stays in `tap`. If something in it is
/// unknown, all of `tap` is taken for the RDB, because nobody can say where it ends.
pub fn read_preamble(tap: &mut Tap<'_>) -> Result<RdbSummary, RdbError> {
    let version = read_version(tap)?;
    let mut reading = Reading {
        version,
        soon: Timestamp::now().as_millisecond() + SOON_MILLISECONDS,
        database: 0,
        counts: BTreeMap::new(),
        functions: 0,
        created: None,
        written_by: None,
        expires: None,
    };
    let unknown = loop {
        match reading.next(tap)? {
            Next::More => {}
            Next::End => break None,
            Next::Unknown(what) => break Some(what),
        }
    };
    let (found, stored) = match unknown {
        None => (
            tap.checksum(),
            u64::from_le_bytes(checksum_bytes(version, tap)?),
        ),
        Some(_) => {
            let (found, stored) = tap.drain()?;
            (found, u64::from_le_bytes(stored))
        }
    };
    if stored != 0 && stored != found {
        return Err(RdbError::Checksum { found, stored });
    }
    Ok(RdbSummary {
        version,
        bytes: tap.offset(),
        checksum: (stored != 0).then(|| format!("{stored:016x}")),
        databases: reading.counts.into_values().collect(),
        functions: reading.functions,
        created: reading.created,
        written_by: reading.written_by,
        unknown,
    })
}

/// Before version 5 there was none.
fn checksum_bytes(version: RdbVersion, tap: &mut Tap<'_>) -> Result<[u8; 8], RdbError> {
    if version.family == RdbFamily::Redis && version.number < 5 {
        return Ok([0; 8]);
    }
    tap.array()
}

fn read_version(tap: &mut Tap<'_>) -> Result<RdbVersion, RdbError> {
    let head: [u8; 9] = tap.array().map_err(|error| match error {
        RdbError::Cut { .. } => RdbError::NotRdb,
        other => other,
    })?;
    let (family, digits) = if let Some(digits) = head.strip_prefix(b"REDIS") {
        (RdbFamily::Redis, digits)
    } else if let Some(digits) = head.strip_prefix(b"VALKEY") {
        (RdbFamily::Valkey, digits)
    } else {
        return Err(RdbError::NotRdb);
    };
    let digits = std::str::from_utf8(digits).ok();
    let number = digits.and_then(|digits| digits.parse().ok());
    number
        .map(|number| RdbVersion { family, number })
        .ok_or(RdbError::NotRdb)
}

enum Next {
    More,
    End,
    /// Something that this program does not know, in words.
    Unknown(String),
}

struct Reading {
    version: RdbVersion,
    soon: i64,
    database: u64,
    counts: BTreeMap<u64, DatabaseKeys>,
    functions: u64,
    created: Option<i64>,
    written_by: Option<String>,
    /// When the next key is to be gone, in milliseconds since 1970.
    expires: Option<i64>,
}

impl Reading {
    fn next(&mut self, tap: &mut Tap<'_>) -> Result<Next, RdbError> {
        match tap.byte()? {
            opcode::END => return Ok(Next::End),
            opcode::SELECT => self.database = tap.number()?,
            opcode::RESIZE => {
                let announced = tap.number()?;
                tap.number()?;
                self.counts().announced = Some(announced);
            }
            opcode::EXPIRES_SECONDS => {
                let seconds = i32::from_le_bytes(tap.array()?);
                self.expires = Some(i64::from(seconds) * 1000);
            }
            opcode::EXPIRES_MILLISECONDS => {
                self.expires = Some(i64::from_le_bytes(tap.array()?));
            }
            opcode::IDLE => drop(tap.number()?),
            opcode::FREQUENCY => drop(tap.byte()?),
            opcode::AUX => self.aux(tap)?,
            opcode::FUNCTION => {
                tap.skip_string()?;
                self.functions += 1;
            }
            opcode::MODULE_AUX => {
                // Module, two numbers that say when, and then as a value.
                for _ in 0..3 {
                    tap.number()?;
                }
                tap.skip_module()?;
            }
            opcode::SLOT_INFO => {
                for _ in 0..3 {
                    tap.number()?;
                }
            }
            opcode::SLOT_IMPORT if self.version.family == RdbFamily::Valkey => {
                tap.skip_string()?;
                for _ in 0..tap.number()? {
                    tap.number()?;
                    tap.number()?;
                }
            }
            other => return self.key(other, tap),
        }
        Ok(Next::More)
    }

    fn key(&mut self, kind: u8, tap: &mut Tap<'_>) -> Result<Next, RdbError> {
        let at = tap.offset() - 1;
        if !super::value::is_known(self.version.family, kind) {
            return Ok(Next::Unknown(format!(
                "a value of type {kind} at byte {at}"
            )));
        }
        tap.skip_string()?;
        if let Known::No(what) = skip_value(self.version.family, kind, tap)? {
            return Ok(Next::Unknown(format!("{what} at byte {at}")));
        }
        let (soon, expires) = (self.soon, self.expires.take());
        let counts = self.counts();
        counts.keys += 1;
        counts.expiring += u64::from(expires.is_some());
        counts.expired += u64::from(expires.is_some_and(|when| when <= soon));
        Ok(Next::More)
    }

    fn aux(&mut self, tap: &mut Tap<'_>) -> Result<(), RdbError> {
        let name = tap.short_string(LONGEST_AUX)?;
        let value = tap.short_string(LONGEST_AUX)?;
        let value = value.map(|value| String::from_utf8_lossy(&value).into_owned());
        match name.as_deref() {
            Some(b"ctime") => self.created = value.and_then(|value| value.parse().ok()),
            Some(b"redis-ver" | b"valkey-ver") => self.written_by = value,
            _ => {}
        }
        Ok(())
    }

    fn counts(&mut self) -> &mut DatabaseKeys {
        let database = self.database;
        self.counts.entry(database).or_insert(DatabaseKeys {
            database,
            ..DatabaseKeys::default()
        })
    }
}
