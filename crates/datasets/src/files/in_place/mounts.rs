//! What is mounted where.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::io;
use crate::InPlaceError;

/// Every mount point that this process sees. Source: proc_pid_mountinfo(5).
pub(super) fn all() -> Result<Vec<PathBuf>, InPlaceError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read(path).map_err(io("read", path))?;
    Ok(parse(&text))
}

/// The mount points at and below a path.
pub(super) fn below<'m>(
    all: &'m [PathBuf],
    path: &'m Path,
) -> impl Iterator<Item = &'m Path> + use<'m> {
    all.iter()
        .map(PathBuf::as_path)
        .filter(move |mount| mount.starts_with(path))
}

fn parse(text: &[u8]) -> Vec<PathBuf> {
    let lines = text.split(|&byte| byte == b'\n');
    lines
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
        .collect()
}

/// Space, tab, line feed and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (byte, octal) {
            (b'\\', Some(value)) => {
                plain.push(value);
                rest = &after[3..];
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let text = b"36 35 98:0 /mnt1 /mnt/a\\040b\\134 rw,noatime master:1 - ext3 /dev/root rw\n\
            37 35 0:4 / /proc rw - proc proc rw\n";
        let found = parse(text);
        assert_eq!(found, [Path::new("/mnt/a b\\"), Path::new("/proc")]);
        assert_eq!(below(&found, Path::new("/mnt")).count(), 1);
        assert_eq!(below(&found, Path::new("/mn")).count(), 0);
    }
}
