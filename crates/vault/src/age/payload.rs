//! The content: pieces of 64 KiB, each encrypted with its number and whether it is the last, so
//! that none can be changed, moved, left out or added.

use ring::aead::{Aad, LessSafeKey, Nonce};

use super::{AgeError, FileKey, crypto::TAG_BYTES};

const PIECE_BYTES: usize = 64 << 10;
const NONCE_BYTES: usize = 16;

/// Encrypts content that arrives in parts, each piece in the place where it stays.
pub(super) struct Sealer {
    key: LessSafeKey,
    out: Vec<u8>,
    /// Where the piece begins that is being filled.
    piece_start: usize,
    piece: u64,
}

impl Sealer {
    /// Goes on after what is in `out`.
    pub fn start(
        file_key: &FileKey,
        mut out: Vec<u8>,
        plain_bytes: usize,
    ) -> Result<Self, AgeError> {
        let tags = (plain_bytes / PIECE_BYTES + 1) * TAG_BYTES;
        out.reserve_exact(NONCE_BYTES + plain_bytes + tags);
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        out.extend_from_slice(&nonce);
        Ok(Self {
            key: file_key.payload_key(&nonce)?,
            piece_start: out.len(),
            out,
            piece: 0,
        })
    }

    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), AgeError> {
        while !bytes.is_empty() {
            // A full piece waits until it is known not to be the last.
            if self.out.len() - self.piece_start == PIECE_BYTES {
                self.seal_piece(false)?;
            }
            let room = PIECE_BYTES - (self.out.len() - self.piece_start);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.out.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<Vec<u8>, AgeError> {
        self.seal_piece(true)?;
        Ok(self.out)
    }

    fn seal_piece(&mut self, is_last: bool) -> Result<(), AgeError> {
        let tag = self
            .key
            .seal_in_place_separate_tag(
                nonce(self.piece, is_last),
                Aad::empty(),
                &mut self.out[self.piece_start..],
            )
            .map_err(|_| AgeError::Refused)?;
        self.out.extend_from_slice(tag.as_ref());
        self.piece += 1;
        self.piece_start = self.out.len();
        Ok(())
    }
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
