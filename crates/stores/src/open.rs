//! From settings to a store: the only place where wrappers are stacked.

use std::sync::Arc;

use rekindle_stack::VaultLocation;
use rekindle_vault::{Store, store::LocalStore};

use crate::{
    Limited, OpenStoreError, RetryPolicy, Retrying, SftpStore, StoreSettings, azure, gcs,
    http::{Connector, client_config},
    s3,
};

/// The store of `settings`, as the engine uses it. From the outside in:
///
/// 1. retrying: one operation is tried again, and so is limited again;
/// 2. limits: bytes per second;
/// 3. the store itself.
///
/// A directory of this machine has neither: what fails there fails again.
///
/// # Errors
/// If the settings cannot be used. Nothing is sent to the store yet.
pub fn open(settings: &StoreSettings) -> Result<Arc<dyn Store>, OpenStoreError> {
    let bare = open_bare(settings)?;
    if matches!(settings.location, VaultLocation::Local(_)) {
        return Ok(bare);
    }
    let limited = Limited::new(bare, settings.upload_limit, settings.download_limit);
    let policy = RetryPolicy::lasting(settings.retry_for);
    Ok(Arc::new(Retrying::new(limited, policy)))
}

/// The store itself, without wrappers.
///
/// # Errors
/// As [`open`].
pub fn open_bare(settings: &StoreSettings) -> Result<Arc<dyn Store>, OpenStoreError> {
    let is_s3 = matches!(settings.location, VaultLocation::S3 { .. });
    if settings.object_lock.is_some() && !is_s3 {
        return Err(OpenStoreError::Setting {
            location: settings.location.to_string(),
            reason: "only a place of S3 has Object Lock".to_owned(),
        });
    }
    Ok(match &settings.location {
        VaultLocation::Local(path) => Arc::new(LocalStore::new(path)),
        VaultLocation::S3 { .. } => Arc::new(s3(settings)?),
        VaultLocation::Gcs { .. } => Arc::new(gcs(settings)?),
        VaultLocation::Azure { .. } => Arc::new(azure(settings)?),
        VaultLocation::Sftp { .. } => Arc::new(SftpStore::new(settings)?),
        other => {
            return Err(OpenStoreError::Unknown {
                location: other.to_string(),
            });
        }
    })
}

/// What the cloud stores speak HTTP through.
pub(crate) fn connector(settings: &StoreSettings) -> Result<Connector, OpenStoreError> {
    let wrong = |reason| OpenStoreError::Setting {
        location: settings.location.to_string(),
        reason,
    };
    let tls = client_config(settings.ca_file.as_deref()).map_err(wrong)?;
    Connector::new(tls, settings.stall).map_err(wrong)
}
