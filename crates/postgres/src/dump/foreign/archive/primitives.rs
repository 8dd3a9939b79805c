//! Numbers and strings as archives write them.

use std::io::{self, Read};

use super::super::error::Fault;

/// A longer string than any that PostgreSQL could have written.
const MAX_STRING: u64 = 1 << 30;

/// Reads what archives are made of.
pub(super) struct Primitives<R> {
    reader: R,
    int_bytes: usize,
    offset_bytes: usize,
    position: u64,
}

impl<R: Read> Primitives<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            int_bytes: 4,
            offset_bytes: 8,
            position: 0,
        }
    }

    pub(super) fn set_sizes(&mut self, int_bytes: u8, offset_bytes: u8) -> Result<(), Fault> {
        let fits = |bytes: u8| (1..=8).contains(&bytes);
        if !fits(int_bytes) || !fits(offset_bytes) {
            return Err(Fault::not_whole("its head is damaged (sizes of numbers)"));
        }
        self.int_bytes = usize::from(int_bytes);
        self.offset_bytes = usize::from(offset_bytes);
        Ok(())
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.bytes::<1>()?[0])
    }

    /// `None` where the archive ends.
    pub(super) fn byte_or_end(&mut self) -> Result<Option<u8>, Fault> {
        let mut byte = [0];
        loop {
            match self.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(byte[0])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A sign, then the absolute value with its lowest byte first.
    pub(super) fn int(&mut self) -> Result<i64, Fault> {
        let sign = self.byte()?;
        let mut bytes = [0; 8];
        let length = self.int_bytes;
        self.read_exact(&mut bytes[..length])?;
        let value = i64::try_from(u64::from_le_bytes(bytes))
            .map_err(|_| Fault::not_whole("a number in it is damaged"))?;
        match sign {
            0 => Ok(value),
            1 => Ok(-value),
            _ => Err(Fault::not_whole("a number in it is damaged")),
        }
    }

    /// `None` for a string that is not there, which is not an empty one.
    pub(super) fn string(&mut self) -> Result<Option<String>, Fault> {
        let Ok(length) = u64::try_from(self.int()?) else {
            return Ok(None);
        };
        if length > MAX_STRING {
            return Err(Fault::not_whole("the length of a text in it is damaged"));
        }
        // Grows with what is there: a damaged length must not take the memory.
        let mut bytes = Vec::new();
        let read = self.by_ref().take(length).read_to_end(&mut bytes)?;
        if (read as u64) < length {
            return Err(Fault::not_whole("it ends in its table of contents"));
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Where an entry's data lies: `None` if the writer could not know.
    pub(super) fn offset(&mut self) -> Result<Option<u64>, Fault> {
        /// `K_OFFSET_POS_SET` of `pg_backup_archiver.h`; 1 is "not set", 3 is "no data".
        const SET: u8 = 2;
        let state = self.byte()?;
        let mut bytes = [0; 8];
        let length = self.offset_bytes;
        self.read_exact(&mut bytes[..length])?;
        Ok((state == SET).then(|| u64::from_le_bytes(bytes)))
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), Fault> {
        Ok(Read::read_exact(self, buffer)?)
    }
}

impl<R: Read> Read for Primitives<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}
