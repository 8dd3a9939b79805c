//! A client for buckets that are backed up or restored: objects with all that S3 keeps beside their bytes, their
//! versions, and the settings of buckets.
//!
//! Start at [`S3Client`]. It is synchronous, may be used by any number of threads at once, tries again what passes by
//! itself, and believes no answer that is cut. A vault on S3 is another matter: that is a [`Store`](crate::Store).
//!
//! Absent on purpose: what is to be read or written. Nothing here deletes more than the one version it is told.

mod bucket;
mod error;
mod list;
mod object;
mod parts;
mod send;
mod settings;
mod sign;
mod types;

pub use bucket::{BucketSetting, Versioning};
pub use error::S3Error;
pub use list::ListedVersion;
pub use object::{ContentMd5, Fetched, Written};
pub use parts::{PartsUpload, md5_of_parts, part_bytes_of};
pub use send::S3Client;
pub use settings::S3Settings;
pub use types::{Attributes, ETag, ObjectHead};
