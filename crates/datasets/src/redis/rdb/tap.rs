//! Bytes that are looked at while they flow from a source into a sink.

use std::io::{self, Read, Write};

use super::{RdbError, crc::crc64};

const CHUNK_BYTES: usize = 256 << 10;

/// Reads a source in large pieces, writes each piece on at once, and hands it out byte by byte. Keeps the checksum
/// of what was handed out.
pub struct Tap<'a> {
    source: &'a mut dyn Read,
    sink: &'a mut dyn Write,
    chunk: Vec<u8>,
    /// What of the chunk is filled, handed out, and in the checksum.
    filled: usize,
    next: usize,
    summed: usize,
    crc: u64,
    /// Bytes of all chunks before this one.
    before: u64,
}

impl<'a> Tap<'a> {
    pub fn new(source: &'a mut dyn Read, sink: &'a mut dyn Write) -> Self {
        Self {
            source,
            sink,
            chunk: vec![0; CHUNK_BYTES],
            filled: 0,
            next: 0,
            summed: 0,
            crc: 0,
            before: 0,
        }
    }

    /// How many bytes were handed out.
    pub fn offset(&self) -> u64 {
        self.before + self.next as u64
    }

    /// The checksum of all that was handed out.
    pub fn checksum(&mut self) -> u64 {
        self.crc = crc64(self.crc, &self.chunk[self.summed..self.next]);
        self.summed = self.next;
        self.crc
    }

    /// What is there, at least a byte; nothing at the end of the source.
    pub fn peek(&mut self) -> Result<&[u8], RdbError> {
        if self.next == self.filled {
            self.checksum();
            self.before += self.filled as u64;
            (self.filled, self.next, self.summed) = (0, 0, 0);
            self.filled = self.read()?;
            let written = self.sink.write_all(&self.chunk[..self.filled]);
            written.map_err(RdbError::Write)?;
        }
        Ok(&self.chunk[self.next..self.filled])
    }

    /// Hands out so many bytes of what [`peek`](Self::peek) showed.
    pub fn consume(&mut self, bytes: usize) {
        self.next = (self.next + bytes).min(self.filled);
    }

    fn read(&mut self) -> Result<usize, RdbError> {
        loop {
            match self.source.read(&mut self.chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(RdbError::Read),
            }
        }
    }

    /// Hands out exactly so many bytes, unseen.
    pub fn skip(&mut self, mut bytes: u64) -> Result<(), RdbError> {
        while bytes > 0 {
            let there = self.peek()?.len();
            if there == 0 {
                return Err(self.cut());
            }
            let now = usize::try_from(bytes).map_or(there, |bytes| bytes.min(there));
            self.consume(now);
            bytes -= now as u64;
        }
        Ok(())
    }

    /// Hands out a number of bytes that is known to be small.
    pub fn take(&mut self, bytes: usize) -> Result<Vec<u8>, RdbError> {
        let mut taken = Vec::with_capacity(bytes.min(CHUNK_BYTES));
        while taken.len() < bytes {
            let there = self.peek()?;
            let now = there.len().min(bytes - taken.len());
            taken.extend_from_slice(&there[..now]);
            if now == 0 {
                return Err(self.cut());
            }
            self.consume(now);
        }
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    pub fn byte(&mut self) -> Result<u8, RdbError> {
        let Some(byte) = self.peek()?.first().copied() else {
            return Err(self.cut());
        };
        self.consume(1);
        Ok(byte)
    }

    /// Hands out all that is left. Returns the checksum of everything but the last eight bytes, and those.
    pub fn drain(&mut self) -> Result<(u64, [u8; 8]), RdbError> {
        let mut crc = self.checksum();
        let mut last: Vec<u8> = Vec::new();
        loop {
            let there = self.peek()?;
            if there.is_empty() {
                break;
            }
            let length = there.len();
            let early = (last.len() + length).saturating_sub(8);
            // Of what was last, and of what came now, all but eight bytes can no longer be the end.
            let of_last = early.min(last.len());
            crc = crc64(crc, &last[..of_last]);
            crc = crc64(crc, &there[..early - of_last]);
            let rest = there[early - of_last..].to_vec();
            last.drain(..of_last);
            last.extend(rest);
            self.consume(length);
        }
        match <[u8; 8]>::try_from(last) {
            Ok(last) => Ok((crc, last)),
            Err(_) => Err(self.cut()),
        }
    }

    pub fn cut(&self) -> RdbError {
        RdbError::Cut { at: self.offset() }
    }
}
