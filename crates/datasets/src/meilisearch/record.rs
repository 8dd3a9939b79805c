//! What is known of a captured MeiliSearch server.

use serde::{Deserialize, Serialize};

/// What is known of a captured MeiliSearch server. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MeilisearchRecord {}

/// What a restore in place set aside: enough to bring it back. Fields are added, never renamed or reused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MeilisearchAside {}
