//! Why a bucket was not brought back elsewhere.

use rekindle_datasets::s3::restore::S3RestoreError;
use rekindle_stack::S3CredentialsError;
use rekindle_stores::OpenStoreError;

/// Why a bucket was not brought back elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// Several buckets, and none was named.
    #[error("the point has several buckets of `{service}`: {known}")]
    WhichBucket {
        /// The service.
        service: String,
        /// Its buckets.
        known: String,
    },
    /// The server is neither named nor known.
    #[error("it is not known on which server `{to}` lies")]
    WhichServer {
        /// The target.
        to: String,
    },
    /// No access keys.
    #[error("there are no access keys for {endpoint}")]
    NoCredentials {
        /// The server.
        endpoint: String,
    },
    /// Access keys that are none.
    #[error("read the access keys for {endpoint}")]
    Credentials {
        /// The server.
        endpoint: String,
        /// What is wrong with them.
        source: S3CredentialsError,
    },
    /// The target cannot be used.
    #[error("use `{to}`")]
    Target {
        /// The target.
        to: String,
        /// Why.
        source: OpenStoreError,
    },
    /// It was refused, or failed.
    #[error("restore bucket `{bucket}` to {to}")]
    Restore {
        /// The bucket in the point.
        bucket: String,
        /// The target.
        to: String,
        /// Why.
        source: Box<S3RestoreError>,
    },
}

impl BucketError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::WhichBucket { .. } => Some("`--path BUCKET` says which is meant".to_owned()),
            Self::WhichServer { .. } => {
                Some("write it as `s3://BUCKET/PREFIX?endpoint=https://HOST:PORT`".to_owned())
            }
            Self::NoCredentials { .. } | Self::Credentials { .. } => Some(
                "`--credentials-file FILE` names a file with `ACCESS:SECRET`; or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                    .to_owned(),
            ),
            Self::Target { source, .. } => source.hint().map(str::to_owned),
            Self::Restore { source, .. } => source.hint(),
        }
    }

    /// Whether the point's own data cannot be read.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Restore { source, .. } if source.is_damage())
    }
}
