//! Reads blobs, from another place if the first one is damaged: a blob may be stored twice.

use crate::{
    blob::BlobKind,
    error::VaultError,
    id::Id,
    index::{Index, Location},
    opener::Opener,
    store::{FileKind, ObjectKey},
    vault::Vault,
};

impl Vault {
    /// Reads one blob and verifies it against its id. Where it is stored more than once, one whole copy is enough.
    ///
    /// # Errors
    /// [`VaultError::MissingBlob`], [`VaultError::Damaged`], or as the store failed.
    pub fn read_blob(&self, index: &Index, kind: BlobKind, id: &Id) -> Result<Vec<u8>, VaultError> {
        let location = index
            .find(kind, id)
            .ok_or(VaultError::MissingBlob { id: *id })?;
        match self.read_blob_at(&location) {
            Err(error) if error.is_damage_or_missing() => {
                let elsewhere = self.read_blob_elsewhere(index, &location)?;
                elsewhere.ok_or(error)
            }
            other => other,
        }
    }

    /// Reads and verifies the blob that is said to lie here.
    pub(crate) fn read_blob_at(&self, at: &Location) -> Result<Vec<u8>, VaultError> {
        let mut sealed = vec![0; at.blob.length as usize];
        if let Some(tree) = self.kept_tree(at, &mut sealed) {
            return Ok(tree);
        }
        let pack = ObjectKey::of(FileKind::Pack, &at.pack);
        self.store
            .read_range(&pack, u64::from(at.blob.offset), &mut sealed)?;
        Opener::default().into_opened(&self.key, &at.pack, &at.blob, &mut sealed)
    }

    /// The blob from any other place than `not_here`; `None` if there is none where it is whole.
    ///
    /// # Errors
    /// A failure of the store that says nothing about what it holds.
    pub(crate) fn read_blob_elsewhere(
        &self,
        index: &Index,
        not_here: &Location,
    ) -> Result<Option<Vec<u8>>, VaultError> {
        let mut places = index.find_all(not_here.blob.kind, &not_here.blob.id);
        places.retain(|place| place != not_here);
        for place in places {
            match self.read_blob_at(&place) {
                Ok(plain) => {
                    tracing::warn!(
                        pack = %not_here.pack, blob = %not_here.blob.id,
                        "a blob is damaged, and was read from another pack"
                    );
                    return Ok(Some(plain));
                }
                Err(error) if error.is_damage_or_missing() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
