//! The configuration that travels with the data: what the services were run with, in every recovery point.
//!
//! It lies below `stack/configuration/`. A service may be called `stack`, too: its datasets are `stack/<kind>`, and there is
//! no kind `configuration`.
//!
//! The vault is encrypted, so `.env` files may go into it. What opens the vault itself may not: inside it would help nobody,
//! and whoever is given a restored tree should not have been given the keys.

mod collect;
mod redact;

use std::path::PathBuf;

use jiff::Timestamp;
use rekindle_runtimes::{Runtime, ServiceState};
use rekindle_stack::Stack;
use rekindle_vault::{Backup, BackupError, Node, NodeKind, TreePath};
use serde::{Deserialize, Serialize};

use self::{collect::Collected, redact::Forbidden};
use crate::RecoveryError;

/// Where it lies in a recovery point.
pub(crate) const PATH: &str = "stack/configuration";

/// The configuration in a recovery point. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ConfigurationRecord {
    /// Where it lies in the point.
    pub path: String,
    /// Its files.
    pub files: Vec<ConfigurationFile>,
    /// Files that were not taken, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// What each service ran, as the runtime told; else as the Compose files say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ServiceImage>,
}

/// A file of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfigurationFile {
    /// Where it was.
    pub source: PathBuf,
    /// Where it lies in the point.
    pub path: String,
    /// Whether something was taken out: a secret of the vault.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

/// What a service ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceImage {
    /// The service.
    pub service: String,
    /// The name of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image exactly, so that it can be had again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What it was to the runtime: the name of a container, a unit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
}

/// Adds the configuration to a running backup. What cannot be read is told in the record, and keeps nothing else from
/// being stored.
///
/// # Errors
/// As the backup fails.
pub(crate) fn add_configuration(
    backup: &Backup,
    stack: &Stack,
    runtime: Option<&dyn Runtime>,
) -> Result<ConfigurationRecord, RecoveryError> {
    let forbidden = Forbidden::of(stack);
    let mut record = ConfigurationRecord {
        path: PATH.to_owned(),
        ..ConfigurationRecord::default()
    };
    let (files, project) = collect::files(stack, runtime);
    for file in files {
        add_file(backup, &file, stack, &forbidden, &mut record)?;
    }
    let states = runtime.and_then(|runtime| runtime.list().ok());
    record.images = match &states {
        Some(states) => states.iter().map(of_state).collect(),
        None => project.iter().flat_map(collect::images).collect(),
    };
    if let Some(states) = states {
        let json = serde_json::to_vec_pretty(&states).map_err(rekindle_vault::VaultError::from)?;
        store(backup, "services.json", &json, Timestamp::now())?;
    }
    Ok(record)
}

fn of_state(state: &ServiceState) -> ServiceImage {
    ServiceImage {
        service: state.name.clone(),
        image: state.image.clone(),
        digest: state.image_digest.clone(),
        unit: state.unit.clone(),
    }
}

fn add_file(
    backup: &Backup,
    file: &Collected,
    stack: &Stack,
    forbidden: &Forbidden,
    record: &mut ConfigurationRecord,
) -> Result<(), RecoveryError> {
    let text = match forbidden.read(&file.source) {
        Ok(text) => text,
        Err(why) => {
            tracing::warn!(file = %file.source.display(), why, "a configuration file is not in the recovery point");
            record
                .left_out
                .push(format!("{}: {why}", file.source.display()));
            return Ok(());
        }
    };
    // The vault's secrets in rekindle.yaml itself are found by their keys: whatever their text, nothing else is hit.
    let is_own = file.source == stack.path && forbidden.are_inline();
    let bytes = if is_own {
        rekindle_stack::show(stack).into_bytes()
    } else {
        text.bytes
    };
    let path = store(backup, &file.name, &bytes, text.changed)?;
    record.files.push(ConfigurationFile {
        source: file.source.clone(),
        path,
        redacted: is_own || text.redacted,
    });
    Ok(())
}

fn store(
    backup: &Backup,
    name: &str,
    bytes: &[u8],
    changed: Timestamp,
) -> Result<String, RecoveryError> {
    let path = format!("{PATH}/{name}");
    let tree_path = TreePath::new(&path).map_err(BackupError::from)?;
    let node = Node {
        // There are secrets in it.
        mode: Node::go_mode(NodeKind::File, 0o600),
        mtime: changed,
        ..Node::default()
    };
    backup.add_bytes(&tree_path, node, bytes)?;
    Ok(path)
}
