//! Objects as files of a local directory.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{Listed, NewObject, ObjectKey, Operation, Store, StoreError};
use crate::durable::{self, NewFile};

/// Nobody changes an object, and its owner alone reads it.
const MODE: u32 = 0o400;

/// A directory. Every write is a new file, fsynced before it has its name, and its name is fsynced
/// before the write returns.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    /// The store in this directory, which need not exist yet: the first write makes it.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn failed<'a>(
        &'a self,
        operation: Operation,
        key: &'a str,
    ) -> impl FnOnce(io::Error) -> StoreError + 'a {
        move |source| StoreError::new(operation, key, self.location(), source)
    }
}

impl Store for LocalStore {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        fs::read(self.path(key)).map_err(self.failed(Operation::Read, key.as_str()))
    }

    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        let read = File::open(self.path(key)).and_then(|file| file.read_exact_at(buffer, offset));
        read.map_err(self.failed(Operation::Read, key.as_str()))
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        let path = self.path(key);
        let written = match durable::create(&path, content, MODE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_folders(&path).and_then(|()| durable::create(&path, content, MODE))
            }
            other => other,
        };
        written.map_err(self.failed(Operation::Create, key.as_str()))
    }

    fn create_all(&self, objects: &[NewObject<'_>]) -> Vec<Result<(), StoreError>> {
        let paths: Vec<_> = objects.iter().map(|object| self.path(object.key)).collect();
        // What cannot be made shows when the file is.
        let mut made = BTreeSet::new();
        for path in &paths {
            if made.insert(path.parent())
                && let Err(error) = create_folders(path)
            {
                tracing::debug!(path = %path.display(), %error, "a folder was not made");
            }
        }
        let files: Vec<_> = paths
            .iter()
            .zip(objects)
            .map(|(path, object)| NewFile {
                path,
                content: object.content,
                mode: MODE,
            })
            .collect();
        let outcomes = durable::create_all(&files).into_iter().zip(objects);
        outcomes
            .map(|(outcome, object)| {
                outcome.map_err(self.failed(Operation::Create, object.key.as_str()))
            })
            .collect()
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        let path = self.path(key);
        create_folders(&path)
            .and_then(|()| durable::replace(&path, content, MODE))
            .map_err(self.failed(Operation::Replace, key.as_str()))
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        fs::remove_file(self.path(key)).map_err(self.failed(Operation::Delete, key.as_str()))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        // A vault whose disk is not mounted must not look like an empty one.
        fs::metadata(&self.root).map_err(self.failed(Operation::List, folder))?;
        let mut found = Vec::new();
        list_into(&self.root.join(folder), folder, &mut found)
            .map_err(self.failed(Operation::List, folder))?;
        Ok(found)
    }

    fn written_at(&self, key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        let metadata = fs::metadata(self.path(key)).and_then(|metadata| metadata.modified());
        let modified = metadata.map_err(self.failed(Operation::Read, key.as_str()))?;
        Ok(Timestamp::try_from(modified).ok())
    }
}

/// Makes the folders above `path`, each durable in the one above it.
fn create_folders(path: &Path) -> io::Result<()> {
    // Above a relative path of one name is the current directory, which has no name there.
    let is_missing = |folder: &&Path| *folder != Path::new("") && !folder.exists();
    let Some(folder) = path.parent().filter(is_missing) else {
        return Ok(());
    };
    create_folders(folder)?;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }?;
    folder.parent().map_or(Ok(()), |above| {
        durable::sync_folder(if above == Path::new("") {
            Path::new(".")
        } else {
            above
        })
    })
}

/// A file that vanishes between its name and its size was deleted by another process and is no
/// part of the listing; every other failure is one.
fn list_into(folder: &Path, prefix: &str, found: &mut Vec<Listed>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        let text = format!("{prefix}/{name}");
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        if metadata.is_dir() {
            list_into(&entry.path(), &text, found)?;
        } else if let Some(key) = ObjectKey::parse(&text) {
            found.push(Listed {
                key,
                size_bytes: metadata.len(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_may_be_one_name_in_the_current_directory() {
        let name = format!("rk-of-one-name-{}", std::process::id());
        let store = LocalStore::new(&name);
        let key = ObjectKey::config();
        let outcome = store.create(&key, b"x").and_then(|()| store.read(&key));
        let _ = fs::remove_dir_all(&name);
        assert_eq!(outcome.unwrap(), b"x");
    }
}
