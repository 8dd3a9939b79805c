//! Archiving: nothing is ever replaced but parts of segments, and nothing is said to be stored
//! before it is durable.

use std::fmt;

use super::{
    WalArchive, WalArchiveError, WalEffort, WalFile,
    frame::{self, MOST_PLAIN_BYTES},
};
use crate::{
    age::{self, FileKey},
    store::{NewObject, ObjectKey, Operation, StoreError, StoreErrorKind},
};

/// What archiving a file came to. It is durable either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalPut {
    /// It was stored.
    Stored,
    /// The same content was there under the same name.
    AlreadyThere,
}

/// A file that is compressed and encrypted, ready for [`WalArchive::put_all`].
pub struct SealedWal {
    pub(super) file: WalFile,
    pub(super) key: ObjectKey,
    pub(super) plain_bytes: u64,
    /// Opens the object, should its content have to be compared.
    pub(super) file_key: FileKey,
    pub(super) object: Vec<u8>,
}

impl SealedWal {
    /// Which file it is.
    #[must_use]
    pub const fn file(&self) -> &WalFile {
        &self.file
    }

    /// The length of its content.
    #[must_use]
    pub const fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// The length of its object.
    #[must_use]
    pub const fn stored_bytes(&self) -> u64 {
        self.object.len() as u64
    }
}

impl fmt::Debug for SealedWal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedWal({:?})", self.file)
    }
}

impl WalArchive {
    /// Archives a file, and returns when it is durable.
    ///
    /// # Errors
    /// [`WalArchiveError::Differs`] if the name has other content, [`WalArchiveError::Damaged`] if
    /// what is there is not what was stored, [`WalArchiveError::NeedsPassword`] if something is
    /// there that cannot be read without it; or as the store failed.
    pub fn put(
        &self,
        file: &WalFile,
        plain: &[u8],
        effort: WalEffort,
    ) -> Result<WalPut, WalArchiveError> {
        let key = file.key()?;
        let (object, _) = self.seal_frames(file, plain, effort)?;
        self.ensure_vault_is_there()?;
        match self.store.create(&key, &object) {
            Ok(()) => Ok(WalPut::Stored),
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                self.compare(&key, plain.len() as u64, |stored| stored == plain)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Compresses and encrypts a file. Touches neither store nor disk; for many threads.
    ///
    /// # Errors
    /// [`WalArchiveError::BadName`], [`WalArchiveError::TooLong`], [`WalArchiveError::Seal`].
    pub fn seal(
        &self,
        file: WalFile,
        plain: &[u8],
        effort: WalEffort,
    ) -> Result<SealedWal, WalArchiveError> {
        let key = file.key()?;
        let (object, file_key) = self.seal_frames(&file, plain, effort)?;
        Ok(SealedWal {
            file,
            key,
            plain_bytes: plain.len() as u64,
            file_key,
            object,
        })
    }

    /// Archives many files, and returns when they are durable: with much less waiting than one
    /// after another. What became of each is told in their order, as by [`WalArchive::put`]; one
    /// that fails does not hinder the others.
    pub fn put_all(&self, files: Vec<SealedWal>) -> Vec<Result<WalPut, WalArchiveError>> {
        if self.ensure_vault_is_there().is_err() {
            // Each gets its own error, or is stored after all.
            return files.iter().map(|file| self.put_sealed(file)).collect();
        }
        let objects: Vec<_> = files.iter().map(SealedWal::as_new_object).collect();
        let created = self.store.create_all(&objects);
        let outcomes = files.iter().zip(created);
        outcomes
            .map(|(file, created)| self.created(file, created))
            .collect()
    }

    fn put_sealed(&self, file: &SealedWal) -> Result<WalPut, WalArchiveError> {
        self.ensure_vault_is_there()?;
        self.created(file, self.store.create(&file.key, &file.object))
    }

    fn created(
        &self,
        file: &SealedWal,
        created: Result<(), StoreError>,
    ) -> Result<WalPut, WalArchiveError> {
        match created {
            Ok(()) => Ok(WalPut::Stored),
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                self.compare(&file.key, file.plain_bytes, |stored| file.is_of(stored))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Stores the part of a segment that there is until now, in the place of an earlier part.
    /// `frames` are the outcome of [`wal_frame`](super::wal_frame); their contents follow one another.
    ///
    /// # Errors
    /// [`WalArchiveError::NotPartial`] for a name that is no `.partial`; or as the store failed.
    /// The earlier part stands then, or the new one.
    pub fn replace_partial(&self, file: &WalFile, frames: &[&[u8]]) -> Result<(), WalArchiveError> {
        let key = file.key()?;
        if !file.is_partial() {
            return Err(WalArchiveError::NotPartial {
                name: file.name.clone(),
            });
        }
        let object = age::seal(&self.public.recipients, frames.concat())?;
        self.ensure_vault_is_there()?;
        Ok(self.store.replace(&key, &object)?)
    }

    /// Stores a file in the place of a damaged one, which the caller has kept elsewhere.
    ///
    /// # Errors
    /// As the store failed. The damaged one stands then, or the new one.
    pub(crate) fn replace_damaged(
        &self,
        file: &WalFile,
        plain: &[u8],
        effort: WalEffort,
    ) -> Result<(), WalArchiveError> {
        let key = file.key()?;
        let (object, _) = self.seal_frames(file, plain, effort)?;
        self.ensure_vault_is_there()?;
        Ok(self.store.replace(&key, &object)?)
    }

    fn seal_frames(
        &self,
        file: &WalFile,
        plain: &[u8],
        effort: WalEffort,
    ) -> Result<(Vec<u8>, FileKey), WalArchiveError> {
        if plain.len() as u64 > MOST_PLAIN_BYTES {
            return Err(WalArchiveError::TooLong {
                name: file.name.clone(),
                bytes: plain.len() as u64,
            });
        }
        let recipients = &self.public.recipients;
        let most_bytes = age::sealed_bytes(recipients.len(), frame::most_bytes(plain.len()));
        let mut object = Vec::with_capacity(most_bytes);
        frame::compress_into(&mut object, plain, effort);
        Ok(age::seal_and_tell_key(recipients, object)?)
    }

    /// Whether what is stored under a name is the same content.
    fn compare(
        &self,
        key: &ObjectKey,
        plain_bytes: u64,
        is_same: impl FnOnce(&[u8]) -> bool,
    ) -> Result<WalPut, WalArchiveError> {
        let differs = || WalArchiveError::Differs {
            object: key.to_string(),
            location: self.location(),
        };
        let Some(frames) = self.read_frames(key)? else {
            // Removed since; who asks again will store it.
            let vanished = std::io::ErrorKind::NotFound.into();
            return Err(
                StoreError::new(Operation::Read, key.as_str(), self.location(), vanished).into(),
            );
        };
        if frame::plain_bytes(&frames).is_some_and(|stored| stored != plain_bytes) {
            return Err(differs());
        }
        let stored = frame::decompress(&frames);
        let stored = stored.map_err(|reason| self.damaged(key, reason))?;
        if is_same(&stored) {
            Ok(WalPut::AlreadyThere)
        } else {
            Err(differs())
        }
    }
}

impl SealedWal {
    /// Whether this is the content. A name is hardly ever taken, so that the object is rather opened
    /// again then than every file hashed: SHA-256 takes half as long as compressing does.
    fn is_of(&self, content: &[u8]) -> bool {
        let frames = age::open_with_key(&self.file_key, self.object.clone());
        let plain = frames
            .ok()
            .and_then(|frames| frame::decompress(&frames).ok());
        plain.is_some_and(|plain| plain == content)
    }

    fn as_new_object(&self) -> NewObject<'_> {
        NewObject {
            key: &self.key,
            content: &self.object,
        }
    }
}
