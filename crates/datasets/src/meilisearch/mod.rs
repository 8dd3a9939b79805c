//! A captured MeiliSearch server.

mod record;

pub use record::{MeilisearchAside, MeilisearchRecord};
