//! What a vault remembers of its copies, so that one that vanished is missed and not made anew.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    error::VaultError,
    store::{FileKind, ObjectKey, StoreErrorKind},
    vault::Vault,
};

const FOLDER: &str = "rekindle/copies";

/// What a vault knows of a copy: `rekindle/copies/<name>`, JSON, sealed as the configuration is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRecord {
    /// The repository id of the copy.
    pub id: String,
    /// Where it lay, for people.
    pub location: String,
    /// Since when it is known.
    pub since: Timestamp,
    /// When everything that should be in it was, last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// When a run last failed, or copied only in part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Timestamp>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl Vault {
    /// What is remembered of the copy of that name; `None` if there never was one.
    ///
    /// # Errors
    /// [`VaultError::Damaged`], or as the store failed.
    pub fn copy_record(&self, name: &str) -> Result<Option<CopyRecord>, VaultError> {
        let key = key_of(name)?;
        let mut sealed = match self.store.read(&key) {
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let plain = self.key.open_in_place(&mut sealed);
        let plain = plain.map_err(|error| damaged(&key, error))?;
        let record = serde_json::from_slice(plain).map_err(|error| damaged(&key, error))?;
        Ok(Some(record))
    }

    /// Remembers a copy, in the place of what was remembered of it.
    ///
    /// # Errors
    /// As the store failed.
    pub fn remember_copy(&self, name: &str, record: &CopyRecord) -> Result<(), VaultError> {
        let sealed = self.key.seal(&serde_json::to_vec(record)?)?;
        Ok(self.store.replace(&key_of(name)?, &sealed)?)
    }
}

fn key_of(name: &str) -> Result<ObjectKey, VaultError> {
    let fine = !name.contains('/');
    let key = fine.then(|| ObjectKey::parse(&format!("{FOLDER}/{name}")));
    key.flatten().ok_or_else(|| VaultError::Damaged {
        kind: FileKind::Config,
        name: format!("of the copy `{name}`"),
        reason: "this is no name of a copy".to_owned(),
    })
}

fn damaged(key: &ObjectKey, reason: impl ToString) -> VaultError {
    VaultError::Damaged {
        kind: FileKind::Config,
        name: key.to_string(),
        reason: reason.to_string(),
    }
}
