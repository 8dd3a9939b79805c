//! Google Cloud Storage.

use object_store::gcp::GoogleCloudStorageBuilder;
use rekindle_stack::VaultLocation;
use rekindle_vault::Store;

use super::{CloudStore, creation::Creation, s3::no_retries};
use crate::{OpenStoreError, StoreSettings, open::connector};

/// The store of `settings` at Google, without any wrapper.
///
/// Credentials: the JSON of a service account. Without them: `GOOGLE_SERVICE_ACCOUNT`,
/// `GOOGLE_APPLICATION_CREDENTIALS`, or the machine's own account.
///
/// # Errors
/// If the settings are not those of GCS or cannot be used. Nothing is sent.
pub fn gcs(settings: &StoreSettings) -> Result<impl Store + use<>, OpenStoreError> {
    let VaultLocation::Gcs { bucket, prefix } = &settings.location else {
        return Err(OpenStoreError::Unknown {
            location: settings.location.to_string(),
        });
    };
    let builder = match &settings.credentials {
        Some(key) => GoogleCloudStorageBuilder::new().with_service_account_key(key.expose()),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    let built = builder
        .with_bucket_name(bucket)
        .with_http_connector(connector(settings)?)
        .with_retry(no_retries())
        .build()
        // The error may repeat a part of the credentials.
        .map_err(|_| OpenStoreError::Setting {
            location: settings.location.to_string(),
            reason: "the credentials are not the JSON of a service account".to_owned(),
        })?;
    let creation = Creation::promised();
    Ok(CloudStore::new(built, prefix, settings, creation))
}
