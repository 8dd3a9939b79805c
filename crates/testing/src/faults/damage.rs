//! Damaging files on purpose.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::TestingError;
use crate::process::set_mode;

/// Flips the lowest bit of the byte at `offset`. Doing it twice repairs it.
///
/// # Errors
/// [`TestingError::File`], also if the file is not that long.
pub fn flip_bit(path: &Path, offset: u64) -> Result<(), TestingError> {
    let file = open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)
        .map_err(TestingError::file("read", path))?;
    file.write_all_at(&[byte[0] ^ 1], offset)
        .map_err(TestingError::file("write", path))
}

/// Cuts the file to `len` bytes.
///
/// # Errors
/// [`TestingError::Unexpected`] if it is not longer than that: nothing would be cut.
pub fn cut(path: &Path, len: u64) -> Result<(), TestingError> {
    let file = open(path)?;
    let now = file
        .metadata()
        .map_err(TestingError::file("look at", path))?
        .len();
    if now <= len {
        let found = format!("{} of {now} bytes, to be cut to {len}", path.display());
        return Err(TestingError::Unexpected {
            what: "a longer file",
            found,
        });
    }
    file.set_len(len).map_err(TestingError::file("cut", path))
}

/// Deletes the file.
///
/// # Errors
/// [`TestingError::File`], also if there is none.
pub fn delete(path: &Path) -> Result<(), TestingError> {
    fs::remove_file(path).map_err(TestingError::file("delete", path))
}

/// Lists all regular files below `dir`, in order of their names.
///
/// # Errors
/// [`TestingError::File`].
pub fn files_below(dir: &Path) -> Result<Vec<PathBuf>, TestingError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(TestingError::file("list", dir))? {
        let entry = entry.map_err(TestingError::file("list", dir))?;
        let kind = entry
            .file_type()
            .map_err(TestingError::file("look at", &entry.path()))?;
        if kind.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Opens for damage; a vault's files are read-only, and without root that would be in the way.
fn open(path: &Path) -> Result<fs::File, TestingError> {
    let meta = fs::metadata(path).map_err(TestingError::file("look at", path))?;
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o200 == 0 {
        set_mode(path, mode | 0o200)?;
    }
    let opened = OpenOptions::new().read(true).write(true).open(path);
    let restored = if mode & 0o200 == 0 {
        set_mode(path, mode)
    } else {
        Ok(())
    };
    let file = opened.map_err(TestingError::file("open", path))?;
    restored.map(|()| file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_changes_one_byte_and_flips_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"abc").unwrap();
        set_mode(&file, 0o400).unwrap();
        flip_bit(&file, 1).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"acc");
        flip_bit(&file, 1).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"abc");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o400
        );
        assert!(flip_bit(&file, 3).is_err());
    }

    #[test]
    fn a_cut_that_would_cut_nothing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"abc").unwrap();
        assert!(cut(&file, 3).is_err());
        cut(&file, 2).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"ab");
        assert_eq!(files_below(dir.path()).unwrap(), [file]);
    }
}
