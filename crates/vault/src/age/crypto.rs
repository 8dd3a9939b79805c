//! The few primitives of the format, each in the one form that it has there.

use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hmac,
};
use zeroize::Zeroizing;

use super::AgeError;

pub(super) const TAG_BYTES: usize = 16;
pub(super) const KEY_BYTES: usize = 32;
pub(super) const FILE_KEY_BYTES: usize = 16;

/// The key of one file, from which those of its header and payload are derived.
pub(crate) struct FileKey(pub(super) Zeroizing<[u8; FILE_KEY_BYTES]>);

impl FileKey {
    pub(super) fn random() -> Result<Self, AgeError> {
        let mut bytes = Zeroizing::new([0; FILE_KEY_BYTES]);
        getrandom::fill(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    /// The beginning of a secret that is as good as random.
    pub(crate) fn from_secret(secret: &[u8; KEY_BYTES]) -> Self {
        let mut bytes = Zeroizing::new([0; FILE_KEY_BYTES]);
        bytes.copy_from_slice(&secret[..FILE_KEY_BYTES]);
        Self(bytes)
    }

    /// The authentication code of a header, up to its `---`.
    pub(super) fn header_tag(&self, header: &[u8]) -> hmac::Tag {
        hmac::sign(&self.header_key(), header)
    }

    pub(super) fn is_header_tag(&self, header: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.header_key(), header, tag).is_ok()
    }

    fn header_key(&self) -> hmac::Key {
        let key = derive(&self.0[..], &[], b"header");
        hmac::Key::new(hmac::HMAC_SHA256, &*key)
    }

    pub(super) fn payload_key(&self, nonce: &[u8]) -> Result<LessSafeKey, AgeError> {
        cipher(&derive(&self.0[..], nonce, b"payload"))
    }

    /// The sealed form for a stanza, by a key that is never used again (the nonce is zero).
    pub(super) fn wrap(&self, key: &[u8; KEY_BYTES]) -> Result<Vec<u8>, AgeError> {
        let mut body = self.0.to_vec();
        cipher(key)?
            .seal_in_place_append_tag(zero_nonce(), Aad::empty(), &mut body)
            .map_err(|_| AgeError::Refused)?;
        Ok(body)
    }

    /// The file key in the body of a stanza; `None` if it is of another key.
    pub(super) fn unwrap(body: &[u8], key: &[u8; KEY_BYTES]) -> Result<Option<Self>, AgeError> {
        let mut body = Zeroizing::new(body.to_vec());
        let cipher = cipher(key)?;
        let Ok(plain) = cipher.open_in_place(zero_nonce(), Aad::empty(), &mut body) else {
            return Ok(None);
        };
        let plain: Option<[u8; FILE_KEY_BYTES]> = (&*plain).try_into().ok();
        Ok(plain.map(|bytes| Self(Zeroizing::new(bytes))))
    }
}

/// HKDF-SHA-256 for 32 bytes, which is one block of it. Source: RFC 5869.
pub(crate) fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    let extracted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), secret);
    let key = hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref());
    let mut block = hmac::Context::with_key(&key);
    block.update(info);
    block.update(&[1]);
    let mut out = Zeroizing::new([0; KEY_BYTES]);
    out.copy_from_slice(block.sign().as_ref());
    out
}

fn cipher(key: &[u8; KEY_BYTES]) -> Result<LessSafeKey, AgeError> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| AgeError::Refused)?;
    Ok(LessSafeKey::new(key))
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_derived_as_rfc_5869_derives_them() {
        // Test case 1, its first 32 bytes.
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf";
        assert_eq!(
            hex::encode(derive(&[0x0b; 22], &salt, &info).as_ref()),
            expected
        );
    }
}
