//! Encryption of everything stored: AES-256-CTR with Poly1305-AES.
//!
//! A sealed message is `IV (16 bytes) || ciphertext || MAC (16 bytes)`, and the MAC covers the
//! ciphertext. Source: restic's design document, "Keys, Encryption and MAC".

use std::fmt;

use aes::{
    Aes128, Aes256,
    cipher::{
        Array, BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use poly1305::{Poly1305, universal_hash::UniversalHash};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Bytes that sealing adds to a message.
pub const OVERHEAD_BYTES: usize = IV_BYTES + MAC_BYTES;
const IV_BYTES: usize = 16;
const MAC_BYTES: usize = 16;

type AesCtr = StreamCipherCoreWrapper<ctr::CtrCore<Aes256, ctr::flavors::Ctr128BE>>;

/// The plain text in a message that [`Key::open_in_place`] has opened; empty if it is too short to be one.
pub fn body_of(opened: &[u8]) -> &[u8] {
    let end = opened.len().saturating_sub(MAC_BYTES);
    opened.get(IV_BYTES..end).unwrap_or_default()
}

/// A key that seals and opens: the repository's master key, or one derived from a password.
#[derive(Clone)]
pub struct Key {
    encrypt: Aes256,
    mac: Aes128,
    mac_r: [u8; 16],
    raw: Zeroizing<[u8; 64]>,
}

/// A message that could not be opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenError {
    /// The message is shorter than its own framing.
    #[error("{0} bytes are too few to be a sealed message")]
    TooShort(usize),
    /// The bytes were changed, or sealed by another key.
    #[error("the authentication code does not match: the bytes are damaged, or of another key")]
    Authentication,
}

impl Key {
    /// Takes 64 bytes: 32 for AES, 16 for the MAC's AES key, 16 for the MAC's `r`.
    #[must_use]
    pub fn from_bytes(raw: Zeroizing<[u8; 64]>) -> Self {
        let mut encrypt = Array::default();
        encrypt.copy_from_slice(&raw[..32]);
        let mut mac = Array::default();
        mac.copy_from_slice(&raw[32..48]);
        let mut mac_r = [0; 16];
        mac_r.copy_from_slice(&raw[48..]);
        Self {
            encrypt: Aes256::new(&encrypt),
            mac: Aes128::new(&mac),
            mac_r,
            raw,
        }
    }

    /// A new random key.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut raw = Zeroizing::new([0; 64]);
        getrandom::fill(raw.as_mut())?;
        clear_unused_bits(&mut raw[48..]);
        Ok(Self::from_bytes(raw))
    }

    /// Appends the sealed form of `plain` to `out`.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn seal_into(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), getrandom::Error> {
        let start = out.len();
        out.reserve(plain.len() + OVERHEAD_BYTES);
        let mut iv = [0; IV_BYTES];
        getrandom::fill(&mut iv)?;
        out.extend_from_slice(&iv);
        out.extend_from_slice(plain);
        let body = &mut out[start + IV_BYTES..];
        self.apply_keystream(&iv, body);
        let tag = self.tag(&iv, body);
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// The sealed form of `plain`.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
        let mut out = Vec::new();
        self.seal_into(plain, &mut out)?;
        Ok(out)
    }

    /// Opens a sealed message in place and returns the part of it that is the plain text.
    ///
    /// # Errors
    /// [`OpenError`] if the message is cut, changed, or of another key; it is unchanged then.
    pub fn open_in_place<'a>(&self, message: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        if message.len() < OVERHEAD_BYTES {
            return Err(OpenError::TooShort(message.len()));
        }
        let (iv, rest) = message.split_at_mut(IV_BYTES);
        let (body, tag) = rest.split_at_mut(rest.len() - MAC_BYTES);
        let mut iv_bytes = [0; IV_BYTES];
        iv_bytes.copy_from_slice(iv);
        if !equal_in_constant_time(&self.tag(&iv_bytes, body), tag) {
            return Err(OpenError::Authentication);
        }
        self.apply_keystream(&iv_bytes, body);
        Ok(body)
    }

    fn apply_keystream(&self, iv: &[u8; IV_BYTES], body: &mut [u8]) {
        let core = ctr::CtrCore::inner_iv_init(self.encrypt.clone(), &Array::from(*iv));
        AesCtr::from_core(core).apply_keystream(body);
    }

    fn tag(&self, iv: &[u8; IV_BYTES], body: &[u8]) -> [u8; MAC_BYTES] {
        let mut nonce = Array::from(*iv);
        self.mac.encrypt_block(&mut nonce);
        let mut one_time = Zeroizing::new([0; 32]);
        one_time[..16].copy_from_slice(&self.mac_r);
        one_time[16..].copy_from_slice(&nonce);
        authenticate(Poly1305::new(&Array::from(*one_time)), body)
    }

    /// A secret for another purpose, which tells nothing of this key.
    pub(crate) fn derive(&self, salt: &[u8], purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        crate::age::derive(&self.raw[..], salt, purpose)
    }

    /// The key as restic's key files hold it.
    pub(crate) fn to_stored(&self) -> StoredMasterKey {
        StoredMasterKey {
            mac: StoredMac {
                k: BASE64.encode(&self.raw[32..48]),
                r: BASE64.encode(&self.raw[48..]),
            },
            encrypt: BASE64.encode(&self.raw[..32]),
        }
    }

    /// The key out of restic's key file; `None` if its fields have the wrong lengths.
    pub(crate) fn from_stored(stored: &StoredMasterKey) -> Option<Self> {
        let mut raw = Zeroizing::new([0; 64]);
        let parts = [
            (&stored.encrypt, 0..32),
            (&stored.mac.k, 32..48),
            (&stored.mac.r, 48..64),
        ];
        for (text, range) in parts {
            let bytes = Zeroizing::new(BASE64.decode(text).ok()?);
            if bytes.len() != range.len() {
                return None;
            }
            raw[range].copy_from_slice(&bytes);
        }
        Some(Self::from_bytes(raw))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// The master key as JSON. Source: restic's design document, "Keys".
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredMasterKey {
    mac: StoredMac,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct StoredMac {
    k: String,
    r: String,
}

/// Poly1305 ignores 22 bits of `r` (RFC 8439, 2.5). restic writes them as zeros when it adds a password,
/// so a key that has others would be another one, by its bytes, behind each password, and what is
/// derived from it too.
fn clear_unused_bits(r: &mut [u8]) {
    for at in [3, 7, 11, 15] {
        r[at] &= 0x0f;
    }
    for at in [4, 8, 12] {
        r[at] &= 0xfc;
    }
}

/// The authentication code of `body`. `compute_unpadded` alone takes block by block; asked for many, the library takes four
/// at a time where the processor can.
fn authenticate(mut state: Poly1305, body: &[u8]) -> [u8; MAC_BYTES] {
    let (blocks, rest) = poly1305::Block::slice_as_chunks(body);
    state.update(blocks);
    state.compute_unpadded(rest).into()
}

fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_to_the_same_bytes() {
        let key = Key::random().unwrap();
        for length in [0, 1, 15, 16, 17, 1000] {
            let plain: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut sealed = key.seal(&plain).unwrap();
            assert_eq!(sealed.len(), plain.len() + OVERHEAD_BYTES);
            assert_eq!(key.open_in_place(&mut sealed).unwrap(), &plain[..]);
        }
    }

    #[test]
    fn blocks_by_fours_have_the_code_that_they_have_one_by_one() {
        let bytes: Vec<u8> = (0..4200).map(|i| (i * 31 % 251) as u8).collect();
        for length in (0..300).chain([4095, 4096, 4097, 4200]) {
            let fresh = || Poly1305::new(&Array::from([length as u8 | 1; 32]));
            let alone: [u8; MAC_BYTES] = fresh().compute_unpadded(&bytes[..length]).into();
            assert_eq!(authenticate(fresh(), &bytes[..length]), alone, "{length}");
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let key = Key::random().unwrap();
        let sealed = key.seal(b"the only copy").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                key.open_in_place(&mut damaged),
                Err(OpenError::Authentication)
            );
        }
    }

    #[test]
    fn a_cut_message_is_noticed() {
        let key = Key::random().unwrap();
        let sealed = key.seal(b"the only copy").unwrap();
        for length in 0..sealed.len() {
            assert!(key.open_in_place(&mut sealed[..length].to_vec()).is_err());
        }
    }

    #[test]
    fn another_key_does_not_open() {
        let mut sealed = Key::random().unwrap().seal(b"x").unwrap();
        assert!(Key::random().unwrap().open_in_place(&mut sealed).is_err());
    }

    #[test]
    fn a_key_survives_its_stored_form_and_never_prints() {
        let key = Key::random().unwrap();
        let again = Key::from_stored(&key.to_stored()).unwrap();
        let mut sealed = key.seal(b"x").unwrap();
        assert_eq!(again.open_in_place(&mut sealed).unwrap(), b"x");
        assert_eq!(format!("{key:?}"), "Key(***)");
    }
}
