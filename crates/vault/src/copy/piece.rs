//! Blobs that are to be copied, and where they lie.

use std::ops::Range;

use crate::{id::Id, index::Location, pack::PackedBlob};

/// So many are collected before they are copied: the more, the longer the stretches that are read.
pub(super) const MOST_PIECES: usize = 1 << 17;
/// Bytes of a pack that are read at once…
const MOST_RANGE_BYTES: u64 = 8 << 20;
/// …over gaps of at most so many bytes, which are cheaper to read than to ask for anew.
const MOST_GAP_BYTES: u64 = 256 << 10;

/// A blob in the source.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub pack: Id,
    pub blob: PackedBlob,
}

impl From<Location> for Piece {
    fn from(location: Location) -> Self {
        Self {
            pack: location.pack,
            blob: location.blob,
        }
    }
}

#[cfg(test)]
impl Piece {
    pub fn example(number: u32) -> Self {
        Self {
            pack: Id::of(b"pack"),
            blob: PackedBlob {
                id: Id::of(&number.to_le_bytes()),
                kind: crate::blob::BlobKind::Data,
                offset: number * 100,
                length: 100,
                uncompressed_length: None,
            },
        }
    }
}

/// Pieces that are collected and not copied yet.
#[derive(Default)]
pub(super) struct Batch {
    pieces: Vec<Piece>,
    bytes: u64,
}

impl Batch {
    /// Takes a piece in; whether it is time to copy.
    pub fn add(&mut self, piece: Piece) -> bool {
        self.bytes += u64::from(piece.blob.length);
        self.pieces.push(piece);
        self.pieces.len() >= MOST_PIECES
    }

    /// Stored bytes of what is in it.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives everything away, in the order of packs and places.
    pub fn take(&mut self) -> Vec<Piece> {
        self.bytes = 0;
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.sort_unstable_by_key(|piece| (piece.pack, piece.blob.offset));
        pieces
    }
}

/// The pieces of each pack, which one thread copies, so that they stay together.
pub(super) fn by_pack(pieces: &[Piece]) -> Vec<&[Piece]> {
    pieces.chunk_by(|a, b| a.pack == b.pack).collect()
}

/// Splits the pieces of a pack into ranges that are read at once.
pub(super) fn ranges(pieces: &[Piece]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for at in 1..=pieces.len() {
        let fits = pieces.get(at).is_some_and(|piece| {
            let (first, before) = (&pieces[start].blob, &pieces[at - 1].blob);
            let end = u64::from(piece.blob.offset) + u64::from(piece.blob.length);
            let ended = u64::from(before.offset) + u64::from(before.length);
            end - u64::from(first.offset) <= MOST_RANGE_BYTES
                && u64::from(piece.blob.offset).saturating_sub(ended) <= MOST_GAP_BYTES
        });
        if !fits {
            ranges.push(start..at);
            start = at;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_bounded_and_leaves_in_the_order_of_the_pack() {
        let mut batch = Batch::default();
        let full = (0..=MOST_PIECES).find(|_| batch.add(Piece::example(1)));
        assert_eq!(full, Some(MOST_PIECES - 1));
        batch.take();
        assert_eq!((batch.bytes(), batch.take().len()), (0, 0));
        for number in [3, 1, 2] {
            batch.add(Piece::example(number));
        }
        assert_eq!(batch.bytes(), 300);
        let offsets: Vec<_> = batch.take().iter().map(|p| p.blob.offset).collect();
        assert_eq!(offsets, [100, 200, 300]);
    }

    #[test]
    fn neighbours_are_read_at_once_and_others_are_not() {
        let mut pieces: Vec<_> = (0..10).map(Piece::example).collect();
        assert_eq!(ranges(&pieces).first(), Some(&(0..10)));
        pieces[5].blob.offset += 10 << 20;
        assert_eq!(ranges(&pieces[..6]), [0..5, 5..6]);
        assert!(ranges(&[]).is_empty());
    }
}
