//! Names that become paths.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// The name of a stack, a service or a copy.
///
/// It becomes a directory in every recovery point, so it is 1 to 63 ASCII letters, digits, `.`,
/// `_` or `-`, and begins with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 63 letters, digits, `.`, `_` or `-`, and begins with a letter or digit")]
pub struct NameError;

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let begins = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if begins && text.len() <= 63 && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError)
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_escape_its_directory_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "-x",
            ".env",
            "ä",
            "a b",
            &"a".repeat(64),
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
        assert_eq!(
            &*"postgres-15.main".parse::<Name>().unwrap(),
            "postgres-15.main"
        );
    }
}
