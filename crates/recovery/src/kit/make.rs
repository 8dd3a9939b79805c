//! Making a kit.

use jiff::Timestamp;
use rekindle_stack::{S3Credentials, Secret, SecretError, SecretSource, Stack, VaultLocation};
use rekindle_vault::{
    Host, Vault, VaultError,
    age::{self, AgeError, Recipient},
};
use zeroize::Zeroizing;

use super::{
    archive::{self, Entry},
    facts::{self, KitFacts, KitPlace},
    freshness, page, text,
};
use crate::{RecoveryError, wal::utc};

/// The cost of a passphrase that people choose, as a power of two: that of the stock program.
const PASSPHRASE_LOG_N: u8 = 18;

/// Who may open the file.
#[derive(Clone, Debug)]
pub enum KitSeal {
    /// The recipients of `vault.escrow`.
    Escrow,
    /// Whoever knows this passphrase.
    Passphrase(Secret),
}

/// What a kit is made of.
#[derive(Clone, Debug)]
pub struct KitSource<'a> {
    /// The configuration.
    pub stack: &'a Stack,
    /// Its text as it stands in the file.
    pub config: &'a str,
    /// The vault.
    pub vault: &'a Vault,
    /// Who may open it.
    pub seal: KitSeal,
}

/// A kit, to be written.
#[derive(Debug)]
pub struct Kit {
    /// The name of the sealed file.
    pub file_name: String,
    /// The sealed file.
    pub sealed: Vec<u8>,
    /// The name of the page.
    pub page_name: String,
    /// The page, HTML; without a secret.
    pub page: String,
    /// What could not be put into it, in words.
    pub missing: Vec<String>,
}

/// Why there is no kit, or it does not open.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// A secret that must be in it cannot be read.
    #[error("read the {what}")]
    Secret {
        /// What it is.
        what: String,
        /// Why not.
        source: SecretError,
    },
    /// A recipient is none.
    #[error("`vault.escrow`: {0}")]
    Recipient(age::ParseKeyError),
    /// There is nobody to seal it to.
    #[error("`vault.escrow` names nobody")]
    NoEscrow,
    /// It was not sealed, or does not open.
    #[error("{doing}")]
    Seal {
        /// What was to be done.
        doing: &'static str,
        /// Why not.
        source: AgeError,
    },
    /// What it holds is no kit.
    #[error("this is no kit: {reason}")]
    NotAKit {
        /// What is wrong.
        reason: String,
    },
    /// The file system failed.
    #[error("{doing} {path}")]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// With what.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Gathers, writes down and seals all that a restore needs. The vault remembers that it was made once
/// [`Kit::remember`] is called, when it is written.
///
/// # Errors
/// [`KitError`]: a kit without the vault's password is none.
pub fn make_kit(source: &KitSource<'_>, now: Timestamp) -> Result<Kit, RecoveryError> {
    let mut missing = Vec::new();
    let facts = facts_of(source, now);
    let entries = entries(source, &facts, &mut missing)?;
    let packed = archive::pack(&entries, now.as_second());
    let failed = |source| KitError::Seal {
        doing: "seal the kit",
        source,
    };
    let sealed = match &source.seal {
        KitSeal::Passphrase(secret) => {
            let packed = Zeroizing::new(packed);
            age::seal_with_passphrase(secret.expose(), PASSPHRASE_LOG_N, &packed).map_err(failed)?
        }
        KitSeal::Escrow => age::seal(&recipients(source.stack)?, packed).map_err(failed)?,
    };
    Ok(Kit {
        file_name: text::file_name(&facts.stack),
        sealed,
        page_name: format!("rekindle-kit-{}.html", facts.stack),
        page: page::page(&facts),
        missing,
    })
}

impl Kit {
    /// Lets the vault remember that this kit was made of what is now.
    ///
    /// # Errors
    /// As the store failed.
    pub fn remember(&self, source: &KitSource<'_>, now: Timestamp) -> Result<(), RecoveryError> {
        freshness::remember(source.stack, source.vault, now)
    }
}

fn recipients(stack: &Stack) -> Result<Vec<Recipient>, KitError> {
    let parsed = stack.vault.escrow.iter().map(|text| text.parse());
    let recipients: Vec<Recipient> = parsed
        .collect::<Result<_, _>>()
        .map_err(KitError::Recipient)?;
    match recipients.is_empty() {
        true => Err(KitError::NoEscrow),
        false => Ok(recipients),
    }
}

fn facts_of(source: &KitSource<'_>, now: Timestamp) -> KitFacts {
    let stack = source.stack;
    let by_passphrase = matches!(source.seal, KitSeal::Passphrase(_));
    let mut places = vec![KitPlace {
        name: "vault".to_owned(),
        location: stack.vault.at.clone(),
        has_credentials: stack.vault.credentials.is_some(),
    }];
    places.extend(stack.vault.copies.iter().map(|copy| KitPlace {
        name: copy.name.to_string(),
        location: copy.at.clone(),
        has_credentials: copy.credentials.is_some(),
    }));
    let minute = jiff::Timestamp::from_second(now.as_second() / 60 * 60).unwrap_or(now);
    KitFacts {
        stack: stack.name.to_string(),
        made: utc(minute),
        host: Host::current().name,
        places,
        services: facts::services(stack, source.vault),
        by_passphrase,
        escrow: match by_passphrase {
            true => Vec::new(),
            false => stack.vault.escrow.clone(),
        },
        contacts: stack.contacts.clone(),
    }
}

fn entries(
    source: &KitSource<'_>,
    facts: &KitFacts,
    missing: &mut Vec<String>,
) -> Result<Vec<Entry>, KitError> {
    let mut entries = Vec::new();
    let mut add = |name: &str, content: &[u8]| {
        entries.push(Entry {
            name: name.to_owned(),
            content: Zeroizing::new(content.to_vec()),
        });
    };
    let mut stack = source.stack.clone();
    add("README.txt", text::plain(facts).as_bytes());
    add("rekindle.yaml.original", source.config.as_bytes());
    add("secrets/wal.key", source.vault.wal_identity()?.as_bytes());
    let password = read("password of the vault", &stack.vault.password)?;
    add("secrets/vault-password", password.expose().as_bytes());
    stack.vault.password = SecretSource::File("secrets/vault-password".into());
    if let Some(credentials) = &stack.vault.credentials {
        let secret = read("access keys of the vault", credentials)?;
        add(
            "secrets/vault-credentials",
            &for_a_shell(&stack.vault.at, &secret),
        );
        stack.vault.credentials = Some(SecretSource::File("secrets/vault-credentials".into()));
    }
    // A kit without those of a copy is better than none.
    for copy in &mut stack.vault.copies {
        if let Some(password) = &copy.password {
            match password.read() {
                Ok(secret) => {
                    let name = format!("secrets/copy-{}-password", copy.name);
                    add(&name, secret.expose().as_bytes());
                    copy.password = Some(SecretSource::File(name.into()));
                }
                Err(error) => {
                    missing.push(format!("password of the copy `{}`: {error}", copy.name))
                }
            }
        }
        if let Some(credentials) = &copy.credentials {
            match credentials.read() {
                Ok(secret) => {
                    let name = format!("secrets/copy-{}-credentials", copy.name);
                    add(&name, &for_a_shell(&copy.at, &secret));
                    copy.credentials = Some(SecretSource::File(name.into()));
                }
                Err(error) => {
                    missing.push(format!("access keys of the copy `{}`: {error}", copy.name));
                }
            }
        }
    }
    add("rekindle.yaml", rekindle_stack::show(&stack).as_bytes());
    Ok(entries)
}

fn read(what: &str, source: &SecretSource) -> Result<Secret, KitError> {
    source.read().map_err(|source| KitError::Secret {
        what: what.to_owned(),
        source,
    })
}

/// Lines that a shell takes as variables, which restic and rclone read; as it is if they are none.
fn for_a_shell(location: &VaultLocation, secret: &Secret) -> Zeroizing<Vec<u8>> {
    let as_it_is = || Zeroizing::new(secret.expose().as_bytes().to_vec());
    if !matches!(location, VaultLocation::S3 { .. }) {
        return as_it_is();
    }
    let Ok(keys) = S3Credentials::parse(secret) else {
        return as_it_is();
    };
    let mut lines = Zeroizing::new(format!(
        "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\n",
        text::quoted(&keys.access_key_id),
        text::quoted(keys.secret_access_key.expose())
    ));
    if let Some(token) = &keys.session_token {
        lines.push_str(&format!(
            "AWS_SESSION_TOKEN={}\n",
            text::quoted(token.expose())
        ));
    }
    Zeroizing::new(lines.as_bytes().to_vec())
}
