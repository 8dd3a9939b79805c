//! X25519 keys: who a file is sealed to, and who opens it.

use std::{fmt, str::FromStr};

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::bech32;

const RECIPIENT_PREFIX: &str = "age";
const IDENTITY_PREFIX: &str = "age-secret-key-";

/// Who a file is sealed to. Public; written `age1…`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Recipient(pub(super) PublicKey);

/// Who opens what is sealed to its recipient. Secret; written `AGE-SECRET-KEY-1…`, never printed,
/// wiped from memory when dropped.
#[derive(Clone)]
pub struct Identity {
    pub(super) secret: StaticSecret,
    recipient: Recipient,
}

/// A text that is no key of age. It does not repeat the text, which may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not an X25519 key of age: it must begin with `{0}1`, and its checksum must hold")]
pub struct ParseKeyError(&'static str);

impl Identity {
    /// A new random one.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut())?;
        Ok(Self::from_bytes(&bytes))
    }

    /// The one of these 32 secret bytes; any are good.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*bytes);
        let recipient = Recipient(PublicKey::from(&secret));
        Self { secret, recipient }
    }

    /// Reads an `AGE-SECRET-KEY-1…`.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, ParseKeyError> {
        let error = ParseKeyError("AGE-SECRET-KEY-");
        // All in one case: a mix of them is a typing error (BIP 173).
        let lower = Zeroizing::new(text.to_ascii_lowercase());
        if text != text.to_ascii_uppercase() {
            return Err(error);
        }
        let bytes = bech32::decode(IDENTITY_PREFIX, &lower).map(Zeroizing::new);
        Ok(Self::from_bytes(&*bytes.ok_or(error)?))
    }

    /// Reads the first key of a text as `age-keygen` writes it: comments, empty lines, keys.
    #[must_use]
    pub fn find_in(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim);
        lines.filter_map(|line| Self::parse(line).ok()).next()
    }

    /// The secret as text.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(self.secret.to_bytes());
        let lower = Zeroizing::new(bech32::encode(IDENTITY_PREFIX, &bytes));
        Zeroizing::new(lower.to_ascii_uppercase())
    }

    /// Who to seal to, for this identity to open it.
    #[must_use]
    pub const fn recipient(&self) -> Recipient {
        self.recipient
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(*** of {})", self.recipient)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode(RECIPIENT_PREFIX, self.0.as_bytes()))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Recipient {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let bytes = bech32::decode(RECIPIENT_PREFIX, text);
        let bytes = bytes.ok_or(ParseKeyError(RECIPIENT_PREFIX))?;
        Ok(Self(PublicKey::from(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made once by `age-keygen` 1.1.1.
    const SECRET: &str =
        "AGE-SECRET-KEY-1PFVA8N8665ZWUSEERLF8089VHHA4FAS5LHJTGA3WHM5CZ0FF5LVSRR4STH";
    const PUBLIC: &str = "age14ak8rcayvspzmz3vrsj96ftxr5uq4fvxuszm83entvs9d9p4z44qp42n2x";

    #[test]
    fn a_key_of_age_keygen_is_read_and_written_as_it_is() {
        let identity = Identity::parse(SECRET).unwrap();
        assert_eq!(identity.to_text().as_str(), SECRET);
        assert_eq!(identity.recipient().to_string(), PUBLIC);
        assert_eq!(PUBLIC.parse(), Ok(identity.recipient()));
        let file = format!("# created: 2026\n# public key: {PUBLIC}\n{SECRET}\n");
        assert_eq!(
            Identity::find_in(&file).unwrap().recipient(),
            identity.recipient()
        );
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        let mixed = format!("{}{}", &SECRET[..40], SECRET[40..].to_lowercase());
        for text in ["", "AGE-SECRET-KEY-1", PUBLIC, &mixed, &SECRET[..73]] {
            let error = Identity::parse(text).unwrap_err().to_string();
            assert!(text.len() < 20 || !error.contains(text), "{error}");
        }
        for text in ["", "age1", SECRET, &PUBLIC.to_uppercase()] {
            assert!(text.parse::<Recipient>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_identity_never_prints() {
        let shown = format!("{:?}", Identity::parse(SECRET).unwrap());
        assert_eq!(shown, format!("Identity(*** of {PUBLIC})"));
    }
}
