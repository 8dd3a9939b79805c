//! Buckets of a recovery point brought back elsewhere: to another bucket or server, or to a directory, as they were captured or
//! as they were at a moment between.
//!
//! Start at [`restore_bucket`]. How objects are written is in [`rekindle_datasets::s3::restore`]; here it is found out which
//! point, which bucket and which server are meant.

mod choose;
mod error;
mod run;
mod target;

use std::{path::PathBuf, sync::Arc};

use jiff::Timestamp;
use rekindle_stack::{Secret, Stack, VaultLocation};
use rekindle_vault::Progress;

pub use error::BucketError;
pub use run::{
    BucketDirectory, BucketOutcome, BucketPlan, restore_bucket, restore_bucket_to_directory,
};

pub(crate) use choose::point_of_moment;

/// Which bucket of which point.
pub struct BucketRequest<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// A service with buckets.
    pub service: String,
    /// The point: an id, the beginning of one, a tag or a time. `None`: the newest; with a moment, the first that was made
    /// after it.
    pub point: Option<String>,
    /// As it was then, by its versions; as it was captured if `None`.
    pub at: Option<Timestamp>,
    /// `BUCKET`, or `BUCKET/PATH` as it lies in the point; may be left out if the point has one bucket of the service.
    pub part: Option<String>,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

/// Where a bucket goes.
pub struct BucketTarget {
    /// `s3://BUCKET/PREFIX?endpoint=URL&region=REGION`; without an endpoint, the server of the service itself.
    pub to: VaultLocation,
    /// Access keys; needed for another server than the service's own.
    pub credentials: Option<Secret>,
    /// PEM file of the authority that signed the server's certificate, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// With older versions and delete markers, in their order.
    pub with_history: bool,
}
