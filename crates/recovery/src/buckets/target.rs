//! The server that is meant, and the keys for it.

use std::{env, sync::Arc};

use rekindle_datasets::{
    Surroundings,
    s3::{S3Buckets, restore::S3Target},
};
use rekindle_runtimes::Runtime;
use rekindle_stack::{self as stack, S3Credentials, Secret, VaultLocation};
use rekindle_stores::s3::{S3Client, S3Settings};

use super::{BucketError, BucketRequest, BucketTarget};
use crate::RecoveryError;

/// The bucket at the target's URL. Without an endpoint it is on the server of the service, with the keys of the configuration.
pub(super) fn target(
    request: &BucketRequest<'_>,
    target: &BucketTarget,
    runtime: Option<&Arc<dyn Runtime>>,
) -> Result<S3Target, RecoveryError> {
    let VaultLocation::S3 {
        bucket,
        prefix,
        endpoint,
        region,
    } = &target.to
    else {
        return Err(which_server(target).into());
    };
    let own = settings(request);
    let is_own = |settings: &&stack::S3Dataset| {
        let same = |endpoint: &String| {
            endpoint.trim_end_matches('/') == settings.endpoint.expose().trim_end_matches('/')
        };
        endpoint.as_ref().is_none_or(same)
    };
    let client = match own.filter(is_own).filter(|_| target.credentials.is_none()) {
        Some(own) => own_client(request, own, runtime)?,
        None => other_client(endpoint.as_deref(), region.as_deref(), target, own)?,
    };
    Ok(S3Target {
        client,
        bucket: bucket.clone(),
        prefix: match prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        },
    })
}

fn which_server(target: &BucketTarget) -> BucketError {
    BucketError::WhichServer {
        to: target.to.to_string(),
    }
}

fn settings<'a>(request: &BucketRequest<'a>) -> Option<&'a stack::S3Dataset> {
    let service = request.stack.service(&request.service)?;
    service.datasets.iter().find_map(|dataset| match dataset {
        stack::Dataset::S3(settings) => Some(settings),
        _ => None,
    })
}

fn own_client(
    request: &BucketRequest<'_>,
    own: &stack::S3Dataset,
    runtime: Option<&Arc<dyn Runtime>>,
) -> Result<S3Client, RecoveryError> {
    let surroundings = Surroundings {
        service: request.service.clone(),
        directory: request.stack.directory.clone(),
        runtime: runtime.cloned(),
    };
    let buckets = S3Buckets::from_settings(own, &surroundings);
    let buckets = buckets.map_err(|source| RecoveryError::Settings {
        service: request.service.clone(),
        source: Box::new(source),
    })?;
    Ok(buckets.into_client())
}

/// Keys that are given are for the server that is named, or for the service's own.
fn other_client(
    endpoint: Option<&str>,
    region: Option<&str>,
    target: &BucketTarget,
    own: Option<&stack::S3Dataset>,
) -> Result<S3Client, BucketError> {
    let own = own.filter(|_| endpoint.is_none());
    let endpoint = endpoint.or(own.map(|own| own.endpoint.expose()));
    let endpoint = endpoint.ok_or_else(|| which_server(target))?;
    let secret = target.credentials.clone().or_else(from_environment);
    let secret = secret.ok_or_else(|| BucketError::NoCredentials {
        endpoint: endpoint.to_owned(),
    })?;
    let keys = S3Credentials::parse(&secret).map_err(|source| BucketError::Credentials {
        endpoint: endpoint.to_owned(),
        source,
    })?;
    let mut settings = S3Settings::new(Some(endpoint.to_owned()), keys);
    settings.region = region
        .map(str::to_owned)
        .or(own.and_then(|own| own.region.clone()));
    settings.path_style = own.and_then(|own| own.path_style);
    settings.ca_file = target
        .ca_file
        .clone()
        .or(own.and_then(|own| own.ca_file.clone()));
    S3Client::new(settings).map_err(|source| BucketError::Target {
        to: target.to.to_string(),
        source,
    })
}

/// As the tools of AWS take them.
fn from_environment() -> Option<Secret> {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let (key, secret) = (
        variable("AWS_ACCESS_KEY_ID")?,
        variable("AWS_SECRET_ACCESS_KEY")?,
    );
    let mut text = format!("AWS_ACCESS_KEY_ID={key}\nAWS_SECRET_ACCESS_KEY={secret}\n");
    if let Some(token) = variable("AWS_SESSION_TOKEN") {
        text += &format!("AWS_SESSION_TOKEN={token}\n");
    }
    Some(Secret::new(text))
}
