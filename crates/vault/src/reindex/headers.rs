//! Reads packs' own headers, without the rest of the packs.

use crate::{
    error::VaultError,
    id::Id,
    pack::{self, PackedBlob},
    store::{FileKind, ObjectKey},
    vault::Vault,
};

/// Read from a pack's end at first: the headers of most packs fit, and asking twice costs more than reading this much.
const TAIL_BYTES: u64 = 32 << 10;
const LENGTH_BYTES: u64 = 4;

impl Vault {
    /// What the pack says of itself, which has `size_bytes` bytes in all.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] if the header is cut or changed, or speaks of a pack of another length; or as the store
    /// failed.
    pub(crate) fn read_pack_header(
        &self,
        id: &Id,
        size_bytes: u64,
    ) -> Result<Vec<PackedBlob>, VaultError> {
        let damaged = |reason: &str| VaultError::damaged(FileKind::Pack, id, reason);
        let mut tail = self.read_tail(id, size_bytes, TAIL_BYTES)?;
        let length = tail.last_chunk::<4>().ok_or_else(|| damaged("it is cut"))?;
        let header_bytes = u64::from(u32::from_le_bytes(*length)) + LENGTH_BYTES;
        if header_bytes > size_bytes {
            return Err(damaged("its header is cut"));
        }
        if header_bytes > tail.len() as u64 {
            tail = self.read_tail(id, size_bytes, header_bytes)?;
        }
        let blobs = pack::read_header(&tail, id, &self.key)?;
        let body_bytes: u64 = blobs.iter().map(|blob| u64::from(blob.length)).sum();
        if body_bytes + header_bytes != size_bytes {
            return Err(damaged("its header speaks of a pack of another length"));
        }
        Ok(blobs)
    }

    fn read_tail(&self, id: &Id, size_bytes: u64, most: u64) -> Result<Vec<u8>, VaultError> {
        let length = size_bytes.min(most);
        let mut tail = vec![0; length as usize];
        let key = ObjectKey::of(FileKind::Pack, id);
        self.store
            .read_range(&key, size_bytes - length, &mut tail)?;
        Ok(tail)
    }
}
