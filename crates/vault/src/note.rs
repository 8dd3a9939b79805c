//! Small things that a vault remembers for whoever works with it next: sealed, and replaced as a
//! whole. Losing one loses nothing but the memory.

use crate::{
    error::VaultError,
    store::{FileKind, ObjectKey, StoreErrorKind},
    vault::Vault,
};

const FOLDER: &str = "rekindle/notes";

impl Vault {
    /// The note of this name, a plain word; `None` if there is none.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] if it is not what was written; as the store failed.
    pub fn read_note(&self, name: &'static str) -> Result<Option<Vec<u8>>, VaultError> {
        let object = ObjectKey::below(FOLDER, name);
        let mut sealed = match self.store.read(&object) {
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let plain = self.key.open_in_place(&mut sealed);
        let plain = plain.map_err(|error| VaultError::Damaged {
            kind: FileKind::Config,
            name: format!("`{object}`"),
            reason: error.to_string(),
        })?;
        Ok(Some(plain.to_vec()))
    }

    /// Writes the note of this name, in the place of an earlier one.
    ///
    /// # Errors
    /// As the store failed; the old or the new one stands.
    pub fn write_note(&self, name: &'static str, content: &[u8]) -> Result<(), VaultError> {
        let sealed = self.key.seal(content)?;
        Ok(self
            .store
            .replace(&ObjectKey::below(FOLDER, name), &sealed)?)
    }
}
