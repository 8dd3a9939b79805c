//! Where files are cut.
//!
//! Database files are cut at fixed, page-aligned places, because their pages change in place.
//! Other files are cut where their content says so, by a gear hash with two masks (Xia et al.,
//! "FastCDC", USENIX ATC 2016), so that an insertion moves only the cuts beside it. Readers do not
//! care where cuts are.

use sha2::{Digest, Sha256};

use crate::blob::DataClass;

/// How to cut a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// Every so many bytes, for database pages.
    Fixed {
        /// Length of a chunk: a multiple of the page size.
        bytes: u32,
    },
    /// Where the content says so.
    ContentDefined,
}

impl Chunking {
    /// What the bytes are like.
    #[must_use]
    pub const fn class(self) -> DataClass {
        match self {
            Self::Fixed { .. } => DataClass::Pages,
            Self::ContentDefined => DataClass::General,
        }
    }

    /// The longest chunk, in bytes.
    #[must_use]
    pub const fn longest(self) -> usize {
        match self {
            Self::Fixed { bytes } => bytes as usize,
            Self::ContentDefined => MOST,
        }
    }
}

/// No cut before this many bytes, but at the end.
const LEAST: usize = 256 * 1024;
/// Around here a cut becomes likelier.
const USUAL: usize = 768 * 1024;
/// A cut at the latest.
pub(crate) const MOST: usize = 4 * 1024 * 1024;

/// Cuts where the content says so. The table is a secret of the repository, so that the lengths
/// of chunks do not tell which known files are in it.
#[derive(Clone)]
pub struct Gear {
    table: Box<[u64; 256]>,
}

/// Before [`USUAL`] 22 bits of the hash must be zero, behind it 18.
const MASK_BEFORE: u64 = !0 << (64 - 22);
const MASK_BEHIND: u64 = !0 << (64 - 18);

impl Gear {
    /// The table of this secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        let mut table = Box::new([0; 256]);
        for (number, entry) in table.iter_mut().enumerate() {
            let mut hash = Sha256::new();
            hash.update(b"rekindle gear 1\0");
            hash.update(secret);
            hash.update([0, number as u8]);
            let digest: [u8; 32] = hash.finalize().into();
            let mut first = [0; 8];
            first.copy_from_slice(&digest[..8]);
            *entry = u64::from_le_bytes(first);
        }
        Self { table }
    }

    /// The length of the first chunk of `bytes`, which must hold the rest of the file or at least
    /// [`Chunking::longest`] of it.
    #[must_use]
    pub fn cut(&self, bytes: &[u8]) -> usize {
        if bytes.len() <= LEAST {
            return bytes.len();
        }
        let end = bytes.len().min(MOST);
        let usual = end.min(USUAL);
        let mut hash = 0;
        // The hash forgets a byte after 64 more, so only those before the first possible cut count.
        self.find(&bytes[LEAST - 64..usual], &mut hash, MASK_BEFORE)
            .map(|at| LEAST - 64 + at)
            .or_else(|| {
                self.find(&bytes[usual..end], &mut hash, MASK_BEHIND)
                    .map(|at| usual + at)
            })
            .unwrap_or(end)
    }

    fn find(&self, bytes: &[u8], hash: &mut u64, mask: u64) -> Option<usize> {
        let mut rolling = *hash;
        for (at, &byte) in bytes.iter().enumerate() {
            rolling = (rolling << 1).wrapping_add(self.table[usize::from(byte)]);
            if rolling & mask == 0 {
                return Some(at + 1);
            }
        }
        *hash = rolling;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect()
    }

    fn cuts(gear: &Gear, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = bytes;
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(gear.cut(rest));
            chunks.push(chunk.to_vec());
            rest = behind;
        }
        chunks
    }

    #[test]
    fn chunks_keep_their_bounds_and_lose_nothing() {
        let bytes = noise(20 << 20, 7);
        let chunks = cuts(&Gear::new("s"), &bytes);
        assert_eq!(chunks.concat(), bytes);
        let (last, others) = chunks.split_last().unwrap();
        assert!(
            others
                .iter()
                .all(|c| (LEAST - 64..=MOST).contains(&c.len()))
        );
        assert!(!last.is_empty());
        let average = bytes.len() / chunks.len();
        assert!((512 << 10..2 << 20).contains(&average), "{average}");
    }

    #[test]
    fn an_insertion_changes_few_chunks() {
        let gear = Gear::new("s");
        let old = noise(20 << 20, 7);
        let mut new = old.clone();
        new.splice(3_000_000..3_000_000, *b"a few bytes more");
        let before = cuts(&gear, &old);
        let changed = cuts(&gear, &new)
            .iter()
            .filter(|c| !before.contains(c))
            .count();
        assert!(changed <= 3, "{changed}");
    }

    #[test]
    fn another_repository_cuts_elsewhere() {
        let bytes = noise(8 << 20, 7);
        assert_ne!(cuts(&Gear::new("a"), &bytes), cuts(&Gear::new("b"), &bytes));
    }

    #[test]
    fn zeros_and_small_files_are_cut_sanely() {
        let gear = Gear::new("s");
        assert_eq!(gear.cut(&[]), 0);
        assert_eq!(gear.cut(&[1]), 1);
        assert_eq!(gear.cut(&vec![0; 10 << 20]), MOST);
    }
}
