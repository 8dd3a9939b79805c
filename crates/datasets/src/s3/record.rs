//! What is known of captured buckets of an S3-compatible store.

use serde::{Deserialize, Serialize};

/// What is known of captured buckets of an S3-compatible store. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct S3Record {}

/// What a restore in place set aside: enough to bring it back. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct S3Aside {}
