//! Captured buckets of an S3-compatible store.

mod record;

pub use record::{S3Aside, S3Record};
