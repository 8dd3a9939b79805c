//! Reads many blobs of a pack with few requests.

use std::ops::Range;

use crate::{
    error::VaultError,
    id::Id,
    pack::PackedBlob,
    store::{FileKind, ObjectKey},
    vault::Vault,
};

/// Bytes of a pack that are read at once…
const MOST_RANGE_BYTES: u64 = 8 << 20;
/// …over gaps of at most so many bytes, which are cheaper to read than to ask for anew.
const MOST_GAP_BYTES: u64 = 256 << 10;

/// Splits blobs of one pack, in the order of their places, into ranges that are read at once.
pub(super) fn ranges(blobs: &[PackedBlob]) -> Vec<Range<usize>> {
    let end = |blob: &PackedBlob| u64::from(blob.offset) + u64::from(blob.length);
    let mut ranges = Vec::new();
    let mut start = 0;
    for at in 1..=blobs.len() {
        let fits = blobs.get(at).is_some_and(|blob| {
            let gap = u64::from(blob.offset).saturating_sub(end(&blobs[at - 1]));
            let length = end(blob).saturating_sub(u64::from(blobs[start].offset));
            length <= MOST_RANGE_BYTES && gap <= MOST_GAP_BYTES
        });
        if !fits {
            ranges.push(start..at);
            start = at;
        }
    }
    ranges
}

/// Reads the bytes from the first to the last of `blobs` into `bytes`.
pub(super) fn read(
    vault: &Vault,
    pack: &Id,
    blobs: &[PackedBlob],
    bytes: &mut Vec<u8>,
) -> Result<(), VaultError> {
    let (Some(first), Some(last)) = (blobs.first(), blobs.last()) else {
        return Ok(());
    };
    let end = u64::from(last.offset) + u64::from(last.length);
    bytes.resize((end - u64::from(first.offset)) as usize, 0);
    let key = ObjectKey::of(FileKind::Pack, pack);
    Ok(vault
        .store
        .read_range(&key, u64::from(first.offset), bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobKind;

    #[test]
    fn neighbours_are_read_together_and_what_lies_far_apart_is_not() {
        let blob = |offset: u32, length: u32| PackedBlob {
            id: Id::of(b"x"),
            kind: BlobKind::Data,
            offset,
            length,
            uncompressed_length: None,
        };
        let near = [blob(0, 10), blob(10, 10), blob(100_000, 10)];
        assert_eq!((ranges(&near).len(), &ranges(&near)[0]), (1, &(0..3)));
        let far = [blob(0, 10), blob(300_000, 10), blob(300_010, 9 << 20)];
        assert_eq!(ranges(&far), [0..1, 1..2, 2..3]);
        assert!(ranges(&[]).is_empty());
    }
}
