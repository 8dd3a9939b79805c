//! The age file format, version 1: small, public, and opened by stock tools.
//!
//! A file is a header, which holds a key of the file sealed to each who may open it, and a
//! payload in pieces of 64 KiB, each encrypted and authenticated with its number and whether it is
//! the last. Source: <https://age-encryption.org/v1>. Why it is our own: decision 11.
//!
//! Files are whole in memory here; the largest ones we make are compressed WAL segments. Absent on
//! purpose: the ASCII armour, plugins, SSH keys.

mod bech32;
mod crypto;
mod error;
mod header;
mod keys;
mod passphrase;
mod payload;
mod x25519;

pub use error::AgeError;
pub use keys::{Identity, ParseKeyError, Recipient};

pub(crate) use crypto::{FileKey, derive};
use header::{Header, Stanza};
pub(crate) use passphrase::random_salt;

/// The least and the greatest cost, as a power of two, of a passphrase that is followed: 32 MiB
/// and some 70 ms; 1 GiB and some seconds. The stock program writes 2^18.
pub const PASSPHRASE_LOG_N: std::ops::RangeInclusive<u8> = 15..=20;

/// The file that each of these recipients opens. The memory of the content becomes that of the
/// file; with room for [`sealed_bytes`] in it nothing is allocated and hardly anything is moved.
///
/// # Errors
/// [`AgeError::Random`] if the system has no randomness to give; [`AgeError::NoRecipient`].
pub fn seal(recipients: &[Recipient], content: Vec<u8>) -> Result<Vec<u8>, AgeError> {
    Ok(seal_and_tell_key(recipients, content)?.0)
}

/// As [`seal`], for a caller who may want to open the file again without an identity, by
/// [`open_with_key`].
pub(crate) fn seal_and_tell_key(
    recipients: &[Recipient],
    content: Vec<u8>,
) -> Result<(Vec<u8>, FileKey), AgeError> {
    if recipients.is_empty() {
        return Err(AgeError::NoRecipient);
    }
    let file_key = FileKey::random()?;
    let stanzas: Vec<Stanza> = recipients
        .iter()
        .map(|recipient| x25519::wrap(&file_key, recipient))
        .collect::<Result<_, _>>()?;
    Ok((seal_file(&file_key, &stanzas, content)?, file_key))
}

/// Room for a file of this much content for some recipients; a few bytes too much.
#[must_use]
pub fn sealed_bytes(recipients: usize, plain_bytes: usize) -> usize {
    const FIXED_BYTES: usize = 22 + 48;
    const STANZA_BYTES: usize = 54 + 44;
    payload::sealed_bytes(FIXED_BYTES + recipients * STANZA_BYTES, plain_bytes)
}

/// The content of a file that is sealed to one of these identities. The memory of `sealed` becomes
/// that of the content.
///
/// # Errors
/// [`AgeError::NoneFits`] if it is sealed to others; another one if one byte of it is not as it
/// was written, is missing, or is too many.
pub fn open(identities: &[Identity], sealed: Vec<u8>) -> Result<Vec<u8>, AgeError> {
    let header = Header::parse(&sealed)?;
    header.forbid_passphrase_beside_others()?;
    for stanza in header.stanzas.iter().filter(|s| x25519::is_one(s)) {
        for identity in identities {
            if let Some(file_key) = x25519::unwrap(stanza, identity)? {
                return open_file(&header.proven(&file_key, &sealed)?, &file_key, sealed);
            }
        }
    }
    Err(AgeError::NoneFits)
}

/// The file that the passphrase opens, at a cost of 2^`log_n`.
///
/// # Errors
/// [`AgeError::Random`]; [`AgeError::WorkFactor`] if the cost is not in [`PASSPHRASE_LOG_N`].
pub fn seal_with_passphrase(
    passphrase: &str,
    log_n: u8,
    plain: &[u8],
) -> Result<Vec<u8>, AgeError> {
    let salt = passphrase::random_salt()?;
    seal_with_passphrase_and_key(passphrase, log_n, &salt, &FileKey::random()?, plain)
}

/// The content of a file that the passphrase opens.
///
/// # Errors
/// [`AgeError::WrongPassphrase`], [`AgeError::WorkFactor`]; another one if the file is damaged.
pub fn open_with_passphrase(passphrase: &str, sealed: Vec<u8>) -> Result<Vec<u8>, AgeError> {
    let header = Header::parse(&sealed)?;
    let file_key = passphrase::unwrap(header.only_passphrase()?, passphrase)?;
    open_file(&header.proven(&file_key, &sealed)?, &file_key, sealed)
}

/// As [`seal_with_passphrase`], for a caller who makes salt and file key himself, and can so open
/// the file without the passphrase by [`open_with_key`].
pub(crate) fn seal_with_passphrase_and_key(
    passphrase: &str,
    log_n: u8,
    salt: &[u8; passphrase::SALT_BYTES],
    file_key: &FileKey,
    plain: &[u8],
) -> Result<Vec<u8>, AgeError> {
    let stanza = passphrase::wrap(file_key, passphrase, log_n, salt)?;
    seal_file(file_key, &[stanza], plain.to_vec())
}

/// The salt of a file that a passphrase opens.
pub(crate) fn passphrase_salt(sealed: &[u8]) -> Result<[u8; passphrase::SALT_BYTES], AgeError> {
    let header = Header::parse(sealed)?;
    Ok(passphrase::parts(header.only_passphrase()?)?.0)
}

/// The content of a file whose own key is known.
pub(crate) fn open_with_key(file_key: &FileKey, sealed: Vec<u8>) -> Result<Vec<u8>, AgeError> {
    let header = Header::parse(&sealed)?;
    open_file(&header.proven(file_key, &sealed)?, file_key, sealed)
}

fn seal_file(
    file_key: &FileKey,
    stanzas: &[Stanza],
    mut content: Vec<u8>,
) -> Result<Vec<u8>, AgeError> {
    let header = header::written(stanzas, file_key);
    payload::seal_in_place(file_key, header.as_bytes(), &mut content)?;
    Ok(content)
}

fn open_file(
    header: &header::Proven,
    file_key: &FileKey,
    mut sealed: Vec<u8>,
) -> Result<Vec<u8>, AgeError> {
    payload::open_in_place(file_key, &mut sealed, header.payload_start)?;
    Ok(sealed)
}
