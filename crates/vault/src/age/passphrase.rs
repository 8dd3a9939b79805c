//! The file key sealed by a passphrase, with scrypt.

use zeroize::Zeroizing;

use super::{
    AgeError, FileKey, PASSPHRASE_LOG_N,
    crypto::{FILE_KEY_BYTES, KEY_BYTES, TAG_BYTES},
    header::{Stanza, decoded, encoded},
};

const KIND: &str = "scrypt";
const SALT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";
pub(super) const SALT_BYTES: usize = 16;

pub(super) fn is_one(stanza: &Stanza) -> bool {
    stanza.words.first().is_some_and(|word| word == KIND)
}

pub(crate) fn random_salt() -> Result<[u8; SALT_BYTES], AgeError> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt)?;
    Ok(salt)
}

pub(super) fn wrap(
    file_key: &FileKey,
    passphrase: &str,
    log_n: u8,
    salt: &[u8; SALT_BYTES],
) -> Result<Stanza, AgeError> {
    let key = wrapping_key(passphrase, salt, log_n)?;
    Ok(Stanza {
        words: vec![KIND.to_owned(), encoded(salt), log_n.to_string()],
        body: file_key.wrap(&key)?,
    })
}

pub(super) fn unwrap(stanza: &Stanza, passphrase: &str) -> Result<FileKey, AgeError> {
    let (salt, log_n) = parts(stanza)?;
    if stanza.body.len() != FILE_KEY_BYTES + TAG_BYTES {
        return Err(AgeError::Malformed(
            "the body of a scrypt stanza is 32 bytes",
        ));
    }
    let key = wrapping_key(passphrase, &salt, log_n)?;
    FileKey::unwrap(&stanza.body, &key)?.ok_or(AgeError::WrongPassphrase)
}

/// Salt and cost.
pub(super) fn parts(stanza: &Stanza) -> Result<([u8; SALT_BYTES], u8), AgeError> {
    let [_, salt, cost] = &stanza.words[..] else {
        return Err(AgeError::Malformed("a scrypt stanza has two arguments"));
    };
    let log_n: u8 = cost.parse().unwrap_or_default();
    // Only the one way to write the number: no sign, no zero before it.
    if log_n.to_string() != *cost {
        return Err(AgeError::Malformed("the cost of a scrypt stanza is wrong"));
    }
    Ok((decoded(salt)?, log_n))
}

fn wrapping_key(
    passphrase: &str,
    salt: &[u8; SALT_BYTES],
    log_n: u8,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, AgeError> {
    if !PASSPHRASE_LOG_N.contains(&log_n) {
        return Err(AgeError::WorkFactor { log_n });
    }
    let params = scrypt::Params::new(log_n, 8, 1).map_err(|_| AgeError::WorkFactor { log_n })?;
    let salt = [SALT_LABEL, salt].concat();
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    scrypt::scrypt(passphrase.as_bytes(), &salt, &params, key.as_mut())
        .map_err(|_| AgeError::Refused)?;
    Ok(key)
}
