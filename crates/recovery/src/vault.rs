//! The vault of the configuration.

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use rekindle_stack::{self as stack, SecretSource, VaultLocation};
use rekindle_stores::{Encryption, LockMode, ObjectLock, StoreSettings};
use rekindle_vault::{Compression, Password, Store, Vault, store::LockPeriod};

use crate::RecoveryError;

/// Makes the vault of the configuration.
///
/// # Errors
/// If there is one, or its place or password cannot be used.
pub fn create_vault(settings: &stack::Vault) -> Result<Vault, RecoveryError> {
    Ok(Vault::create(
        store_of(settings)?,
        &password_of(&settings.password)?,
    )?)
}

/// Opens the vault of the configuration. Of one that lies far away, snapshots, indexes and trees are
/// kept in the cache folder of this machine: `$REKINDLE_CACHE_DIR` (empty for none),
/// `$XDG_CACHE_HOME/rekindle`, `/var/cache/rekindle` for root, else `~/.cache/rekindle`.
///
/// # Errors
/// If there is none, or its place or password cannot be used.
pub fn open_vault(settings: &stack::Vault) -> Result<Vault, RecoveryError> {
    let vault = Vault::open(store_of(settings)?, &password_of(&settings.password)?)?;
    let is_far = !matches!(settings.at, VaultLocation::Local(_));
    let folder = is_far.then(|| cache_folder(&|name| env::var_os(name).map(PathBuf::from)));
    Ok(match folder.flatten() {
        Some(folder) => vault.with_cache(&folder),
        None => vault,
    })
}

fn cache_folder(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if let Some(folder) = variable("REKINDLE_CACHE_DIR") {
        return (!folder.as_os_str().is_empty()).then_some(folder);
    }
    if let Some(folder) = variable("XDG_CACHE_HOME").filter(|folder| folder.is_absolute()) {
        return Some(folder.join("rekindle"));
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/cache/rekindle"));
    }
    Some(variable("HOME")?.join(".cache/rekindle"))
}

/// The store of a vault, wherever it lies. Nothing is asked of it yet.
///
/// # Errors
/// If its credentials cannot be read, or its settings cannot be used.
pub fn store_of(vault: &stack::Vault) -> Result<Arc<dyn Store>, RecoveryError> {
    Ok(rekindle_stores::open(&store_settings(vault)?)?)
}

fn store_settings(vault: &stack::Vault) -> Result<StoreSettings, RecoveryError> {
    let read = |source: &SecretSource| source.read().map_err(RecoveryError::StoreCredentials);
    let options = &vault.store;
    let mut settings = StoreSettings::new(vault.at.clone());
    settings.credentials = vault.credentials.as_ref().map(read).transpose()?;
    settings.storage_class.clone_from(&vault.storage_class);
    settings.path_style = options.path_style;
    settings.ca_file.clone_from(&options.ca_file);
    settings.ssh_config.clone_from(&options.ssh_config);
    settings.encryption = options.encryption.as_deref().map(encryption);
    settings.object_lock = vault.object_lock.map(object_lock).transpose()?;
    settings.upload_limit = options.upload_limit;
    settings.download_limit = options.download_limit;
    if let Some(period) = options.retry_for {
        settings.retry_for = period.as_duration();
    }
    Ok(settings)
}

fn object_lock(lock: stack::ObjectLock) -> Result<ObjectLock, RecoveryError> {
    let period =
        LockPeriod::of_days(lock.days).ok_or(RecoveryError::LockDays { days: lock.days })?;
    let mode = match lock.mode {
        stack::ObjectLockMode::Governance => LockMode::Governance,
        stack::ObjectLockMode::Compliance => LockMode::Compliance,
    };
    Ok(ObjectLock { mode, period })
}

/// The configuration has no others.
fn encryption(text: &str) -> Encryption {
    match text.strip_prefix("aws:kms") {
        Some(key) => Encryption::Kms(key.strip_prefix(':').map(str::to_owned)),
        None => Encryption::Store,
    }
}

pub(crate) fn password_of(source: &SecretSource) -> Result<Password, RecoveryError> {
    let secret = source.read().map_err(RecoveryError::VaultPassword)?;
    Ok(Password::new(secret.expose()))
}

/// A backup waits so long for whoever is alone in the vault: the last part of a prune takes seconds.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(2 * 60);

pub(crate) const fn compression_of(settings: &stack::Vault) -> Compression {
    match settings.compression {
        stack::Compression::Fast => Compression::Fast,
        stack::Compression::Max => Compression::Max,
        _ => Compression::Default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_lies_where_it_is_told_or_nowhere() {
        let told = |name: &str, value: &str| {
            let (name, value) = (name.to_owned(), PathBuf::from(value));
            cache_folder(&move |asked| (asked == name).then(|| value.clone()))
        };
        assert_eq!(told("REKINDLE_CACHE_DIR", "/c"), Some("/c".into()));
        assert_eq!(told("REKINDLE_CACHE_DIR", ""), None);
        assert_eq!(told("XDG_CACHE_HOME", "/x"), Some("/x/rekindle".into()));
        assert_ne!(told("XDG_CACHE_HOME", "x"), Some("x/rekindle".into()));
    }
}
