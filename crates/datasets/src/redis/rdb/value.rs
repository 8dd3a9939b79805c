//! Lengths, strings and values, passed over.

use super::{RdbError, RdbFamily, Tap};

/// Whether a value could be passed over.
pub enum Known {
    Yes,
    /// It could not: what it is.
    No(&'static str),
}

/// A length, or a string in short: a number, or compressed bytes.
enum Length {
    Plain(u64),
    Integer(u64),
    Compressed,
}

/// Whether the layout of this type is known.
pub fn is_known(family: RdbFamily, kind: u8) -> bool {
    match family {
        _ if kind <= 5 || matches!(kind, 7 | 9..=21) => true,
        // Fields of hashes with times to live, of Redis 7.4.
        RdbFamily::Redis => matches!(kind, 22..=25),
        // The same of Valkey 9.
        RdbFamily::Valkey => kind == 22,
    }
}

/// Passes over a value of a known type.
pub fn skip_value(family: RdbFamily, kind: u8, tap: &mut Tap<'_>) -> Result<Known, RdbError> {
    match (kind, family) {
        // A string, or a whole small collection in one.
        (0 | 9..=13 | 16 | 17 | 20 | 23, _) => tap.skip_string()?,
        // Lists and sets.
        (1 | 2 | 14, _) => tap.skip_strings(1)?,
        (3, _) => {
            for _ in 0..tap.number()? {
                tap.skip_string()?;
                tap.skip_text_score()?;
            }
        }
        (4, _) => tap.skip_strings(2)?,
        (5, _) => {
            for _ in 0..tap.number()? {
                tap.skip_string()?;
                tap.skip(8)?;
            }
        }
        (7, _) => {
            tap.number()?;
            tap.skip_module()?;
        }
        (15 | 19 | 21, _) => tap.skip_stream(kind)?,
        // A list of nodes, each of them with its form before it.
        (18, _) => {
            for _ in 0..tap.number()? {
                tap.number()?;
                tap.skip_string()?;
            }
        }
        (22, RdbFamily::Valkey) => {
            for _ in 0..tap.number()? {
                tap.skip_string()?;
                tap.skip_string()?;
                tap.skip(8)?;
            }
        }
        (22, RdbFamily::Redis) => tap.skip_fields_with_times()?,
        (24, _) => {
            tap.skip(8)?;
            tap.skip_fields_with_times()?;
        }
        (25, _) => {
            tap.skip(8)?;
            tap.skip_string()?;
        }
        _ => return Ok(Known::No("a value of a type that is not known")),
    }
    Ok(Known::Yes)
}

impl Tap<'_> {
    fn length(&mut self) -> Result<Length, RdbError> {
        let at = self.offset();
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(first)),
            1 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            2 => match first {
                0x80 => Length::Plain(u32::from_be_bytes(self.array()?).into()),
                0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
                _ => {
                    let what = "a length of no known form";
                    return Err(RdbError::Malformed { at, what });
                }
            },
            _ => match first & 0x3f {
                0 => Length::Integer(1),
                1 => Length::Integer(2),
                2 => Length::Integer(4),
                3 => Length::Compressed,
                _ => {
                    let what = "a string of no known form";
                    return Err(RdbError::Malformed { at, what });
                }
            },
        })
    }

    /// A number where no string can stand.
    pub fn number(&mut self) -> Result<u64, RdbError> {
        let at = self.offset();
        match self.length()? {
            Length::Plain(number) => Ok(number),
            _ => {
                let what = "a string where a number belongs";
                Err(RdbError::Malformed { at, what })
            }
        }
    }

    pub fn skip_string(&mut self) -> Result<(), RdbError> {
        match self.length()? {
            Length::Plain(bytes) | Length::Integer(bytes) => self.skip(bytes),
            Length::Compressed => {
                let bytes = self.number()?;
                self.number()?;
                self.skip(bytes)
            }
        }
    }

    /// A string if it is short and not compressed; numbers as their digits.
    pub fn short_string(&mut self, longest: u64) -> Result<Option<Vec<u8>>, RdbError> {
        let bytes = match self.length()? {
            Length::Plain(bytes) if bytes <= longest => {
                return self
                    .take(usize::try_from(bytes).unwrap_or_default())
                    .map(Some);
            }
            Length::Plain(bytes) => bytes,
            Length::Integer(1) => return Ok(Some(digits(i8::from_le_bytes(self.array()?)))),
            Length::Integer(2) => return Ok(Some(digits(i16::from_le_bytes(self.array()?)))),
            Length::Integer(_) => return Ok(Some(digits(i32::from_le_bytes(self.array()?)))),
            Length::Compressed => {
                let bytes = self.number()?;
                self.number()?;
                bytes
            }
        };
        self.skip(bytes)?;
        Ok(None)
    }

    fn skip_strings(&mut self, in_each: u64) -> Result<(), RdbError> {
        let items = self.number()?;
        for _ in 0..items {
            for _ in 0..in_each {
                self.skip_string()?;
            }
        }
        Ok(())
    }

    /// A score as text behind its length; three lengths stand for no number and the infinities.
    fn skip_text_score(&mut self) -> Result<(), RdbError> {
        match self.byte()? {
            253..=255 => Ok(()),
            bytes => self.skip(bytes.into()),
        }
    }

    fn skip_fields_with_times(&mut self) -> Result<(), RdbError> {
        for _ in 0..self.number()? {
            self.number()?;
            self.skip_string()?;
            self.skip_string()?;
        }
        Ok(())
    }

    /// What a module wrote, item by item up to its end.
    pub fn skip_module(&mut self) -> Result<(), RdbError> {
        loop {
            let at = self.offset();
            match self.number()? {
                0 => return Ok(()),
                1 | 2 => drop(self.number()?),
                3 => self.skip(4)?,
                4 => self.skip(8)?,
                5 => self.skip_string()?,
                _ => {
                    let what = "an item of a module's value of no known form";
                    return Err(RdbError::Malformed { at, what });
                }
            }
        }
    }

    /// Entries, ids, then groups with what is pending, and their consumers. Type 19 came with Redis 7.0, 21 with 7.2.
    fn skip_stream(&mut self, kind: u8) -> Result<(), RdbError> {
        self.skip_strings(2)?;
        self.skip_numbers(3)?;
        if kind >= 19 {
            self.skip_numbers(5)?;
        }
        for _ in 0..self.number()? {
            self.skip_string()?;
            self.skip_numbers(if kind >= 19 { 3 } else { 2 })?;
            for _ in 0..self.number()? {
                self.skip(16 + 8)?;
                self.number()?;
            }
            for _ in 0..self.number()? {
                self.skip_string()?;
                self.skip(if kind >= 21 { 16 } else { 8 })?;
                let pending = self.number()?;
                self.skip(pending.saturating_mul(16))?;
            }
        }
        Ok(())
    }

    fn skip_numbers(&mut self, count: usize) -> Result<(), RdbError> {
        for _ in 0..count {
            self.number()?;
        }
        Ok(())
    }
}

fn digits(number: impl std::fmt::Display) -> Vec<u8> {
    number.to_string().into_bytes()
}
