//! Captured files and directories.

mod record;

pub use record::{FilesAside, FilesRecord};
