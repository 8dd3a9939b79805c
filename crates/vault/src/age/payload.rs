//! The content: pieces of 64 KiB, each encrypted with its number and whether it is the last, so
//! that none can be changed, moved, left out or added.

use ring::aead::{Aad, Nonce};

use super::{AgeError, FileKey, crypto::TAG_BYTES};

const PIECE_BYTES: usize = 64 << 10;
const NONCE_BYTES: usize = 16;

/// How long a file is: this header and content of this length.
pub(super) fn sealed_bytes(header_bytes: usize, plain_bytes: usize) -> usize {
    let pieces = plain_bytes.div_ceil(PIECE_BYTES).max(1);
    header_bytes + NONCE_BYTES + plain_bytes + pieces * TAG_BYTES
}

/// Turns content into a whole file behind this header. Nothing is moved in memory if there is room
/// behind the content, but the content itself, by some hundred bytes.
pub(super) fn seal_in_place(
    file_key: &FileKey,
    header: &[u8],
    content: &mut Vec<u8>,
) -> Result<(), AgeError> {
    let mut nonce_bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce_bytes)?;
    let key = file_key.payload_key(&nonce_bytes)?;
    let plain_bytes = content.len();
    let file_bytes = sealed_bytes(header.len(), plain_bytes);
    content.reserve_exact(file_bytes - plain_bytes);
    content.resize(file_bytes, 0);
    let payload_start = header.len() + NONCE_BYTES;
    // The last piece first: each goes to a place behind its old one, which is free by then.
    for piece in (0..plain_bytes.div_ceil(PIECE_BYTES).max(1)).rev() {
        let from = piece * PIECE_BYTES;
        let end = plain_bytes.min(from + PIECE_BYTES);
        let to = payload_start + piece * (PIECE_BYTES + TAG_BYTES);
        content.copy_within(from..end, to);
        let (plain, after) = content[to..].split_at_mut(end - from);
        let tag = key
            .seal_in_place_separate_tag(
                nonce(piece as u64, end == plain_bytes),
                Aad::empty(),
                plain,
            )
            .map_err(|_| AgeError::Refused)?;
        after[..TAG_BYTES].copy_from_slice(tag.as_ref());
    }
    content[..header.len()].copy_from_slice(header);
    content[header.len()..payload_start].copy_from_slice(&nonce_bytes);
    Ok(())
}

/// Turns a whole file into its content.
pub(super) fn open_in_place(
    file_key: &FileKey,
    file: &mut Vec<u8>,
    payload_start: usize,
) -> Result<(), AgeError> {
    let changed = |piece| AgeError::PayloadChanged { piece };
    let mut from = payload_start + NONCE_BYTES;
    let key = file_key.payload_key(file.get(payload_start..from).ok_or(changed(0))?)?;
    let (mut plain_end, mut piece) = (0, 0);
    loop {
        let sealed_bytes = (file.len() - from).min(PIECE_BYTES + TAG_BYTES);
        let is_last = from + sealed_bytes == file.len();
        let sealed = &mut file[from..from + sealed_bytes];
        let plain = key
            .open_in_place(nonce(piece, is_last), Aad::empty(), sealed)
            .map_err(|_| changed(piece))?
            .len();
        // Only a file without content has an empty piece.
        if plain == 0 && piece > 0 {
            return Err(changed(piece));
        }
        file.copy_within(from..from + plain, plain_end);
        plain_end += plain;
        if is_last {
            break;
        }
        from += sealed_bytes;
        piece += 1;
    }
    file.truncate(plain_end);
    Ok(())
}

/// 11 bytes of the piece's number, big-endian, and whether it is the last.
fn nonce(piece: u64, is_last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&piece.to_be_bytes());
    bytes[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(bytes)
}
