//! Where the pieces of a file lie, when the lengths of some are not known any more.

use std::ops::Range;

/// Where pieces lie and where nothing is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// First byte of each piece; `None` for a lost one, and for one whose place cannot be told.
    pub offsets: Vec<Option<u64>>,
    /// What no piece fills, in order.
    pub holes: Vec<Range<u64>>,
}

/// The layout of a file of `size` bytes whose pieces have these lengths, `None` where one is lost. Pieces before the
/// first lost one and after the last lost one are placed by the file's two ends; those between by the length that all
/// pieces of the file have in common, if they have one. `None` if the lengths contradict the size.
pub(super) fn of(lengths: &[Option<u32>], size: u64) -> Option<Layout> {
    let first = lengths.iter().position(Option::is_none)?;
    let last = lengths.iter().rposition(Option::is_none)?;
    let mut offsets = vec![None; lengths.len()];
    let (mut start, mut end) = (0, size);
    for (offset, length) in offsets.iter_mut().zip(lengths).take(first) {
        *offset = Some(start);
        start += u64::from((*length)?);
    }
    for (offset, length) in offsets.iter_mut().zip(lengths).skip(last + 1).rev() {
        end = end.checked_sub(u64::from((*length)?))?;
        *offset = Some(end);
    }
    if start > end {
        return None;
    }
    let between = &lengths[first..=last];
    let is_last_piece = last + 1 == lengths.len();
    if let Some(piece) = common_length(lengths, end - start, between.len(), is_last_piece) {
        for (number, offset) in offsets[first..=last].iter_mut().enumerate() {
            *offset = between[number].map(|_| start + number as u64 * piece);
        }
    }
    let holes = holes(lengths, &offsets, size);
    Some(Layout { offsets, holes })
}

/// The length of every piece (but the last, which may be shorter), if `count` pieces of it fill the `span` bytes between
/// what is known, and no known piece has another.
fn common_length(
    lengths: &[Option<u32>],
    span: u64,
    count: usize,
    with_last_piece: bool,
) -> Option<u64> {
    let all_but_last = &lengths[..lengths.len() - 1];
    let mut known = all_but_last.iter().flatten();
    let piece = u64::from(*known.next()?);
    if !known.all(|length| u64::from(*length) == piece) {
        return None;
    }
    let count = count as u64;
    let fits = if with_last_piece {
        span > (count - 1) * piece && span <= count * piece
    } else {
        span == count * piece
    };
    fits.then_some(piece)
}

fn holes(lengths: &[Option<u32>], offsets: &[Option<u64>], size: u64) -> Vec<Range<u64>> {
    let mut at = 0;
    let mut holes = Vec::new();
    for (length, offset) in lengths.iter().zip(offsets) {
        if let (Some(length), Some(offset)) = (length, offset) {
            holes.push(at..*offset);
            at = offset + u64::from(*length);
        }
    }
    holes.push(at..size);
    merged(holes)
}

/// Ranges in order, those that touch as one, empty ones left out.
pub(super) fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(lengths: &[u32], size: u64) -> (Vec<Option<u64>>, Vec<Range<u64>>) {
        // 0 stands for a lost piece.
        let lengths: Vec<_> = lengths.iter().map(|&n| (n != 0).then_some(n)).collect();
        let layout = of(&lengths, size).unwrap();
        (layout.offsets, layout.holes)
    }

    #[test]
    fn pieces_around_one_gap_are_placed_by_the_ends_of_the_file() {
        let (offsets, holes) = layout(&[5, 0, 0, 7, 1], 100);
        assert_eq!(offsets, [Some(0), None, None, Some(92), Some(99)]);
        assert_eq!((holes[0].clone(), holes.len()), (5..92, 1));
        assert_eq!(layout(&[0, 3], 10).1[0], 0..7);
        assert_eq!(layout(&[3, 0], 10).1[0], 3..10);
        let (offsets, holes) = layout(&[0], 10);
        assert_eq!((&offsets[..], holes.len()), (&[None][..], 1));
    }

    #[test]
    fn pieces_of_one_length_are_placed_between_gaps_too() {
        let (offsets, holes) = layout(&[4, 0, 4, 0, 4, 2], 22);
        assert_eq!(offsets, [Some(0), None, Some(8), None, Some(16), Some(20)]);
        assert_eq!(holes, vec![4..8, 12..16]);
        let (offsets, holes) = layout(&[0, 4, 0], 9);
        assert_eq!((offsets[1], holes), (Some(4), vec![0..4, 8..9]));
    }

    #[test]
    fn a_piece_whose_place_cannot_be_told_is_not_placed() {
        let (offsets, holes) = layout(&[5, 0, 6, 0, 9], 100);
        assert_eq!(offsets, [Some(0), None, None, None, Some(91)]);
        assert_eq!((holes[0].clone(), holes.len()), (5..91, 1));
    }

    #[test]
    fn lengths_that_contradict_the_size_place_nothing() {
        assert_eq!(of(&[Some(60), None, Some(60)], 100), None);
        assert_eq!(of(&[Some(200), None], 100), None);
        assert_eq!(of(&[Some(1), Some(1)], 2), None, "nothing is lost");
    }
}
