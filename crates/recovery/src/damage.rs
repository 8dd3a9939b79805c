//! What the work on a damaged vault needs of the configuration: its copies, what is left of it, and where this machine
//! remembers which packs were verified.

use std::{env, path::PathBuf, sync::Arc};

use rekindle_stack as stack;
use rekindle_vault::{ConfigRemade, Progress, Salvage, Vault};

use crate::{
    RecoveryError,
    copies::open_copy,
    manifest,
    vault::{password_of, store_of},
};

/// The copies of a vault that can be opened, and why others cannot: a copy that is away must not keep the others from
/// healing.
pub struct Sources {
    /// Those that can.
    pub vaults: Vec<Vault>,
    /// Those that cannot: name and reason.
    pub failed: Vec<(String, RecoveryError)>,
}

/// Opens the copies of these names, or all if there are none.
///
/// # Errors
/// [`RecoveryError::UnknownCopy`] for a name that no copy has.
pub fn open_sources(settings: &stack::Vault, names: &[String]) -> Result<Sources, RecoveryError> {
    let all: Vec<String> = settings.copies.iter().map(|c| c.name.to_string()).collect();
    if let Some(name) = names.iter().find(|name| !all.contains(name)) {
        return Err(RecoveryError::UnknownCopy {
            name: name.clone(),
            known: if all.is_empty() {
                "none".to_owned()
            } else {
                all.join(", ")
            },
        });
    }
    let mut sources = Sources {
        vaults: Vec::new(),
        failed: Vec::new(),
    };
    for name in if names.is_empty() { &all } else { names } {
        match open_copy(settings, name) {
            Ok(vault) => sources.vaults.push(vault),
            Err(error) => sources.failed.push((name.clone(), error)),
        }
    }
    Ok(sources)
}

/// Opens what is left of the vault of the configuration.
///
/// # Errors
/// As [`Salvage::open`], or its place or password cannot be used.
pub fn open_salvage(
    settings: &stack::Vault,
    progress: &Arc<Progress>,
) -> Result<Salvage, RecoveryError> {
    let password = password_of(&settings.password)?;
    Ok(Salvage::open(store_of(settings)?, &password, progress)?)
}

/// Makes the vault's configuration anew if it is gone or damaged.
///
/// # Errors
/// As [`Vault::remake_config`], or its place or password cannot be used.
pub fn remake_config(
    settings: &stack::Vault,
    sources: &[Vault],
) -> Result<ConfigRemade, RecoveryError> {
    let password = password_of(&settings.password)?;
    let store = store_of(settings)?;
    Ok(Vault::remake_config(store, &password, sources)?)
}

/// The file by which the root of a whole recovery point is known.
#[must_use]
pub const fn point_marker() -> &'static str {
    manifest::PATH
}

/// Where this machine keeps what it can do without: `$STATE_DIRECTORY` (as systemd sets it), for root
/// `/var/lib/rekindle`, else `rekindle` in `$XDG_STATE_HOME` or `~/.local/state`. Source: systemd.exec(5); the XDG Base
/// Directory Specification.
#[must_use]
pub fn state_directory() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(directories) = set("STATE_DIRECTORY")
        && let Some(first) = env::split_paths(&directories).next()
    {
        return first;
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/rekindle");
    }
    let home = || Some(PathBuf::from(set("HOME")?).join(".local/state"));
    let state = set("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    state.unwrap_or_else(env::temp_dir).join("rekindle")
}
