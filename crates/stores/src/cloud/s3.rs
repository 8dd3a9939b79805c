//! S3, and what speaks S3.

use object_store::{
    RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut},
};
use rekindle_stack::{S3Credentials, Secret, VaultLocation};
use rekindle_vault::Store;

use super::{
    CloudStore,
    creation::Creation,
    object_lock::{LockingConnector, Locks, Signatures},
};
use crate::{Encryption, OpenStoreError, StoreSettings, open::connector};

/// The S3 store of `settings`, without any wrapper.
///
/// # Errors
/// If the settings are not those of S3 or cannot be used. Nothing is sent.
pub fn s3(settings: &StoreSettings) -> Result<impl Store + use<>, OpenStoreError> {
    let VaultLocation::S3 {
        bucket,
        prefix,
        endpoint,
        region,
    } = &settings.location
    else {
        return Err(OpenStoreError::Unknown {
            location: settings.location.to_string(),
        });
    };
    let mut builder = with_credentials(settings)?
        .with_bucket_name(bucket)
        .with_retry(no_retries())
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_virtual_hosted_style_request(
            !settings.path_style.unwrap_or_else(|| endpoint.is_some()),
        );
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = endpoint {
        let is_plain = endpoint.starts_with("http://");
        builder = builder
            .with_endpoint(endpoint_url(endpoint, bucket, settings))
            .with_allow_http(is_plain);
    }
    builder = with_encryption(builder, settings.encryption.as_ref());
    let connector = connector(settings)?;
    let signatures = Signatures::default();
    builder = match settings.object_lock {
        None => builder.with_http_connector(connector.clone()),
        Some(_) => builder.with_http_connector(LockingConnector {
            inner: connector.clone(),
            signatures: signatures.clone(),
        }),
    };
    let region = builder.get_config_value(&AmazonS3ConfigKey::Region);
    let built = builder.build().map_err(|error| OpenStoreError::Setting {
        location: settings.location.to_string(),
        reason: error.to_string(),
    })?;
    let creation = match endpoint {
        // AWS has had conditional writes in all regions since August 2024.
        None => Creation::promised(),
        Some(_) => Creation::to_be_tried(),
    };
    let Some(object_lock) = settings.object_lock else {
        return Ok(CloudStore::new(built, prefix, settings, creation));
    };
    // As `object_store` has it where none is given.
    let region = region.unwrap_or_else(|| "us-east-1".to_owned());
    signatures.are_of(built.clone(), region);
    let locks = Locks::new(connector, signatures, object_lock);
    Ok(CloudStore::new(built, prefix, settings, creation).locking(locks))
}

/// Trying again is decided in one place, above: `Retrying`.
pub(super) fn no_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

/// Without keys in the settings: those of the environment, a web identity, a container's or a machine's
/// role, as `object_store` finds them.
fn with_credentials(settings: &StoreSettings) -> Result<AmazonS3Builder, OpenStoreError> {
    let Some(text) = &settings.credentials else {
        return Ok(AmazonS3Builder::from_env());
    };
    let parsed = S3Credentials::parse(text).map_err(|source| OpenStoreError::Credentials {
        location: settings.location.to_string(),
        source,
    })?;
    let builder = AmazonS3Builder::new()
        .with_access_key_id(parsed.access_key_id)
        .with_secret_access_key(parsed.secret_access_key.expose());
    Ok(match parsed.session_token.as_ref().map(Secret::expose) {
        Some(token) => builder.with_token(token),
        None => builder,
    })
}

/// With the bucket in the host's name, the endpoint has it, too.
fn endpoint_url(endpoint: &str, bucket: &str, settings: &StoreSettings) -> String {
    match (settings.path_style, endpoint.split_once("://")) {
        (Some(false), Some((scheme, host))) => format!("{scheme}://{bucket}.{host}"),
        (_, Some(_)) => endpoint.to_owned(),
        // As restic and the AWS tools take it.
        (_, None) => format!("https://{endpoint}"),
    }
}

fn with_encryption(builder: AmazonS3Builder, encryption: Option<&Encryption>) -> AmazonS3Builder {
    // Its variant of the enumeration has no public name.
    let Ok(kind) = "aws_server_side_encryption".parse::<AmazonS3ConfigKey>() else {
        return builder;
    };
    match encryption {
        None => builder,
        Some(Encryption::Store) => builder.with_config(kind, "AES256"),
        Some(Encryption::Kms(None)) => builder.with_config(kind, "aws:kms"),
        Some(Encryption::Kms(Some(key))) => builder.with_sse_kms_encryption(key),
    }
}
