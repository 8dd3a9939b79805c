//! Blobs: the pieces that files and trees are made of, compressed where it pays.

use std::cell::RefCell;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

use crate::error::VaultError;

/// What a blob is a piece of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobKind {
    /// A file's content.
    Data,
    /// A directory's listing.
    Tree,
}

/// How hard to compress. Speed comes first: the time a backup takes is time without a new
/// recovery point, and the time a restore takes is an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// zstd 1 everywhere.
    Fast,
    /// zstd 2: of database pages it leaves 3 % less than zstd 1, for a tenth more of its time (docs/benchmarks.md).
    #[default]
    Default,
    /// zstd 9, for slow links and small disks.
    Max,
}

/// What the bytes are like, which decides how they are cut and compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataClass {
    /// Database pages: short fixed chunks that repeat themselves within a few KiB.
    Pages,
    /// Everything else.
    General,
}

/// A blob no longer than this is not sampled: there is nothing to save.
const SAMPLED_FROM_BYTES: usize = 32 * 1024;
const SAMPLE_BYTES: usize = 4096;
/// Most data shows at a glance that it is no noise: text has some 60 different bytes in this many.
const GLANCE_BYTES: usize = 512;
const GLANCE_DISTINCT: u32 = 180;
/// Bits per byte above which 4 KiB cannot be told from noise (true noise measures about 7.95).
const NOISE_BITS_PER_BYTE: f32 = 7.9;

/// Compresses many blobs with one set of tables.
pub struct Compressor {
    context: CCtx<'static>,
    out: Vec<u8>,
}

impl Compressor {
    /// A compressor for data of this class.
    ///
    /// # Errors
    /// If zstd refuses its parameters.
    pub fn new(compression: Compression, class: DataClass) -> Result<Self, VaultError> {
        let mut context = CCtx::create();
        let level = match compression {
            Compression::Fast => 1,
            Compression::Default => 2,
            Compression::Max => 9,
        };
        context
            .set_parameter(CParameter::CompressionLevel(level))
            .map_err(refused)?;
        if class == DataClass::Pages && level == 1 {
            // Tables of 2^13 entries stay in the first-level cache: 12 % faster on 64 KiB of
            // pages at the same size (docs/benchmarks.md).
            context
                .set_parameter(CParameter::HashLog(13))
                .map_err(refused)?;
        }
        Ok(Self {
            context,
            out: Vec::new(),
        })
    }

    /// The compressed form, or `None` where it would not be at least 1/32 smaller.
    ///
    /// # Errors
    /// If zstd fails, which only a lack of memory explains.
    pub fn compress(&mut self, plain: &[u8]) -> Result<Option<&[u8]>, VaultError> {
        if is_noise(plain) {
            return Ok(None);
        }
        self.out.resize(zstd_safe::compress_bound(plain.len()), 0);
        let length = self
            .context
            .compress2(&mut self.out[..], plain)
            .map_err(refused)?;
        Ok((length + plain.len() / 32 < plain.len()).then(|| &self.out[..length]))
    }
}

/// zstd's blocks hold at most 128 KiB and take at least 4 bytes, so nothing grows more than this. Source: RFC 8878, 3.1.1.2.
const MOST_RATIO: usize = 1 << 15;

/// Decompresses into `out`, which must turn out to be `expected` bytes long. A length that lies costs no memory. What is in
/// `out` after an error means nothing.
///
/// # Errors
/// zstd's reason, or the length that came out instead.
pub fn decompress(stored: &[u8], expected: usize, out: &mut Vec<u8>) -> Result<(), String> {
    thread_local! {
        static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
    }
    if expected > stored.len().saturating_mul(MOST_RATIO) {
        out.clear();
        let stored = stored.len();
        return Err(format!("{stored} bytes cannot grow to {expected}"));
    }
    // What is in it already is written over, and need not be zeroed first.
    out.resize(expected, 0);
    let length = CONTEXT
        .with_borrow_mut(|context| context.decompress(&mut out[..], stored))
        .map_err(|code| format!("decompress: {}", zstd_safe::get_error_name(code)))?;
    if length != expected {
        return Err(format!(
            "{length} bytes came out where the index says {expected}"
        ));
    }
    Ok(())
}

fn refused(code: zstd_safe::ErrorCode) -> VaultError {
    VaultError::Compress(zstd_safe::get_error_name(code))
}

/// Whether two samples both look like noise (encrypted or compressed already), by their entropy.
fn is_noise(plain: &[u8]) -> bool {
    if plain.len() < SAMPLED_FROM_BYTES {
        return false;
    }
    let near_start = plain.len() / 8;
    let near_end = plain.len() - SAMPLE_BYTES - plain.len() / 8;
    let glance = &plain[near_start..near_start + GLANCE_BYTES];
    distinct_bytes(glance) >= GLANCE_DISTINCT
        && entropy(&plain[near_start..near_start + SAMPLE_BYTES]) > NOISE_BITS_PER_BYTE
        && entropy(&plain[near_end..near_end + SAMPLE_BYTES]) > NOISE_BITS_PER_BYTE
}

/// How many different bytes there are in a sample: of 512 bytes of noise some 221.
fn distinct_bytes(sample: &[u8]) -> u32 {
    let mut seen = [0_u64; 4];
    for &byte in sample {
        seen[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }
    seen.iter().map(|bits| bits.count_ones()).sum()
}

/// Bits per byte of a sample, were its bytes independent of each other.
fn entropy(sample: &[u8]) -> f32 {
    let mut counts = [0_u16; 256];
    for &byte in sample {
        counts[usize::from(byte)] += 1;
    }
    let total = sample.len() as f32;
    let used = counts.iter().filter(|&&count| count > 0);
    used.map(|&count| {
        let share = f32::from(count) / total;
        -share * share.log2()
    })
    .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        getrandom::fill(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn text_shrinks_and_comes_back() {
        let mut compressor = Compressor::new(Compression::Default, DataClass::Pages).unwrap();
        let plain = b"one row and another row and ".repeat(4000);
        let stored = compressor
            .compress(&plain)
            .unwrap()
            .expect("it shrinks")
            .to_vec();
        assert!(stored.len() < plain.len() / 10);
        let mut back = Vec::new();
        decompress(&stored, plain.len(), &mut back).unwrap();
        assert_eq!(back, plain);
    }

    #[test]
    fn noise_is_not_compressed_and_text_is_not_noise() {
        let mut compressor = Compressor::new(Compression::Default, DataClass::General).unwrap();
        assert!(compressor.compress(&noise(64 * 1024)).unwrap().is_none());
        assert!(compressor.compress(&noise(1024)).unwrap().is_none());
        assert!(is_noise(&noise(64 * 1024)));
        assert!(!is_noise(&b"a line of text\n".repeat(8000)));
    }

    #[test]
    fn a_wrong_length_is_told() {
        let mut compressor = Compressor::new(Compression::Fast, DataClass::General).unwrap();
        let stored = compressor.compress(&[7; 1000]).unwrap().unwrap().to_vec();
        assert!(decompress(&stored, 1001, &mut Vec::new()).is_err());
        assert!(decompress(&stored, 999, &mut Vec::new()).is_err());
        assert!(decompress(b"nonsense", 10, &mut Vec::new()).is_err());
        let mut out = Vec::new();
        assert!(decompress(&stored, u32::MAX as usize, &mut out).is_err());
        assert_eq!(out.capacity(), 0, "no memory was taken for a lie");
        // What shrinks most comes back all the same.
        let zeros = vec![0; 8 << 20];
        let stored = compressor.compress(&zeros).unwrap().unwrap().to_vec();
        decompress(&stored, zeros.len(), &mut out).unwrap();
        assert_eq!(out, zeros);
    }
}
