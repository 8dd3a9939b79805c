//! The code: a Reed–Solomon code in Cauchy's form. Of a row of blocks, any as many may be lost as there are parity blocks.
//!
//! Parity block `p` is the sum over all slots `s` of the block in slot `s` times `1 / (p + 128 + s)` in the field with 256
//! elements. Any square part of a matrix of such numbers can be inverted. A factor depends on nothing but its two numbers,
//! so that a member of a group can come and go without the others being read: to take it out is to add it once more.
//!
//! Source: J. Blömer and others, "An XOR-based erasure-resilient coding scheme" (1995).

use super::field::{add_scaled, inverse, multiply};

/// Slots of a group at most.
pub(super) const MOST_SLOTS: u8 = 128;
/// Parity blocks of a row at most.
pub(super) const MOST_SHARDS: u8 = 64;

/// What the block of a slot is multiplied by in a parity block.
pub(super) const fn factor(slot: u8, shard: u8) -> u8 {
    inverse(shard ^ (MOST_SLOTS | slot))
}

/// Adds the bytes of a slot to all parity, or takes them out of it.
pub(super) fn add_member(shards: &mut [Vec<u8>], slot: u8, bytes: &[u8]) {
    let factors: Vec<u8> = (0..shards.len())
        .map(|shard| factor(slot, shard as u8))
        .collect();
    add_scaled(shards, bytes, &factors);
}

/// Finds lost blocks of one row.
pub(super) struct Row {
    lost: Vec<u8>,
    shards: Vec<u8>,
    /// What is left of parity when all blocks that are there are taken out.
    sums: Vec<Vec<u8>>,
}

impl Row {
    /// A row in which the blocks of these slots are lost, and these parity blocks are there; `None` if they are too few.
    pub fn new(lost: Vec<u8>, parity: impl IntoIterator<Item = (u8, Vec<u8>)>) -> Option<Self> {
        let (shards, sums): (Vec<u8>, Vec<Vec<u8>>) = parity.into_iter().take(lost.len()).unzip();
        (shards.len() == lost.len()).then_some(Self { lost, shards, sums })
    }

    /// Takes in a block that is there.
    pub fn take_out(&mut self, slot: u8, block: &[u8]) {
        let factors: Vec<u8> = self.shards.iter().map(|p| factor(slot, *p)).collect();
        add_scaled(&mut self.sums, block, &factors);
    }

    /// The block of a lost slot, as long as a parity block; `None` if the slot is not lost.
    pub fn solve(&self, slot: u8) -> Option<Vec<u8>> {
        let number = self.lost.iter().position(|lost| *lost == slot)?;
        let solution = inverted(&self.lost, &self.shards)?;
        let length = self.sums.first()?.len();
        let mut block = [vec![0; length]];
        for (sum, factor) in self.sums.iter().zip(solution.get(number)?) {
            add_scaled(&mut block, sum, &[*factor]);
        }
        let [block] = block;
        Some(block)
    }
}

/// The inverse of the factors of these slots (columns) in these parity blocks (rows), by Gauss and Jordan.
fn inverted(slots: &[u8], shards: &[u8]) -> Option<Vec<Vec<u8>>> {
    let size = slots.len();
    let mut rows: Vec<Vec<u8>> = (0..size)
        .map(|at| {
            let left = slots.iter().map(|slot| factor(*slot, shards[at]));
            let right = (0..size).map(|column| u8::from(column == at));
            left.chain(right).collect()
        })
        .collect();
    for column in 0..size {
        let pivot = (column..size).find(|row| rows[*row][column] != 0)?;
        rows.swap(column, pivot);
        let scale = inverse(rows[column][column]);
        rows[column]
            .iter_mut()
            .for_each(|x| *x = multiply(*x, scale));
        let own = rows[column].clone();
        for (number, row) in rows.iter_mut().enumerate() {
            let times = row[column];
            if number != column && times != 0 {
                row.iter_mut()
                    .zip(&own)
                    .for_each(|(x, y)| *x ^= multiply(*y, times));
            }
        }
    }
    Some(rows.into_iter().map(|row| row[size..].to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(|_| next()).collect()
    }

    proptest! {
        #[test]
        fn as_many_blocks_come_back_as_there_are_parity_blocks_and_not_one_more(
            slots in 1..=MOST_SLOTS, parity in 1_u8..=20, seed: u64, order: u64,
        ) {
            let length = 70;
            let data: Vec<Vec<u8>> = (0..slots).map(|s| block(seed ^ u64::from(s) << 20, length)).collect();
            let mut shards = vec![vec![0; length]; usize::from(parity)];
            for (slot, bytes) in data.iter().enumerate() {
                add_member(&mut shards, slot as u8, bytes);
            }
            // Any blocks of the row, parity or not, are lost.
            let mut all: Vec<(bool, u8)> = (0..slots).map(|s| (true, s)).chain((0..parity).map(|p| (false, p))).collect();
            all.sort_by_key(|(is_data, n)| block(order ^ u64::from(*n) << 9 ^ u64::from(*is_data) << 30, 8));
            for too_many in [0, 1] {
                let gone = &all[..(usize::from(parity) + too_many).min(all.len())];
                let lost: Vec<u8> = gone.iter().filter(|g| g.0).map(|g| g.1).collect();
                let there = (0..parity).filter(|p| !gone.contains(&(false, *p)));
                let Some(mut row) = Row::new(lost.clone(), there.map(|p| (p, shards[usize::from(p)].clone()))) else {
                    prop_assert!(too_many == 1);
                    continue;
                };
                prop_assert!(too_many == 0 || lost.is_empty() || gone.len() <= usize::from(parity) );
                for slot in (0..slots).filter(|s| !lost.contains(s)) {
                    row.take_out(slot, &data[usize::from(slot)]);
                }
                for slot in &lost {
                    let solved = row.solve(*slot);
                    prop_assert_eq!(solved.as_ref(), Some(&data[usize::from(*slot)]));
                }
            }
        }
    }

    #[test]
    fn what_is_added_twice_was_never_there() {
        let mut shards = vec![vec![0; 100]; 3];
        add_member(&mut shards, 7, &block(1, 100));
        let before = shards.clone();
        add_member(&mut shards, 9, &block(2, 90));
        assert_ne!(shards, before);
        add_member(&mut shards, 9, &block(2, 90));
        assert_eq!(shards, before);
    }

    #[test]
    fn the_code_never_changes() {
        // Parity that was written once is read for ever.
        let mut shards = vec![vec![0; 4]; 2];
        add_member(&mut shards, 0, &[1, 2, 3, 4]);
        add_member(&mut shards, 19, &[0xff, 0, 0x80, 7]);
        let factors = [(0, 0), (0, 1), (19, 0), (19, 1)].map(|(s, p)| factor(s, p));
        assert_eq!(factors.map(|f| multiply(f, 1)), factors);
        assert_eq!(multiply(factor(0, 0), 0x80), 1);
        assert_eq!(multiply(factor(19, 1), 0x92), 1);
        let expected: Vec<u8> = (0..4)
            .map(|n| {
                multiply(factor(0, 0), [1, 2, 3, 4][n])
                    ^ multiply(factor(19, 0), [0xff, 0, 0x80, 7][n])
            })
            .collect();
        assert_eq!(shards[0], expected);
    }
}
