//! Places in a snapshot's tree.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt};

/// A place in a snapshot's tree: names between slashes, relative to the root. Names are bytes, as
/// the kernel has them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreePath(Vec<u8>);

/// A path that leaves the tree or has a name that cannot be one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a path within a recovery point")]
pub struct BadPath(String);

impl TreePath {
    /// The root.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// A path from text or bytes; slashes at its ends are ignored.
    ///
    /// # Errors
    /// [`BadPath`] if a name is empty, `.` or `..`, or holds a NUL.
    pub fn new(path: impl AsRef<[u8]>) -> Result<Self, BadPath> {
        let path = path.as_ref();
        let bad = || BadPath(String::from_utf8_lossy(path).into_owned());
        let mut clean = Self::root();
        let trimmed = path.trim_byte(b'/');
        if trimmed.is_empty() {
            return Ok(clean);
        }
        for name in trimmed.split(|&byte| byte == b'/') {
            clean = clean.join(OsStr::from_bytes(name)).ok_or_else(bad)?;
        }
        Ok(clean)
    }

    /// The path of `name` in this directory; `None` if it cannot be a name.
    #[must_use]
    pub fn join(&self, name: &OsStr) -> Option<Self> {
        let name = name.as_bytes();
        if matches!(name, b"" | b"." | b"..") || name.iter().any(|b| matches!(b, b'/' | 0)) {
            return None;
        }
        let mut joined = self.0.clone();
        if !joined.is_empty() {
            joined.push(b'/');
        }
        joined.extend_from_slice(name);
        Some(Self(joined))
    }

    /// The path `below` under this one.
    #[must_use]
    pub fn append(&self, below: &Self) -> Self {
        let mut joined = self.0.clone();
        if !joined.is_empty() && !below.0.is_empty() {
            joined.push(b'/');
        }
        joined.extend_from_slice(&below.0);
        Self(joined)
    }

    /// The names along the path.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
    }

    /// The directory and the name in it; `None` for the root.
    #[must_use]
    pub fn split(&self) -> Option<(Self, &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        let at = self.0.iter().rposition(|&byte| byte == b'/');
        let (parent, name) = match at {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (&self.0[..0], &self.0[..]),
        };
        Some((Self(parent.to_vec()), name))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Trims one byte at both ends; the standard library has this for white space only.
trait TrimBytes {
    fn trim_byte(&self, byte: u8) -> &[u8];
}

impl TrimBytes for [u8] {
    fn trim_byte(&self, byte: u8) -> &[u8] {
        let start = self.iter().position(|&b| b != byte).unwrap_or(self.len());
        let end = self
            .iter()
            .rposition(|&b| b != byte)
            .map_or(start, |at| at + 1);
        &self[start..end]
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_tree() {
        for bad in ["..", "a/../b", "a//b", "./a", "a/.", "a\0b"] {
            assert!(TreePath::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            TreePath::new("/a/b/").unwrap(),
            TreePath::new("a/b").unwrap()
        );
        assert_eq!(TreePath::new("///").unwrap(), TreePath::root());
    }

    #[test]
    fn a_path_is_its_directory_and_its_name() {
        let path = TreePath::new("a/b/c").unwrap();
        let (parent, name) = path.split().unwrap();
        assert_eq!((parent.to_string().as_str(), name), ("/a/b", &b"c"[..]));
        assert_eq!(path.names().count(), 3);
        assert!(TreePath::root().split().is_none());
    }
}
