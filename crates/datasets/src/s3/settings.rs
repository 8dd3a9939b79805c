//! The settings of a bucket, as they are stored beside its objects.

use std::collections::BTreeMap;

use rekindle_stores::s3::{BucketSetting, S3Client, S3Error, Versioning};
use serde::{Deserialize, Serialize};

use super::record::VersioningRecord;
use crate::with_causes;

/// `bucket.json`. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSettings {
    /// The bucket.
    pub bucket: String,
    /// Whether it keeps older versions.
    pub versioning: VersioningRecord,
    /// Each setting's document, as the server gave it and takes it, under its name in S3's URLs.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Settings that could not be read, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unread: BTreeMap<String, String>,
}

impl BucketSettings {
    /// As the server has them. What cannot be read is named; that a server does not know a setting is no failure.
    ///
    /// # Errors
    /// [`S3Error`] if the bucket is not there or nobody answers.
    pub fn read(client: &S3Client, bucket: &str) -> Result<Self, S3Error> {
        let mut read = Self {
            bucket: bucket.to_owned(),
            ..Self::default()
        };
        read.versioning = match client.versioning(bucket) {
            Ok(Versioning::Off) => VersioningRecord::Off,
            Ok(Versioning::On) => VersioningRecord::On,
            Ok(Versioning::Suspended) => VersioningRecord::Suspended,
            Err(error) => {
                read.note("versioning", error)?;
                VersioningRecord::Unknown
            }
        };
        for setting in BucketSetting::ALL {
            match client.setting(bucket, setting) {
                Ok(Some(document)) => {
                    read.settings.insert(setting.name().to_owned(), document);
                }
                Ok(None) => {}
                Err(error) => read.note(setting.name(), error)?,
            }
        }
        Ok(read)
    }

    /// Notes what an answer, if only a refusal, has told; everything else is a failure.
    fn note(&mut self, name: &str, error: S3Error) -> Result<(), S3Error> {
        if error.is_unsupported() {
            let said = "the server does not know this setting".to_owned();
            self.unread.insert(name.to_owned(), said);
            return Ok(());
        }
        if error.is_no_bucket() || error.status().is_none() {
            return Err(error);
        }
        self.unread.insert(name.to_owned(), with_causes(&error));
        Ok(())
    }

    /// What a person should know of it.
    pub fn warnings(&self) -> Vec<String> {
        let bucket = &self.bucket;
        let mut warnings = Vec::new();
        let unknown = "the server does not know this setting";
        if self
            .unread
            .get("versioning")
            .is_some_and(|why| why == unknown)
        {
            warnings.push(format!(
                "bucket `{bucket}`: the server knows no versions; what was overwritten before a backup is in none"
            ));
        }
        for (name, why) in &self.unread {
            if why != unknown {
                warnings.push(format!(
                    "bucket `{bucket}`: its {name} is not in the point: {why}"
                ));
            }
        }
        warnings
    }
}
