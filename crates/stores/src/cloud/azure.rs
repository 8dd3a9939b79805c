//! Azure Blob Storage.

use object_store::azure::MicrosoftAzureBuilder;
use rekindle_stack::VaultLocation;
use rekindle_vault::Store;

use super::{CloudStore, creation::Creation, s3::no_retries};
use crate::{OpenStoreError, StoreSettings, open::connector};

/// The store of `settings` at Azure, without any wrapper.
///
/// Credentials: `ACCOUNT:KEY`. Without them: `AZURE_STORAGE_ACCOUNT_NAME` with a key, a token or a service
/// principal of the environment, or the machine's managed identity.
///
/// # Errors
/// If the settings are not those of Azure or cannot be used. Nothing is sent.
pub fn azure(settings: &StoreSettings) -> Result<impl Store + use<>, OpenStoreError> {
    let wrong = |reason: String| OpenStoreError::Setting {
        location: settings.location.to_string(),
        reason,
    };
    let VaultLocation::Azure { container, prefix } = &settings.location else {
        return Err(OpenStoreError::Unknown {
            location: settings.location.to_string(),
        });
    };
    let mut builder = MicrosoftAzureBuilder::from_env();
    if let Some(credentials) = &settings.credentials {
        let (account, key) = credentials
            .expose()
            .trim()
            .split_once(':')
            .ok_or_else(|| wrong("the credentials are not ACCOUNT:KEY".to_owned()))?;
        builder = builder.with_account(account).with_access_key(key);
    }
    let built = builder
        .with_container_name(container)
        .with_http_connector(connector(settings)?)
        .with_retry(no_retries())
        .build()
        .map_err(|_| wrong("the account or its key is missing or no key".to_owned()))?;
    let creation = Creation::promised();
    Ok(CloudStore::new(built, prefix, settings, creation))
}
