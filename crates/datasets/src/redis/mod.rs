//! A captured Redis (or Valkey) server.

mod record;

pub use record::{RedisAside, RedisRecord};
