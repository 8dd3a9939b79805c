//! The names of objects: a vault's keys below the folder of the bucket that it lies in.

use object_store::path::Path;
use rekindle_vault::store::ObjectKey;

/// Turns keys into names and back.
pub(super) struct Names {
    /// Ends with a slash, or is empty.
    prefix: String,
}

impl Names {
    pub(super) fn in_folder(folder: &str) -> Self {
        let prefix = match folder {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        Self { prefix }
    }

    /// Names that restic gives are used as they are. In others, whatever is not plain in a URL or in XML
    /// is written as `%` and two hex digits, which no store can misunderstand.
    pub(super) fn path(&self, key: &ObjectKey) -> Path {
        self.raw(&escaped(key.as_str()))
    }

    pub(super) fn folder(&self, folder: &str) -> Path {
        self.raw(&escaped(folder))
    }

    /// What all names begin with; a slash at its end does not count.
    pub(super) fn root(&self) -> Path {
        Path::parse(self.prefix.trim_end_matches('/')).unwrap_or_default()
    }

    /// The key of a name; `None` if it is outside of the folder, or none that we give.
    pub(super) fn key(&self, path: &Path) -> Option<ObjectKey> {
        let inside = path.as_ref().strip_prefix(self.prefix.as_str())?;
        let key = ObjectKey::parse(&unescaped(inside)?)?;
        (escaped(key.as_str()) == inside).then_some(key)
    }

    fn raw(&self, escaped: &str) -> Path {
        let text = format!("{}{escaped}", self.prefix);
        // A prefix that is no path is refused when the settings are read.
        Path::parse(&text).unwrap_or_else(|_| Path::from(text))
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_./".contains(&byte)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_name_of_its_own_and_comes_back() {
        let names = Names::in_folder("a/b");
        for text in ["data/ab/abcd", "x y", "ü", "%20", "a:b?c", "-", "new\nline"] {
            let key = ObjectKey::parse(text).unwrap();
            let path = names.path(&key);
            assert!(path.as_ref().bytes().all(|b| is_plain(b) || b == b'%'));
            assert_eq!(names.key(&path), Some(key), "{path}");
        }
        let plain = ObjectKey::parse("data/ab/abcd").unwrap();
        assert_eq!(names.path(&plain).as_ref(), "a/b/data/ab/abcd");
    }

    #[test]
    fn names_of_others_are_no_keys() {
        let names = Names::in_folder("a");
        for text in ["b/data/x", "ab", "a/with space", "a/%2e", "a/%zz"] {
            assert_eq!(names.key(&Path::parse(text).unwrap()), None, "{text}");
        }
    }
}
