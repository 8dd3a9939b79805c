//! Packs: many sealed blobs in one file, with a sealed header at its end.
//!
//! `blob … blob || sealed header || header length (4 bytes, little endian)`. A header entry is a
//! type byte, the stored length, for compressed blobs the plain length, and the blob's id. Source:
//! restic's design document, "Pack Format".

use crate::{
    blob::BlobKind,
    crypto::{Key, OVERHEAD_BYTES},
    error::VaultError,
    id::Id,
    store::FileKind,
};

/// Where one blob lies in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackedBlob {
    /// SHA-256 of the plain bytes.
    pub id: Id,
    /// Data or tree.
    pub kind: BlobKind,
    /// First byte in the pack.
    pub offset: u32,
    /// Stored (compressed and sealed) length in bytes.
    pub length: u32,
    /// Length before compression; `None` if the blob is stored as it is.
    pub uncompressed_length: Option<u32>,
}

impl PackedBlob {
    /// Length of the plain bytes.
    #[must_use]
    pub fn plain_length(&self) -> u32 {
        let stored = self.length.saturating_sub(OVERHEAD_BYTES as u32);
        self.uncompressed_length.unwrap_or(stored)
    }
}

/// A pack being filled.
pub(crate) struct PackBuilder {
    bytes: Vec<u8>,
    blobs: Vec<PackedBlob>,
}

/// A pack with its header, ready to be stored.
pub(crate) struct FinishedPack {
    pub bytes: Vec<u8>,
    pub blobs: Vec<PackedBlob>,
}

impl PackBuilder {
    pub fn with_capacity(bytes: usize) -> Self {
        Self::reusing(Vec::with_capacity(bytes))
    }

    /// A pack in the memory of an earlier one.
    pub fn reusing(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self {
            bytes,
            blobs: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Bytes so far, without the header.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes a sealed blob; returns its stored length.
    pub fn add(&mut self, id: Id, kind: BlobKind, sealed: &[u8], uncompressed_length: Option<u32>) {
        self.blobs.push(PackedBlob {
            id,
            kind,
            offset: self.bytes.len() as u32,
            length: sealed.len() as u32,
            uncompressed_length,
        });
        self.bytes.extend_from_slice(sealed);
    }

    /// Writes the header.
    pub fn finish(mut self, key: &Key) -> Result<FinishedPack, VaultError> {
        let mut header = Vec::with_capacity(self.blobs.len() * LONG_ENTRY_BYTES);
        for blob in &self.blobs {
            write_entry(blob, &mut header);
        }
        let start = self.bytes.len();
        key.seal_into(&header, &mut self.bytes)?;
        let header_length = (self.bytes.len() - start) as u32;
        self.bytes.extend_from_slice(&header_length.to_le_bytes());
        Ok(FinishedPack {
            bytes: self.bytes,
            blobs: self.blobs,
        })
    }
}

const SHORT_ENTRY_BYTES: usize = 1 + 4 + 32;
const LONG_ENTRY_BYTES: usize = SHORT_ENTRY_BYTES + 4;

/// How long a pack with these blobs and their header is at least; it may hold others too.
pub(crate) fn least_bytes(blobs: &[PackedBlob]) -> u64 {
    let mut least = LeastBytes::default();
    blobs.iter().for_each(|blob| least.add(blob));
    least.bytes()
}

/// [`least_bytes`] of blobs that come one by one, in any order, each once.
#[derive(Clone, Copy, Default)]
pub(crate) struct LeastBytes {
    end: u64,
    header: u64,
}

impl LeastBytes {
    pub fn add(&mut self, blob: &PackedBlob) {
        let end = u64::from(blob.offset) + u64::from(blob.length);
        self.end = self.end.max(end);
        let entry = match blob.uncompressed_length {
            Some(_) => LONG_ENTRY_BYTES,
            None => SHORT_ENTRY_BYTES,
        };
        self.header += entry as u64;
    }

    pub fn bytes(self) -> u64 {
        self.end + self.header + (OVERHEAD_BYTES + size_of::<u32>()) as u64
    }
}

fn write_entry(blob: &PackedBlob, header: &mut Vec<u8>) {
    let kind = match blob.kind {
        BlobKind::Data => 0,
        BlobKind::Tree => 1,
    };
    header.push(
        kind + if blob.uncompressed_length.is_some() {
            2
        } else {
            0
        },
    );
    header.extend_from_slice(&blob.length.to_le_bytes());
    if let Some(length) = blob.uncompressed_length {
        header.extend_from_slice(&length.to_le_bytes());
    }
    header.extend_from_slice(blob.id.as_bytes());
}

/// Reads the header out of a whole pack.
///
/// # Errors
/// [`VaultError::Damaged`] if it is cut or changed.
pub(crate) fn read_header(
    pack: &[u8],
    name: &Id,
    key: &Key,
) -> Result<Vec<PackedBlob>, VaultError> {
    let damaged = |reason: &str| VaultError::damaged(FileKind::Pack, name, reason);
    let (rest, length) = pack
        .split_last_chunk::<4>()
        .ok_or_else(|| damaged("it is cut"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let start = rest
        .len()
        .checked_sub(length)
        .ok_or_else(|| damaged("its header is cut"))?;
    let mut sealed = rest[start..].to_vec();
    let header = key
        .open_in_place(&mut sealed)
        .map_err(|error| VaultError::unsealable(FileKind::Pack, name, &error))?;
    parse_header(header).ok_or_else(|| damaged("its header does not parse"))
}

fn parse_header(mut header: &[u8]) -> Option<Vec<PackedBlob>> {
    let mut blobs = Vec::new();
    let mut offset = 0_u32;
    while !header.is_empty() {
        let compressed = header[0] & 2 != 0;
        let kind = match header[0] {
            0 | 2 => BlobKind::Data,
            1 | 3 => BlobKind::Tree,
            _ => return None,
        };
        let size = if compressed {
            LONG_ENTRY_BYTES
        } else {
            SHORT_ENTRY_BYTES
        };
        let (entry, rest) = header.split_at_checked(size)?;
        let number = |at: usize| Some(u32::from_le_bytes(entry[at..at + 4].try_into().ok()?));
        let length = number(1)?;
        let uncompressed_length = if compressed { Some(number(5)?) } else { None };
        let id = Id::from_bytes(entry[size - 32..].try_into().ok()?);
        blobs.push(PackedBlob {
            id,
            kind,
            offset,
            length,
            uncompressed_length,
        });
        offset = offset.checked_add(length)?;
        header = rest;
    }
    Some(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_tells_what_is_in_it() {
        let key = Key::random().unwrap();
        let mut builder = PackBuilder::with_capacity(0);
        for (text, kind, plain) in [
            ("one", BlobKind::Data, None),
            ("two", BlobKind::Tree, Some(9)),
        ] {
            let sealed = key.seal(text.as_bytes()).unwrap();
            builder.add(Id::of(text.as_bytes()), kind, &sealed, plain);
        }
        let pack = builder.finish(&key).unwrap();
        let read = read_header(&pack.bytes, &Id::of(&pack.bytes), &key).unwrap();
        assert_eq!(read, pack.blobs);
        assert_eq!(read[1].offset, read[0].length);
        assert_eq!((read[0].plain_length(), read[1].plain_length()), (3, 9));
        assert_eq!(least_bytes(&read), pack.bytes.len() as u64);
    }

    #[test]
    fn a_cut_pack_is_damage_wherever_it_is_cut() {
        let key = Key::random().unwrap();
        let mut builder = PackBuilder::with_capacity(0);
        builder.add(Id::of(b"x"), BlobKind::Data, &key.seal(b"x").unwrap(), None);
        let pack = builder.finish(&key).unwrap();
        for length in 0..pack.bytes.len() {
            let cut = &pack.bytes[..length];
            assert!(read_header(cut, &Id::of(cut), &key).is_err(), "{length}");
        }
    }
}
