//! What archiving needs to know of a vault, and may lie open on the server's disk.

use std::{fmt, str::FromStr};

use crate::{age::Recipient, id::Id};

const FIRST_LINE: &str = "rekindle-wal-recipient 1";

/// To whom WAL is sealed, and which vault it is for. Holds no secret.
///
/// Its text (`to_string`, `parse`) may be kept in a file, so that archiving needs no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalPublic {
    /// The repository's id.
    pub vault_id: String,
    /// Hash of the sealed `config` object, by which another vault in the same place is noticed.
    pub config_hash: Id,
    /// To whom objects are sealed; one, or two if the key file of the vault is another program's.
    pub recipients: Vec<Recipient>,
}

/// A text that is no [`WalPublic`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cached WAL recipient: {0}")]
pub struct BadWalPublic(&'static str);

impl fmt::Display for WalPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        writeln!(f, "vault {}", self.vault_id)?;
        writeln!(f, "config {}", self.config_hash)?;
        for recipient in &self.recipients {
            writeln!(f, "recipient {recipient}")?;
        }
        writeln!(f, "end")
    }
}

impl FromStr for WalPublic {
    type Err = BadWalPublic;

    fn from_str(text: &str) -> Result<Self, BadWalPublic> {
        let rest = text.strip_prefix(FIRST_LINE);
        let rest = rest.and_then(|rest| rest.strip_prefix('\n'));
        let rest = rest.ok_or(BadWalPublic("its first line is another one"))?;
        // A text that is cut may lack a recipient, and whoever it names could not read the archive.
        let rest = rest.strip_suffix("end\n");
        let rest = rest.ok_or(BadWalPublic("it is cut before its end"))?;
        let mut public = Self {
            vault_id: String::new(),
            config_hash: Id::from_bytes([0; 32]),
            recipients: Vec::new(),
        };
        for line in rest.lines() {
            let bad = BadWalPublic("a line of it is wrong");
            match line.split_once(' ') {
                Some(("vault", id)) => public.vault_id = id.to_owned(),
                Some(("config", hash)) => public.config_hash = hash.parse().map_err(|_| bad)?,
                Some(("recipient", key)) => public.recipients.push(key.parse().map_err(|_| bad)?),
                _ => return Err(bad),
            }
        }
        if public.recipients.is_empty() || public.vault_id.is_empty() {
            return Err(BadWalPublic("a part of it is missing"));
        }
        Ok(public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::age::Identity;

    #[test]
    fn its_text_comes_back_and_a_cut_or_changed_one_is_refused() {
        let recipient = || Identity::random().unwrap().recipient();
        let public = WalPublic {
            vault_id: Id::random().unwrap().to_string(),
            config_hash: Id::of(b"config"),
            recipients: vec![recipient(), recipient()],
        };
        let text = public.to_string();
        assert_eq!(text.parse(), Ok(public.clone()));
        for length in 0..text.len() {
            assert!(text[..length].parse::<WalPublic>().is_err(), "{length}");
        }
        for (was, is) in [
            ("age1", "age2"),
            ("config ", "config 0"),
            ("vault", "vulta"),
        ] {
            assert!(text.replacen(was, is, 1).parse::<WalPublic>().is_err());
        }
    }
}
