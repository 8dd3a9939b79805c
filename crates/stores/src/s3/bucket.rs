//! Buckets and their settings.

use std::io;

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::{
    S3Client, S3Error,
    error::{strange, unsupported},
    send::{Answer, Request},
};
use crate::xml;

/// Whether a bucket keeps older versions. Source: AWS, "Using versioning in S3 buckets".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    Off,
    /// It does.
    On,
    /// It did; what is written now replaces the version `null`.
    Suspended,
}

/// A setting of a bucket that is read and written as the document that the server has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BucketSetting {
    /// When objects are moved or removed.
    Lifecycle,
    /// Who may do what.
    Policy,
    /// Which pages may read it in a browser.
    Cors,
    /// Tags of the bucket itself.
    Tagging,
    /// Whether it keeps locks, and which it gives by default.
    ObjectLock,
}

impl BucketSetting {
    /// All of them; object lock last, because it forbids most.
    pub const ALL: [Self; 5] = [
        Self::Lifecycle,
        Self::Cors,
        Self::Tagging,
        Self::Policy,
        Self::ObjectLock,
    ];

    /// Its name in S3's URLs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lifecycle => "lifecycle",
            Self::Policy => "policy",
            Self::Cors => "cors",
            Self::Tagging => "tagging",
            Self::ObjectLock => "object-lock",
        }
    }

    /// What a document of it holds; another one is the answer to another question.
    const fn mark(self) -> &'static str {
        match self {
            Self::Lifecycle => "<LifecycleConfiguration",
            Self::Policy => "Statement",
            Self::Cors => "<CORSConfiguration",
            Self::Tagging => "<Tagging",
            Self::ObjectLock => "<ObjectLockConfiguration",
        }
    }
}

impl S3Client {
    /// The names of all buckets of this user.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn buckets(&self) -> Result<Vec<String>, S3Error> {
        let request = Request::new("list the buckets of", Method::GET, "", "");
        let answer = self.ask(&request)?;
        let names = |answer: &Answer| {
            let xml = answer.xml("ListAllMyBucketsResult")?;
            let buckets = xml::all(&xml, "Bucket").map_err(strange)?;
            let name = |bucket: &&str| xml::text(bucket, "Name").map(xml::unescaped);
            let names = buckets.iter().filter_map(name);
            names.collect::<Result<Vec<_>, _>>().map_err(strange)
        };
        names(&answer).map_err(|source| request.error(source))
    }

    /// Makes a bucket; one that is there and ours is no error.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn create_bucket(&self, bucket: &str, with_object_lock: bool) -> Result<(), S3Error> {
        let mut request = Request::new("make", Method::PUT, bucket, "");
        if with_object_lock {
            let value = HeaderValue::from_static("true");
            request
                .headers
                .insert("x-amz-bucket-object-lock-enabled", value);
        }
        let region = self.region();
        if self.is_aws() && region != "us-east-1" {
            let body = format!(
                "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            );
            request = request.carrying(Bytes::from(body));
        }
        match self.ask(&request) {
            Err(error) if error.code() == "BucketAlreadyOwnedByYou" => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Whether there is such a bucket that these keys may see.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn has_bucket(&self, bucket: &str) -> Result<bool, S3Error> {
        let request = Request::new("look at", Method::HEAD, bucket, "");
        match self.ask(&request) {
            Ok(_) => Ok(true),
            // An answer to HEAD has no body, and so no code.
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a bucket keeps older versions.
    ///
    /// # Errors
    /// [`S3Error`]; [`S3Error::is_unsupported`] if the server does not say.
    pub fn versioning(&self, bucket: &str) -> Result<Versioning, S3Error> {
        let request =
            Request::new("read the settings of", Method::GET, bucket, "").with("versioning", "");
        let answer = self.ask(&request)?;
        let xml = answer.xml("VersioningConfiguration");
        let xml = xml.map_err(|source| request.error(source))?;
        match xml::text(&xml, "Status").map(str::trim) {
            Some("Enabled") => Ok(Versioning::On),
            Some("Suspended") => Ok(Versioning::Suspended),
            None | Some("") => Ok(Versioning::Off),
            Some(_) => Err(request.error(strange("its versioning is in no known state"))),
        }
    }

    /// Lets a bucket keep older versions, or no longer.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn set_versioning(&self, bucket: &str, is_on: bool) -> Result<(), S3Error> {
        let status = if is_on { "Enabled" } else { "Suspended" };
        let body = format!(
            "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Status>{status}</Status></VersioningConfiguration>"
        );
        let request = Request::new("set the versioning of", Method::PUT, bucket, "")
            .with("versioning", "")
            .carrying(body.into());
        self.ask(&request).map(drop)
    }

    /// A setting, as the server's own document; `None` if it has none.
    ///
    /// # Errors
    /// [`S3Error`]; [`S3Error::is_unsupported`] if the server does not know it.
    pub fn setting(&self, bucket: &str, setting: BucketSetting) -> Result<Option<String>, S3Error> {
        let request =
            Request::new("read the settings of", Method::GET, bucket, "").with(setting.name(), "");
        let answer = match self.ask(&request) {
            Err(error) if error.is_missing() => return Ok(None),
            answer => answer?,
        };
        let text = answer.text();
        if !text.contains(setting.mark()) {
            let source: io::Error = unsupported("the server gave an answer to another question");
            return Err(request.error(source));
        }
        Ok(Some(text))
    }

    /// Gives a bucket a setting.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn put_setting(
        &self,
        bucket: &str,
        setting: BucketSetting,
        document: &str,
    ) -> Result<(), S3Error> {
        let request = Request::new("set the settings of", Method::PUT, bucket, "")
            .with(setting.name(), "")
            .carrying(Bytes::from(document.to_owned()));
        self.ask(&request).map(drop)
    }
}
