//! Append-only files: which belong together, how far they are whole, and a copy that is consistent.

mod manifest;
mod open;
mod scan;

pub use manifest::{AofKind, Manifest};
pub use open::{OpenAof, OpenAofFile, open};
pub use scan::scan;

/// The directory of append-only files since Redis 7, unless the server names it otherwise.
pub const APPEND_DIRECTORY: &str = "appendonlydir";
/// What append-only files are called, unless the server names them otherwise.
pub const APPEND_FILE: &str = "appendonly.aof";

/// The manifest of append-only files of this name.
pub fn manifest_name(append_file: &str) -> String {
    format!("{append_file}.manifest")
}
