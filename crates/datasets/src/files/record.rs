//! What is known of captured files and directories.

use serde::{Deserialize, Serialize};

/// What is known of captured files and directories. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FilesRecord {}

/// What a restore in place set aside: enough to bring it back. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FilesAside {}
