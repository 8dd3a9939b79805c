//! Gzip that compresses nothing: every program that reads gzip reads it, and the vault finds equal stretches in it.
//!
//! Where its blocks end is decided by the content, so that a change moves no block behind it to another place within its
//! content. Source: RFC 1951, "Non-compressed blocks"; RFC 1952.

use std::io::{self, Write};

use flate2::Crc;

/// The longest block that the format knows.
const LONGEST: usize = 65_535;
const SHORTEST: usize = 2 << 10;
/// A block ends on average after this many bytes more.
const MASK: u64 = (1 << 15) - 1;

/// Writes what it is given inside gzip.
pub struct StoredGzip<W: Write> {
    out: W,
    crc: Crc,
    block: Vec<u8>,
    hash: u64,
}

impl<W: Write> StoredGzip<W> {
    /// # Errors
    /// As `out` failed.
    pub fn new(mut out: W) -> io::Result<Self> {
        // Deflate, no name, no time, maximum speed, Unix.
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3])?;
        Ok(Self {
            out,
            crc: Crc::new(),
            block: Vec::with_capacity(LONGEST),
            hash: 0,
        })
    }

    /// Writes the end, and returns what it wrote to.
    ///
    /// # Errors
    /// As `out` failed.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_block(true)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    fn end_block(&mut self, is_last: bool) -> io::Result<()> {
        let length = u16::try_from(self.block.len()).map_err(io::Error::other)?;
        self.out.write_all(&[u8::from(is_last)])?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&(!length).to_le_bytes())?;
        self.out.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for StoredGzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc.update(bytes);
        for &byte in bytes {
            self.block.push(byte);
            self.hash = (self.hash << 1).wrapping_add(GEAR[usize::from(byte)]);
            // The upper bits: the lowest know only of the last bytes.
            let is_end = (self.hash >> 40) & MASK == 0 && self.block.len() >= SHORTEST;
            if is_end || self.block.len() == LONGEST {
                self.end_block(false)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A number for each byte, by splitmix64: what it is does not matter, as long as it stays.
static GEAR: [u64; 256] = gear();

const fn gear() -> [u64; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    while at < 256 {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        table[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, process::Command};

    use super::*;

    fn zipped(plain: &[u8]) -> Vec<u8> {
        let mut gzip = StoredGzip::new(Vec::new()).unwrap();
        gzip.write_all(plain).unwrap();
        gzip.finish().unwrap()
    }

    fn text(seed: u64, lines: usize) -> Vec<u8> {
        let mut state = seed;
        let mut text = Vec::new();
        for number in 0..lines {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            writeln!(text, "{{\"id\":{number},\"word\":\"{state:x}\"}}").unwrap();
        }
        text
    }

    #[test]
    fn it_is_read_by_everybody() {
        for plain in [Vec::new(), b"x".to_vec(), text(1, 20_000), vec![7; 300_000]] {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().write_all(&zipped(&plain)).unwrap();
            let mut ours = Vec::new();
            let mut reader = flate2::read::GzDecoder::new(file.reopen().unwrap());
            reader.read_to_end(&mut ours).unwrap();
            assert_eq!(ours, plain);
            let mut gzip = Command::new("gzip");
            let stock = gzip
                .arg("-dc")
                .stdin(file.reopen().unwrap())
                .output()
                .unwrap();
            assert!(stock.status.success());
            assert_eq!(stock.stdout, plain);
        }
    }

    #[test]
    fn what_comes_after_a_change_stays_the_same() {
        let plain = text(2, 20_000);
        let mut changed = b"a longer beginning\n".to_vec();
        changed.extend_from_slice(&plain);
        let (old, new) = (zipped(&plain), zipped(&changed));
        // All but the trailer, which holds the sum of everything.
        let tail = old.len() / 2..old.len() - 13;
        let wanted = &old[tail.clone()];
        assert!(new.windows(wanted.len()).any(|window| window == wanted));
    }
}
