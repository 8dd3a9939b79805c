//! The key that opens the archive: derived from the vault's master key, and exported for stock
//! tools.
//!
//! Deriving it makes every password that opens the vault open the archive, at no cost. Its copy in
//! `rekindle/keys/wal.age`, which `age -d` opens by the password of the day it was made, is for
//! people without Rekindle.

use zeroize::Zeroizing;

use super::WalArchiveError;
use crate::{
    age::{self, AgeError, FileKey, Identity, Recipient},
    store::{ObjectKey, StoreErrorKind},
    vault::Vault,
};

pub(super) const KEY_FILE: &str = "rekindle/keys/wal.age";
const IDENTITY_PURPOSE: &[u8] = b"rekindle WAL archive identity 1";
const FILE_KEY_PURPOSE: &[u8] = b"rekindle wal.age file key 1";
/// As cheap as the vault's own keys (decision 9): the same password opens both, so whoever guesses
/// takes the cheaper one.
const LOG_N: u8 = 15;

/// What lies at `rekindle/keys/wal.age`.
pub(super) enum KeyFile {
    /// Nothing.
    Missing,
    /// The identity that we derive.
    Ours,
    /// Another identity: another program made the file under this password.
    Other(Identity),
    /// Damaged, or under another password of the vault by another program; who knows.
    Unreadable(AgeError),
}

/// Who opens the archive and to whom it is sealed.
pub(super) struct WalKeys {
    /// The derived one first.
    pub identities: Vec<Identity>,
    pub recipients: Vec<Recipient>,
}

impl WalKeys {
    /// The keys, without changing anything in the vault.
    pub fn load(vault: &Vault) -> Result<(Self, KeyFile), WalArchiveError> {
        let file = KeyFile::read(vault)?;
        Ok((Self::new(vault, &file), file))
    }

    /// The keys; the key file is made if there is none.
    pub fn load_or_export(vault: &Vault) -> Result<Self, WalArchiveError> {
        let (keys, file) = Self::load(vault)?;
        match file {
            KeyFile::Missing => Self::export(vault, keys),
            KeyFile::Unreadable(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "{KEY_FILE} is damaged or opens by another password: the WAL archive works, and stock tools may not \
                     be able to read it"
                );
                Ok(keys)
            }
            KeyFile::Ours | KeyFile::Other(_) => Ok(keys),
        }
    }

    fn export(vault: &Vault, keys: Self) -> Result<Self, WalArchiveError> {
        match vault.store.create(&key_file(), &sealed_identity(vault)?) {
            // Somebody was faster; it is theirs that counts.
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => Ok(Self::load(vault)?.0),
            other => Ok(other.map(|()| keys)?),
        }
    }

    fn new(vault: &Vault, file: &KeyFile) -> Self {
        let mut identities = vec![derived_identity(vault)];
        if let KeyFile::Other(other) = file {
            identities.push(other.clone());
        }
        Self {
            recipients: identities.iter().map(Identity::recipient).collect(),
            identities,
        }
    }
}

impl KeyFile {
    fn read(vault: &Vault) -> Result<Self, WalArchiveError> {
        let sealed = match vault.store.read(&key_file()) {
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(Self::Missing),
            other => other?,
        };
        Ok(match opened(vault, sealed) {
            Ok(identity) if identity.recipient() == derived_identity(vault).recipient() => {
                Self::Ours
            }
            Ok(identity) => Self::Other(identity),
            Err(error) => Self::Unreadable(error),
        })
    }
}

fn key_file() -> ObjectKey {
    ObjectKey::fixed(KEY_FILE)
}

fn derived_identity(vault: &Vault) -> Identity {
    Identity::from_bytes(&vault.key.derive(&[], IDENTITY_PURPOSE))
}

/// The key of the file that we make, so that we know it again without the password's scrypt, also
/// after the vault was opened by another password.
fn file_key(vault: &Vault, salt: &[u8]) -> FileKey {
    FileKey::from_secret(&vault.key.derive(salt, FILE_KEY_PURPOSE))
}

fn sealed_identity(vault: &Vault) -> Result<Vec<u8>, AgeError> {
    let identity = derived_identity(vault);
    let text = Zeroizing::new(format!(
        "# WAL archive of vault {}\n# public key: {}\n{}\n",
        vault.config.id,
        identity.recipient(),
        *identity.to_text(),
    ));
    let salt = age::random_salt()?;
    age::seal_with_passphrase_and_key(
        vault.password.as_str(),
        LOG_N,
        &salt,
        &file_key(vault, &salt),
        text.as_bytes(),
    )
}

fn opened(vault: &Vault, sealed: Vec<u8>) -> Result<Identity, AgeError> {
    let file_key = file_key(vault, &age::passphrase_salt(&sealed)?);
    let plain = match age::open_with_key(&file_key, sealed.clone()) {
        // Not the key of this file: another program made it.
        Err(AgeError::HeaderChanged) => age::open_with_passphrase(vault.password.as_str(), sealed),
        other => other,
    };
    let plain = Zeroizing::new(plain?);
    let text = std::str::from_utf8(&plain).ok();
    text.and_then(Identity::find_in)
        .ok_or(AgeError::Malformed("there is no secret key in it"))
}
