//! Opens sealed blobs: decrypts, decompresses, and verifies each against its id.

use crate::{
    blob,
    crypto::{Key, body_of},
    error::VaultError,
    hash,
    id::Id,
    pack::PackedBlob,
    store::FileKind,
};

/// Opens blobs of a pack, two at a time where it can, because two hashes cost less together.
#[derive(Default)]
pub(crate) struct Opener {
    plain: [Vec<u8>; 2],
}

impl Opener {
    /// Opens blobs whose sealed bytes lie in `bytes`, which begins at the byte `start` of the
    /// pack. Calls `each` with the number of the blob and what came of it, in order.
    ///
    /// # Errors
    /// The first error of `each`.
    pub fn open_each<E>(
        &mut self,
        key: &Key,
        pack: &Id,
        bytes: (u32, &mut [u8]),
        blobs: impl Iterator<Item = PackedBlob>,
        mut each: impl FnMut(usize, Result<&[u8], VaultError>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open_each_twofold(key, pack, bytes, blobs, |number, opened| {
            each(number, opened.map(|opened| opened.plain))
        })
    }

    /// As [`Opener::open_each`], and gives the bytes as they were before they were sealed, too: for
    /// whoever seals them again with another key.
    ///
    /// # Errors
    /// The first error of `each`.
    pub fn open_each_twofold<E>(
        &mut self,
        key: &Key,
        pack: &Id,
        (start, bytes): (u32, &mut [u8]),
        blobs: impl Iterator<Item = PackedBlob>,
        mut each: impl FnMut(usize, Result<Opened<'_>, VaultError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut blobs = blobs.enumerate();
        while let Some((number, first)) = blobs.next() {
            let second = blobs.next();
            let [plain_a, plain_b] = &mut self.plain;
            let a = decode(key, pack, &first, within(bytes, start, &first), plain_a);
            let Some((next_number, second)) = second else {
                let id = Id::of(plain_a);
                let opened = a.and_then(|()| verified(pack, &first, plain_a, id));
                each(number, with_body(opened, bytes, start, &first))?;
                break;
            };
            let b = decode(key, pack, &second, within(bytes, start, &second), plain_b);
            let [id_a, id_b] = match (&a, &b) {
                (Ok(()), Ok(())) => hash::pair_of(plain_a, plain_b),
                _ => [Id::of(plain_a), Id::of(plain_b)],
            };
            let opened = a.and_then(|()| verified(pack, &first, plain_a, id_a));
            each(number, with_body(opened, bytes, start, &first))?;
            let opened = b.and_then(|()| verified(pack, &second, plain_b, id_b));
            each(next_number, with_body(opened, bytes, start, &second))?;
        }
        Ok(())
    }

    /// Opens one blob, whose sealed bytes are `sealed`.
    ///
    /// # Errors
    /// [`VaultError::Damaged`], which names the pack and the blob.
    pub fn open(
        &mut self,
        key: &Key,
        pack: &Id,
        place: &PackedBlob,
        sealed: &mut [u8],
    ) -> Result<&[u8], VaultError> {
        let plain = &mut self.plain[0];
        decode(key, pack, place, Some(sealed), plain)?;
        let id = Id::of(plain);
        verified(pack, place, plain, id)
    }

    /// Opens one blob and gives its bytes away.
    ///
    /// # Errors
    /// As [`Opener::open`].
    pub fn into_opened(
        mut self,
        key: &Key,
        pack: &Id,
        place: &PackedBlob,
        sealed: &mut [u8],
    ) -> Result<Vec<u8>, VaultError> {
        self.open(key, pack, place, sealed)?;
        let [plain, _] = self.plain;
        Ok(plain)
    }
}

/// A blob that has the hash that is its name.
pub(crate) struct Opened<'a> {
    /// Its content.
    pub plain: &'a [u8],
    /// What was sealed: the content, or its compressed form.
    pub body: &'a [u8],
}

/// Adds the body of a blob that was opened in place.
fn with_body<'a>(
    opened: Result<&'a [u8], VaultError>,
    bytes: &'a mut [u8],
    start: u32,
    place: &PackedBlob,
) -> Result<Opened<'a>, VaultError> {
    let plain = opened?;
    // What could be opened is there, and longer than what sealing adds.
    let body = within(bytes, start, place).map_or(&[][..], |sealed| body_of(sealed));
    Ok(Opened { plain, body })
}

/// The sealed bytes of a blob; `None` if the pack ends before them.
fn within<'a>(bytes: &'a mut [u8], start: u32, place: &PackedBlob) -> Option<&'a mut [u8]> {
    let from = place.offset.checked_sub(start)? as usize;
    bytes.get_mut(from..)?.get_mut(..place.length as usize)
}

fn decode(
    key: &Key,
    pack: &Id,
    place: &PackedBlob,
    sealed: Option<&mut [u8]>,
    plain: &mut Vec<u8>,
) -> Result<(), VaultError> {
    let sealed = sealed.ok_or_else(|| damaged(pack, place, "the pack is cut before its end"))?;
    let body = key
        .open_in_place(sealed)
        .map_err(|error| damaged(pack, place, error))?;
    match place.uncompressed_length {
        Some(length) => blob::decompress(body, length as usize, plain)
            .map_err(|reason| damaged(pack, place, reason)),
        None => {
            plain.clear();
            plain.extend_from_slice(body);
            Ok(())
        }
    }
}

fn verified<'a>(
    pack: &Id,
    place: &PackedBlob,
    plain: &'a [u8],
    id: Id,
) -> Result<&'a [u8], VaultError> {
    let is_same = id == place.id;
    let reason = "its content does not have the hash that is its name";
    is_same
        .then_some(plain)
        .ok_or_else(|| damaged(pack, place, reason))
}

fn damaged(pack: &Id, place: &PackedBlob, reason: impl std::fmt::Display) -> VaultError {
    let reason = format!(
        "blob {} at byte {}: {reason}",
        place.id.short(),
        place.offset
    );
    VaultError::damaged(FileKind::Pack, pack, reason)
}
