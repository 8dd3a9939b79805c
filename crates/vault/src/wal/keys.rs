//! The key that opens the archive: derived from the vault's master key, and exported for stock
//! tools.
//!
//! Deriving it makes every password that opens the vault open the archive, at no cost. Its copies,
//! which `age -d` opens by a password of the vault, are for people without Rekindle:
//! `rekindle/keys/wal.age` by the password that the archive was first used with, or by the one that
//! took its place; `rekindle/keys/wal-<key id>.age` by every other one.

use zeroize::Zeroizing;

use super::WalArchiveError;
use crate::{
    age::{self, AgeError, FileKey, Identity, Recipient},
    error::VaultError,
    id::Id,
    keyfile::Password,
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
    /// The identity that we derive, under the password of `key`, if the file says so.
    Ours { key: Option<Id> },
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
            KeyFile::Ours { key } if key == Some(vault.key_id) => Ok(keys),
            KeyFile::Ours { .. } | KeyFile::Other(_) => {
                Self::export_for_this_password(vault, &keys);
                Ok(keys)
            }
        }
    }

    /// For a password that somebody else added, as stock restic does: only now it is known. Without
    /// the file nothing is lost but a convenience, so a vault that takes no more files is no failure.
    fn export_for_this_password(vault: &Vault, keys: &Self) {
        let object = key_file_of(&vault.key_id);
        let made = match vault.store.read(&object) {
            Err(error) if error.kind == StoreErrorKind::NotFound => export_to(
                vault,
                &object,
                keys.exported(),
                vault.key_id,
                &vault.password,
            ),
            other => other.map(drop).map_err(Into::into),
        };
        if let Err(error) = made {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "`{object}` could not be made: stock tools open the WAL archive by another password only"
            );
        }
    }

    /// Whose secret key is told to stock tools: it opens all that lies in the archive.
    fn exported(&self) -> &Identity {
        // There is always the derived one; another program's comes after it.
        &self.identities[self.identities.len() - 1]
    }

    fn export(vault: &Vault, keys: Self) -> Result<Self, WalArchiveError> {
        let sealed = sealed_identity(vault, keys.exported(), vault.key_id, &vault.password)?;
        match vault.store.create(&key_file(), &sealed) {
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
        Ok(match opened(vault, &vault.password, sealed) {
            Ok(text) => match Identity::find_in(&text) {
                Some(identity) if identity.recipient() == derived_identity(vault).recipient() => {
                    Self::Ours {
                        key: key_named_in(&text),
                    }
                }
                Some(identity) => Self::Other(identity),
                None => Self::Unreadable(NO_KEY),
            },
            Err(error) => Self::Unreadable(error),
        })
    }
}

impl Vault {
    /// Lets stock tools open the archive by the password of key `id`, if there is an archive.
    pub(crate) fn export_wal_key(&self, id: Id, password: &Password) -> Result<(), VaultError> {
        let (keys, file) = WalKeys::load(self)?;
        if matches!(file, KeyFile::Missing) {
            return Ok(());
        }
        if let KeyFile::Unreadable(error) = file {
            return Err(unreadable(id, &error));
        }
        export_to(self, &key_file_of(&id), keys.exported(), id, password)?;
        Ok(())
    }

    /// Makes the archive's key files do without the password of key `id`.
    pub(crate) fn withdraw_wal_key(&self, id: &Id) -> Result<(), VaultError> {
        let (keys, file) = WalKeys::load(self)?;
        let is_ours = matches!(file, KeyFile::Ours { .. });
        let depends = match file {
            KeyFile::Missing => false,
            KeyFile::Unreadable(error) => return Err(unreadable(*id, &error)),
            // Who made it did not say by which password.
            KeyFile::Ours { key: None } | KeyFile::Other(_) => true,
            KeyFile::Ours { key: Some(key) } => key == *id,
        };
        if depends && *id != self.key_id {
            let sealed = sealed_identity(self, keys.exported(), self.key_id, &self.password)
                .map_err(WalArchiveError::from)?;
            self.store.replace(&key_file(), &sealed)?;
        } else if depends && is_ours {
            // By whom it will be opened, only the next opening knows, and makes it anew.
            self.delete_if_there(&key_file())?;
        }
        self.delete_if_there(&key_file_of(id))
    }

    fn delete_if_there(&self, object: &ObjectKey) -> Result<(), VaultError> {
        match self.store.delete(object) {
            Err(error) if error.kind != StoreErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The secret key of the WAL archive, as `age-keygen` writes one: it opens all that lies in the
    /// archive, with stock tools and without a password.
    ///
    /// # Errors
    /// As the store failed.
    pub fn wal_identity(&self) -> Result<Zeroizing<String>, VaultError> {
        let (keys, _) = WalKeys::load(self)?;
        let lines = keys.identities.iter().map(|identity| {
            let recipient = identity.recipient();
            format!("# public key: {recipient}\n{}\n", *identity.to_text())
        });
        Ok(Zeroizing::new(lines.collect()))
    }

    /// Opens the key file of the password in use as stock tools would, if there is an archive.
    pub(crate) fn prove_wal_key(&self) -> Result<(), VaultError> {
        let file = KeyFile::read(self)?;
        let object = match file {
            KeyFile::Missing => return Ok(()),
            KeyFile::Ours { key } if key == Some(self.key_id) => key_file(),
            _ => key_file_of(&self.key_id),
        };
        let sealed = self.store.read(&object)?;
        let plain = age::open_with_passphrase(self.password.as_str(), sealed);
        let plain = Zeroizing::new(plain.map_err(|error| unreadable(self.key_id, &error))?);
        let found = std::str::from_utf8(&plain).ok().and_then(Identity::find_in);
        found
            .map(drop)
            .ok_or_else(|| unreadable(self.key_id, &NO_KEY))
    }
}

const NO_KEY: AgeError = AgeError::Malformed("there is no secret key in it");
const KEY_LINE: &str = "# key of the vault: ";

fn unreadable(id: Id, error: &AgeError) -> VaultError {
    VaultError::KeyNeeded {
        id,
        reason: format!(
            "a key file of the WAL archive in `rekindle/keys` does not open by the password in use \
             ({error}), so nobody can tell whom it serves; if it is damaged, remove `{KEY_FILE}`: the \
             next use of the archive makes it anew"
        ),
    }
}

fn key_file_of(id: &Id) -> ObjectKey {
    ObjectKey::below("rekindle/keys", &format!("wal-{id}.age"))
}

fn key_named_in(text: &str) -> Option<Id> {
    let mut named = text.lines().filter_map(|line| line.strip_prefix(KEY_LINE));
    named.next()?.trim().parse().ok()
}

/// One file for each key, whose id no other file ever has.
fn export_to(
    vault: &Vault,
    object: &ObjectKey,
    identity: &Identity,
    key: Id,
    password: &Password,
) -> Result<(), WalArchiveError> {
    let sealed = sealed_identity(vault, identity, key, password)?;
    match vault.store.create(object, &sealed) {
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => Ok(()),
        other => Ok(other?),
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

fn sealed_identity(
    vault: &Vault,
    identity: &Identity,
    key: Id,
    password: &Password,
) -> Result<Vec<u8>, AgeError> {
    let text = Zeroizing::new(format!(
        "# WAL archive of vault {}\n{KEY_LINE}{key}\n# public key: {}\n{}\n",
        vault.config.id,
        identity.recipient(),
        *identity.to_text(),
    ));
    let salt = age::random_salt()?;
    age::seal_with_passphrase_and_key(
        password.as_str(),
        LOG_N,
        &salt,
        &file_key(vault, &salt),
        text.as_bytes(),
    )
}

fn opened(
    vault: &Vault,
    password: &Password,
    sealed: Vec<u8>,
) -> Result<Zeroizing<String>, AgeError> {
    let file_key = file_key(vault, &age::passphrase_salt(&sealed)?);
    let plain = match age::open_with_key(&file_key, sealed.clone()) {
        // Not the key of this file: another program made it.
        Err(AgeError::HeaderChanged) => age::open_with_passphrase(password.as_str(), sealed),
        other => other,
    };
    String::from_utf8(plain?)
        .map(Zeroizing::new)
        .map_err(|_| NO_KEY)
}
