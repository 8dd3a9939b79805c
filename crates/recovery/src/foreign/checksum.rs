//! The SHA-256 that lies beside a file.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rekindle_vault::Progress;
use sha2::{Digest as _, Sha256};

use crate::RecoveryError;

/// A checksum file is a line or a few.
const MOST_BYTES: u64 = 1 << 20;

/// Holds a file against `<file>.sha256`, as `sha256sum` writes it: the hash, spaces, a name; or the hash alone. Returns
/// whether there was one.
///
/// # Errors
/// [`RecoveryError::Checksum`] if it is another hash, or the list has no line for the file; as they could not be read.
pub fn verify_checksum(file: &Path, progress: &Progress) -> Result<bool, RecoveryError> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".sha256");
    let beside = PathBuf::from(beside);
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |source| RecoveryError::ReadForeign { path, source }
    };
    let list = match File::open(&beside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(unread(&beside))?,
    };
    let mut text = String::new();
    let read = list.take(MOST_BYTES).read_to_string(&mut text);
    read.map_err(unread(&beside))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mismatch = |found: &str, expected: &str| RecoveryError::Checksum {
        path: file.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    let expected = expected(&text, &name).ok_or_else(|| mismatch("?", "no line of it"))?;
    if fs::metadata(file).map_err(unread(file))?.is_dir() {
        return Err(mismatch("a directory", &expected));
    }
    let found = hash(file, progress).map_err(unread(file))?;
    if found == expected {
        return Ok(true);
    }
    Err(mismatch(&found, &expected))
}

fn hash(file: &Path, progress: &Progress) -> io::Result<String> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..count]);
        progress.did_bytes(count as u64);
    }
}

/// The hash of a file in a list: of the line with its name, else of the only line.
fn expected(list: &str, name: &str) -> Option<String> {
    let lines: Vec<(&str, &str)> = list
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(char::is_whitespace).unwrap_or((line, "")))
        .collect();
    let of_file = lines.iter().find(|(_, named)| {
        let named = named.trim_start().trim_start_matches('*');
        named.rsplit('/').next() == Some(name)
    });
    let found = match (of_file, lines.as_slice()) {
        (Some(line), _) => line,
        (None, [only]) => only,
        _ => return None,
    };
    let hash = found.0.to_ascii_lowercase();
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_file_counts_in_every_form_that_is_usual() {
        let (one, other) = ("a".repeat(64), "b".repeat(64));
        assert_eq!(expected(&format!("{one}\n"), "x.tar"), Some(one.clone()));
        assert_eq!(
            expected(&format!("{one}  x.tar\n"), "x.tar"),
            Some(one.clone())
        );
        assert_eq!(
            expected(&format!("{} *./d/x.tar", one.to_uppercase()), "x.tar"),
            Some(one.clone())
        );
        let list = format!("{other}  y.tar\n{one}  x.tar\n");
        assert_eq!(expected(&list, "x.tar"), Some(one));
        assert_eq!(expected(&list, "z.tar"), None);
        assert_eq!(expected("no hash", "x.tar"), None);
        assert_eq!(expected("", "x.tar"), None);
    }
}
