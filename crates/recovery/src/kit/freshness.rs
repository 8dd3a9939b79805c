//! Whether the kit that was made last still fits.

use jiff::Timestamp;
use rekindle_stack::{SecretSource, Stack};
use rekindle_vault::{Id, Vault};
use serde::{Deserialize, Serialize};

use crate::RecoveryError;

const NOTE: &str = "kit";

/// The kit that was made last, against what is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KitState {
    /// None was ever made.
    Missing,
    /// The configuration, a key or an access key of a store changed since.
    Outdated(Timestamp),
    /// It fits.
    Fresh(Timestamp),
}

#[derive(Serialize, Deserialize)]
struct Note {
    format: u32,
    made: Timestamp,
    fingerprint: Id,
}

/// Tells whether the last kit still fits the configuration and the keys.
///
/// # Errors
/// As the store failed.
pub fn kit_state(stack: &Stack, vault: &Vault) -> Result<KitState, RecoveryError> {
    let note = vault.read_note(NOTE)?;
    let note: Option<Note> = note.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(match note {
        None => KitState::Missing,
        Some(note) if note.fingerprint == fingerprint(stack, vault)? => KitState::Fresh(note.made),
        Some(note) => KitState::Outdated(note.made),
    })
}

pub(super) fn remember(stack: &Stack, vault: &Vault, made: Timestamp) -> Result<(), RecoveryError> {
    let note = Note {
        format: 1,
        made,
        fingerprint: fingerprint(stack, vault)?,
    };
    let bytes = serde_json::to_vec(&note).map_err(rekindle_vault::VaultError::from)?;
    Ok(vault.write_note(NOTE, &bytes)?)
}

/// Changes with everything that is in a kit; secrets are in it as hashes only, and the note is sealed.
fn fingerprint(stack: &Stack, vault: &Vault) -> Result<Id, RecoveryError> {
    let mut text = rekindle_stack::show(stack);
    let mut keys: Vec<Id> = vault.keys()?.iter().map(|key| key.id).collect();
    keys.sort();
    for key in keys {
        text += &format!("\nkey {key}");
    }
    let copies = stack
        .vault
        .copies
        .iter()
        .map(|copy| copy.credentials.as_ref());
    for credentials in std::iter::once(stack.vault.credentials.as_ref()).chain(copies) {
        let secret = credentials.map(SecretSource::read).and_then(Result::ok);
        let hash = secret.map(|secret| Id::of(secret.expose().as_bytes()));
        text += &format!(
            "\ncredentials {}",
            hash.map(|hash| hash.to_string()).unwrap_or_default()
        );
    }
    Ok(Id::of(text.as_bytes()))
}
