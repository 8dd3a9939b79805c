//! Checksums of data pages.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use crate::layout::Lsn;

/// A page is written in microseconds; one that stays the same this long is not being written.
const REREADS: u32 = 3;
const REREAD_AFTER: Duration = Duration::from_millis(10);

/// Lanes that are hashed side by side, so that a processor can do eight at once.
const LANES: usize = 32;

const PRIME: u32 = 16_777_619;

/// Where each lane begins. Source: PostgreSQL's `storage/checksum_impl.h`.
const BASIS: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// Where a page keeps its checksum, and where its `pd_upper`.
const CHECKSUM_AT: usize = 8;
const UPPER_AT: usize = 14;

/// How the checksum of a page turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageVerdict {
    /// The checksum holds.
    Valid,
    /// Never used since its file was extended; such pages carry no checksum.
    New,
    /// Changed since the backup began: WAL replay writes it anew, so it may even be torn.
    Newer,
    /// The checksum does not hold. It may have been read while it was being written: read it again
    /// before calling it damaged.
    Mismatch {
        /// What the page says.
        stored: u16,
        /// What it should say.
        computed: u16,
    },
}

/// Verifies pages of relation files of one backup.
#[derive(Clone, Copy, Debug)]
pub struct PageVerifier {
    start: Lsn,
    block_size: usize,
    has_avx2: bool,
}

impl PageVerifier {
    /// A verifier for a backup that began at `start`, of a cluster with pages of `block_size` bytes.
    pub fn new(start: Lsn, block_size: u32) -> Self {
        #[cfg(target_arch = "x86_64")]
        let has_avx2 = std::arch::is_x86_feature_detected!("avx2");
        #[cfg(not(target_arch = "x86_64"))]
        let has_avx2 = false;
        Self {
            start,
            block_size: block_size as usize,
            has_avx2,
        }
    }

    /// Bytes of a page.
    pub const fn block_size(&self) -> usize {
        self.block_size
    }

    /// Looks at every whole page of `bytes`, the first of which has the number `first_block` within
    /// its relation's fork, and returns the numbers of those whose checksum does not hold. An
    /// incomplete page at the end is the caller's to notice.
    pub fn suspicious(&self, first_block: u32, bytes: &[u8]) -> Vec<u32> {
        let pages = bytes.chunks_exact(self.block_size).zip(first_block..);
        let bad = pages.filter(|(page, block)| {
            matches!(self.verify(*block, page), PageVerdict::Mismatch { .. })
        });
        bad.map(|(_, block)| block).collect()
    }

    /// Looks at one page, `block_size` bytes long, with the number `block` within its fork.
    pub fn verify(&self, block: u32, page: &[u8]) -> PageVerdict {
        debug_assert_eq!(page.len(), self.block_size);
        if is_new(page) && page.iter().all(|byte| *byte == 0) {
            return PageVerdict::New;
        }
        if page_lsn(page) >= self.start {
            return PageVerdict::Newer;
        }
        // A page whose `pd_upper` is zero but whose rest is not gets no checksum, and no server
        // reads it: the comparison below fails for it as it should.
        let stored = u16::from_ne_bytes([page[CHECKSUM_AT], page[CHECKSUM_AT + 1]]);
        match self.checksum(block, page) {
            computed if computed == stored && !is_new(page) => PageVerdict::Valid,
            computed => PageVerdict::Mismatch { stored, computed },
        }
    }

    /// Reads a suspicious page again from its file: `first_read` was found at the byte `offset` of
    /// `file`, as block `block` of its fork. `None` if all is well after all: the page has changed,
    /// so it was read in the middle of a write, which WAL replay repairs.
    ///
    /// # Errors
    /// If reading fails other than by the file having become shorter, which is fine too.
    pub fn verify_again(
        &self,
        file: &File,
        offset: u64,
        block: u32,
        first_read: &[u8],
    ) -> io::Result<Option<PageVerdict>> {
        let mut page = vec![0; self.block_size];
        let mut verdict = self.verify(block, first_read);
        for _ in 0..REREADS {
            match file.read_exact_at(&mut page, offset) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                read => read?,
            }
            verdict = self.verify(block, &page);
            if page != first_read || !matches!(verdict, PageVerdict::Mismatch { .. }) {
                return Ok(None);
            }
            thread::sleep(REREAD_AFTER);
        }
        Ok(Some(verdict))
    }

    /// The checksum the page ought to carry.
    pub fn checksum(&self, block: u32, page: &[u8]) -> u16 {
        #[cfg(target_arch = "x86_64")]
        if self.has_avx2 {
            // SAFETY: `has_avx2` is true only where the processor was found to have AVX2.
            return folded(unsafe { hash_avx2(page) }, block);
        }
        folded(hash(page), block)
    }
}

fn is_new(page: &[u8]) -> bool {
    page[UPPER_AT] == 0 && page[UPPER_AT + 1] == 0
}

/// The place of the WAL record that changed the page last: two halves, high first.
fn page_lsn(page: &[u8]) -> Lsn {
    let half = |at: usize| u32::from_ne_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
    Lsn::new(u64::from(half(0)) << 32 | u64::from(half(4)))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn hash_avx2(page: &[u8]) -> u32 {
    hash(page)
}

/// FNV-1a with a twist, in parallel lanes; the checksum field counts as zero.
#[inline(always)]
fn hash(page: &[u8]) -> u32 {
    const ROW: usize = LANES * 4;
    let mut sums = BASIS;
    let (first, rest) = page.split_at(ROW.min(page.len()));
    if let Ok(mut first) = <[u8; ROW]>::try_from(first) {
        first[CHECKSUM_AT..CHECKSUM_AT + 2].fill(0);
        mix(&mut sums, &first);
    }
    for row in rest.as_chunks::<ROW>().0 {
        mix(&mut sums, row);
    }
    for _ in 0..2 {
        mix(&mut sums, &[0; ROW]);
    }
    sums.into_iter().fold(0, |all, sum| all ^ sum)
}

#[inline(always)]
fn mix(sums: &mut [u32; LANES], row: &[u8; LANES * 4]) {
    for (sum, value) in sums.iter_mut().zip(row.as_chunks::<4>().0) {
        let mixed = *sum ^ u32::from_ne_bytes(*value);
        *sum = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
    }
}

/// The block's number goes in, so that a page in the wrong place is noticed; never zero.
fn folded(hash: u32, block: u32) -> u16 {
    ((hash ^ block) % 65_535 + 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of PostgreSQL's making is held against this in the tests with real servers; here it
    /// is our own, so these tests are about what counts as suspicious.
    fn page(verifier: &PageVerifier, block: u32, lsn: u64) -> Vec<u8> {
        let mut page: Vec<u8> = (0..8192_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        page[0..4].copy_from_slice(&((lsn >> 32) as u32).to_ne_bytes());
        page[4..8].copy_from_slice(&(lsn as u32).to_ne_bytes());
        page[14..16].copy_from_slice(&4096_u16.to_ne_bytes());
        let checksum = verifier.checksum(block, &page);
        page[8..10].copy_from_slice(&checksum.to_ne_bytes());
        page
    }

    fn verifier() -> PageVerifier {
        PageVerifier::new(Lsn::new(0x200_0000), 8192)
    }

    #[test]
    fn a_flipped_bit_is_suspicious_wherever_it_is() {
        let good = page(&verifier(), 7, 0x100_0000);
        assert_eq!(verifier().verify(7, &good), PageVerdict::Valid);
        for at in [8, 12, 20, 4000, 8191] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert_eq!(verifier().suspicious(7, &bad), [7], "byte {at}");
        }
    }

    #[test]
    fn a_page_in_the_wrong_place_is_suspicious() {
        let pages = [page(&verifier(), 131_072, 1), page(&verifier(), 131_072, 1)].concat();
        assert_eq!(verifier().suspicious(131_072, &pages), [131_073]);
    }

    #[test]
    fn empty_and_newer_pages_are_not_suspicious() {
        let mut newer = page(&verifier(), 0, 0x200_0000);
        newer[5000] ^= 1;
        assert_eq!(verifier().verify(0, &newer), PageVerdict::Newer);
        assert_eq!(verifier().verify(0, &[0; 8192]), PageVerdict::New);
    }

    #[test]
    fn a_page_with_only_its_header_wiped_is_suspicious() {
        let mut wiped = page(&verifier(), 0, 1);
        wiped[..24].fill(0);
        assert!(matches!(
            verifier().verify(0, &wiped),
            PageVerdict::Mismatch { .. }
        ));
    }

    #[test]
    fn all_ways_of_computing_agree() {
        let mut plain = verifier();
        let page = page(&plain, 3, 1);
        let fast = plain.checksum(3, &page);
        plain.has_avx2 = false;
        assert_eq!(plain.checksum(3, &page), fast);
    }

    #[test]
    fn speed_is_printed() {
        let (verifier, block) = (verifier(), page(&verifier(), 0, 1));
        let begin = std::time::Instant::now();
        let rounds = 20_000_u32;
        let sum: u64 = (0..rounds)
            .map(|at| u64::from(verifier.checksum(at, std::hint::black_box(&block))))
            .sum();
        let bytes = f64::from(rounds) * 8192.0;
        println!(
            "page checksums: {:.2} GB/s ({sum})",
            bytes / begin.elapsed().as_secs_f64() / 1e9
        );
    }
}
