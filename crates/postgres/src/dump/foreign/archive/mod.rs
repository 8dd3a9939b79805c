//! Archives of `pg_dump`, read by our own reader: `pg_restore --list` succeeds on an archive of
//! which two thirds are missing, so nothing but reading every block proves one whole.
//!
//! Source of the format: PostgreSQL's `pg_backup_archiver.c` and the files beside it, as of
//! versions 9.0 (archive 1.12) to 18 (archive 1.16).

mod blocks;
mod data;
mod directory;
mod head;
mod large_objects;
mod needs;
mod primitives;
mod tar;
mod toc;

pub(super) use blocks::{inspect_custom, outline_custom};
pub(super) use directory::{TOC, inspect_directory};
pub(super) use head::MAGIC;
pub(super) use tar::inspect_tar;

use head::Head;
use toc::Entry;

/// Head and table of contents.
struct Contents {
    head: Head,
    entries: Vec<Entry>,
}
