//! One blob of the index in memory.

use std::collections::HashMap;

use crate::{blob::BlobKind, id::Id, pack::PackedBlob};

/// One blob, in as few bytes as hold it: there are millions of them. The two highest bits of `pack` tell the kind and whether
/// it is compressed. Lengths take three bytes; one that needs more is in [`Table::long`](super::table::Table::long).
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub id: Id,
    pack: [u8; 4],
    offset: [u8; 4],
    pub length: [u8; 3],
    plain_length: [u8; 3],
}

const _: () = assert!(size_of::<Entry>() == 46);
const TREE: u32 = 1 << 31;
const COMPRESSED: u32 = 1 << 30;
const PACK_NUMBER: u32 = COMPRESSED - 1;

/// Stands for a length of 16 MiB and more. No tool makes such blobs (restic's chunks end at 8 MiB), but the format allows
/// them.
pub(super) const LONG: u32 = (1 << 24) - 1;

/// The lengths of the blobs that are too long for their entries: by pack and offset, stored and plain.
pub(super) type LongBlobs = HashMap<(u32, u32), (u32, u32)>;

impl Entry {
    pub fn new(pack: u32, blob: &PackedBlob, long: &mut LongBlobs) -> Self {
        let tree = if blob.kind == BlobKind::Tree { TREE } else { 0 };
        let compressed = if blob.uncompressed_length.is_some() {
            COMPRESSED
        } else {
            0
        };
        let (length, plain_length) = (blob.length, blob.plain_length());
        if length >= LONG || plain_length >= LONG {
            long.insert((pack, blob.offset), (length, plain_length));
        }
        Self {
            id: blob.id,
            pack: (pack | tree | compressed).to_le_bytes(),
            offset: blob.offset.to_le_bytes(),
            length: short(length),
            plain_length: short(plain_length),
        }
    }

    pub const fn flags(&self) -> u32 {
        u32::from_le_bytes(self.pack)
    }

    pub const fn pack(&self) -> u32 {
        self.flags() & PACK_NUMBER
    }

    pub const fn offset(&self) -> u32 {
        u32::from_le_bytes(self.offset)
    }

    pub const fn kind(&self) -> BlobKind {
        if self.flags() & TREE != 0 {
            BlobKind::Tree
        } else {
            BlobKind::Data
        }
    }

    /// Stored and plain.
    pub fn lengths(&self, long: &LongBlobs) -> (u32, u32) {
        let (length, plain) = (widen(self.length), widen(self.plain_length));
        if length < LONG && plain < LONG {
            return (length, plain);
        }
        let known = long.get(&(self.pack(), self.offset())).copied();
        known.unwrap_or((length, plain))
    }

    pub fn blob(&self, long: &LongBlobs) -> PackedBlob {
        let (length, plain_length) = self.lengths(long);
        PackedBlob {
            id: self.id,
            kind: self.kind(),
            offset: self.offset(),
            length,
            uncompressed_length: (self.flags() & COMPRESSED != 0).then_some(plain_length),
        }
    }
}

const fn short(length: u32) -> [u8; 3] {
    let length = if length < LONG { length } else { LONG };
    let [low, middle, high, _] = length.to_le_bytes();
    [low, middle, high]
}

const fn widen([low, middle, high]: [u8; 3]) -> u32 {
    u32::from_le_bytes([low, middle, high, 0])
}
