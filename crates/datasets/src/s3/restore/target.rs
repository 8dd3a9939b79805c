//! Where a bucket is brought back to.

use std::{fmt, path::Path};

use rekindle_stack::{S3Credentials, VaultLocation};
use rekindle_stores::{
    OpenStoreError,
    s3::{S3Client, S3Settings},
};

/// A bucket, or a folder of one, on some server.
#[derive(Debug)]
pub struct S3Target {
    /// The server.
    pub client: S3Client,
    /// The bucket.
    pub bucket: String,
    /// What stands before all keys; ends with a slash, or is empty.
    pub prefix: String,
}

impl S3Target {
    /// The place of a URL like `s3://bucket/prefix?endpoint=https://host&region=…`.
    ///
    /// # Errors
    /// If it is no place of S3.
    pub fn new(
        location: &VaultLocation,
        credentials: S3Credentials,
        ca_file: Option<&Path>,
    ) -> Result<Self, OpenStoreError> {
        let VaultLocation::S3 {
            bucket,
            prefix,
            endpoint,
            region,
        } = location
        else {
            return Err(OpenStoreError::Unknown {
                location: location.to_string(),
            });
        };
        let mut settings = S3Settings::new(endpoint.clone(), credentials);
        settings.region.clone_from(region);
        settings.ca_file = ca_file.map(Path::to_owned);
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self {
            client: S3Client::new(settings)?,
            bucket: bucket.clone(),
            prefix,
        })
    }

    /// The key there of an object that had this key.
    pub(in crate::s3) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

impl fmt::Display for S3Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.client.endpoint();
        write!(f, "s3://{}/{} on {endpoint}", self.bucket, self.prefix)
    }
}
