//! Hashing many chunks.
//!
//! One SHA-256 is a chain of instructions that wait for each other, so a core with the SHA
//! extensions is idle half of the time. Two chunks that are hashed in step fill the gaps: 1.3 to 1.5 times the bytes per second (docs/benchmarks.md).

use crate::id::Id;

/// The ids of chunks, in order.
pub(crate) fn ids_of<'a>(chunks: impl Iterator<Item = &'a [u8]>, ids: &mut Vec<Id>) {
    ids.clear();
    let mut waiting: Option<&[u8]> = None;
    for chunk in chunks {
        match waiting.take() {
            Some(first) if first.len() == chunk.len() => ids.extend(pair_of(first, chunk)),
            Some(first) => {
                ids.push(Id::of(first));
                waiting = Some(chunk);
            }
            None => waiting = Some(chunk),
        }
    }
    ids.extend(waiting.map(Id::of));
}

/// The ids of two chunks, in less time than one after the other: as far as both go, in step.
pub(crate) fn pair_of(first: &[u8], second: &[u8]) -> [Id; 2] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sha")
        && std::arch::is_x86_feature_detected!("sse4.1")
        && std::arch::is_x86_feature_detected!("ssse3")
    {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { x86::pair_of(first, second) }.map(Id::from_bytes);
    }
    [Id::of(first), Id::of(second)]
}

/// SHA-256 after FIPS 180-4, by the instructions of Intel's SHA extensions.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi64x,
        _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
        _mm_shuffle_epi32, _mm_storeu_si128,
    };

    const LANES: usize = 2;
    const BLOCK: usize = 64;

    const START: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    #[rustfmt::skip]
    static ROUNDS: [u32; 64] = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ];

    /// The digests of two messages.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(super) fn pair_of(first: &[u8], second: &[u8]) -> [[u8; 32]; LANES] {
        let mut states = [Lane::start(); LANES];
        let both = first.len().min(second.len());
        let whole = both - both % BLOCK;
        let blocks = first[..whole]
            .chunks_exact(BLOCK)
            .zip(second[..whole].chunks_exact(BLOCK));
        for (a, b) in blocks {
            compress(&mut states, [a, b]);
        }
        let [a, b] = states;
        [
            finish(a, &first[whole..], first.len()),
            finish(b, &second[whole..], second.len()),
        ]
    }

    /// The digest of a message of which `rest` is still to be hashed.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn finish(lane: Lane, rest: &[u8], message_bytes: usize) -> [u8; 32] {
        // Nobody is in step any more, so the other lane does the same; that costs no time.
        let mut states = [lane; LANES];
        let blocks = rest.chunks_exact(BLOCK);
        let (last, length) = last_blocks(blocks.remainder(), message_bytes);
        for block in blocks.chain(last[..length].chunks_exact(BLOCK)) {
            compress(&mut states, [block; LANES]);
        }
        states[0].digest()
    }

    /// The rest of a message with its padding: one block or two.
    fn last_blocks(rest: &[u8], message_bytes: usize) -> ([u8; 2 * BLOCK], usize) {
        let mut blocks = [0; 2 * BLOCK];
        blocks[..rest.len()].copy_from_slice(rest);
        blocks[rest.len()] = 0x80;
        let length = if rest.len() < BLOCK - 8 {
            BLOCK
        } else {
            2 * BLOCK
        };
        let bits = message_bytes as u64 * 8;
        blocks[length - 8..length].copy_from_slice(&bits.to_be_bytes());
        (blocks, length)
    }

    /// The eight words of a state in the order that the instructions want: A B E F and C D G H.
    #[derive(Clone, Copy)]
    struct Lane {
        abef: __m128i,
        cdgh: __m128i,
    }

    impl Lane {
        #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
        fn start() -> Self {
            // SAFETY: both halves of the array are 16 bytes, and the load needs no alignment.
            let (dcba, hgfe) = unsafe {
                let words = START.as_ptr().cast::<__m128i>();
                (_mm_loadu_si128(words), _mm_loadu_si128(words.add(1)))
            };
            let cdab = _mm_shuffle_epi32(dcba, 0xB1);
            let efgh = _mm_shuffle_epi32(hgfe, 0x1B);
            Self {
                abef: _mm_alignr_epi8(cdab, efgh, 8),
                cdgh: _mm_blend_epi16(efgh, cdab, 0xF0),
            }
        }

        #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
        fn digest(self) -> [u8; 32] {
            let feba = _mm_shuffle_epi32(self.abef, 0x1B);
            let dchg = _mm_shuffle_epi32(self.cdgh, 0xB1);
            let dcba = _mm_blend_epi16(feba, dchg, 0xF0);
            let hgfe = _mm_alignr_epi8(dchg, feba, 8);
            let mut bytes = [0; 32];
            // SAFETY: both halves of the array are 16 bytes, and the store needs no alignment.
            unsafe {
                let out = bytes.as_mut_ptr().cast::<__m128i>();
                _mm_storeu_si128(out, big_endian(dcba));
                _mm_storeu_si128(out.add(1), big_endian(hgfe));
            }
            bytes
        }
    }

    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn big_endian(words: __m128i) -> __m128i {
        _mm_shuffle_epi8(
            words,
            _mm_set_epi64x(0x0C0D_0E0F_0809_0A0B, 0x0405_0607_0001_0203),
        )
    }

    /// One block of each message, in step.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    #[inline]
    fn compress(states: &mut [Lane; LANES], blocks: [&[u8]; LANES]) {
        let before = *states;
        let mut words = [[_mm_set_epi64x(0, 0); 4]; LANES];
        for (lane, block) in blocks.iter().enumerate() {
            for (word, part) in words[lane].iter_mut().zip(block.chunks_exact(16)) {
                // SAFETY: the part is 16 bytes, and the load needs no alignment.
                *word = big_endian(unsafe { _mm_loadu_si128(part.as_ptr().cast()) });
            }
        }
        // Written out, because a loop would keep the words in memory and not in registers.
        four_rounds::<0>(states, &mut words);
        four_rounds::<1>(states, &mut words);
        four_rounds::<2>(states, &mut words);
        four_rounds::<3>(states, &mut words);
        four_rounds::<4>(states, &mut words);
        four_rounds::<5>(states, &mut words);
        four_rounds::<6>(states, &mut words);
        four_rounds::<7>(states, &mut words);
        four_rounds::<8>(states, &mut words);
        four_rounds::<9>(states, &mut words);
        four_rounds::<10>(states, &mut words);
        four_rounds::<11>(states, &mut words);
        four_rounds::<12>(states, &mut words);
        four_rounds::<13>(states, &mut words);
        four_rounds::<14>(states, &mut words);
        four_rounds::<15>(states, &mut words);
        for (state, before) in states.iter_mut().zip(before) {
            state.abef = _mm_add_epi32(state.abef, before.abef);
            state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
        }
    }

    /// Four of the 64 rounds, on both messages in turn.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    #[inline]
    fn four_rounds<const STEP: usize>(
        states: &mut [Lane; LANES],
        words: &mut [[__m128i; 4]; LANES],
    ) {
        // SAFETY: 4 * STEP + 4 is at most 64, and the load needs no alignment.
        let constants = unsafe { _mm_loadu_si128(ROUNDS.as_ptr().add(4 * STEP).cast()) };
        let [a, b] = states;
        let [words_a, words_b] = words;
        if STEP >= 4 {
            schedule::<STEP>(words_a);
            schedule::<STEP>(words_b);
        }
        let mixed_a = _mm_add_epi32(words_a[STEP % 4], constants);
        let mixed_b = _mm_add_epi32(words_b[STEP % 4], constants);
        a.cdgh = _mm_sha256rnds2_epu32(a.cdgh, a.abef, mixed_a);
        b.cdgh = _mm_sha256rnds2_epu32(b.cdgh, b.abef, mixed_b);
        a.abef = _mm_sha256rnds2_epu32(a.abef, a.cdgh, _mm_shuffle_epi32(mixed_a, 0x0E));
        b.abef = _mm_sha256rnds2_epu32(b.abef, b.cdgh, _mm_shuffle_epi32(mixed_b, 0x0E));
    }

    /// The next four words of the message schedule, in the place of the oldest ones.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    #[inline]
    fn schedule<const STEP: usize>(words: &mut [__m128i; 4]) {
        let [oldest, old, new, newest] = [
            words[STEP % 4],
            words[(STEP + 1) % 4],
            words[(STEP + 2) % 4],
            words[(STEP + 3) % 4],
        ];
        let sum = _mm_sha256msg1_epu32(oldest, old);
        let sum = _mm_add_epi32(sum, _mm_alignr_epi8(newest, new, 4));
        words[STEP % 4] = _mm_sha256msg2_epu32(sum, newest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_of_every_length_around_blocks_have_their_own_ids() {
        for length in (0..300).chain([4095, 4096, 65536]) {
            let first: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            let second: Vec<u8> = (0..length).map(|i| (i * 13 + 1) as u8).collect();
            assert_eq!(
                pair_of(&first, &second),
                [Id::of(&first), Id::of(&second)],
                "{length}"
            );
        }
    }

    #[test]
    fn pairs_of_different_lengths_have_their_own_ids() {
        let bytes: Vec<u8> = (0..1000).map(|i| (i * 11) as u8).collect();
        for first in [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 400] {
            for second in (0..300).chain([999, 1000]) {
                let (first, second) = (&bytes[..first], &bytes[bytes.len() - second..]);
                let ids = [Id::of(first), Id::of(second)];
                assert_eq!(
                    pair_of(first, second),
                    ids,
                    "{} {}",
                    first.len(),
                    second.len()
                );
                assert_eq!(pair_of(second, first), [ids[1], ids[0]]);
            }
        }
    }

    proptest! {
        #[test]
        fn many_chunks_have_the_ids_they_have_alone(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..12)
        ) {
            let mut ids = Vec::new();
            ids_of(chunks.iter().map(Vec::as_slice), &mut ids);
            let alone: Vec<_> = chunks.iter().map(|chunk| Id::of(chunk)).collect();
            prop_assert_eq!(ids, alone);
        }
    }
}
