//! Makes a dump that a server imports.

use std::io::{self, Read, Write};

use jiff::Timestamp;

use super::stored_gzip::StoredGzip;

/// A dump in work.
pub(in crate::meilisearch) struct DumpWriter<W: Write> {
    tar: tar::Builder<StoredGzip<W>>,
    made: Timestamp,
}

impl<W: Write> DumpWriter<W> {
    pub(in crate::meilisearch) fn new(out: W, made: Timestamp) -> io::Result<Self> {
        let tar = tar::Builder::new(StoredGzip::new(out)?);
        Ok(Self { tar, made })
    }

    pub(in crate::meilisearch) fn add_directory(&mut self, path: &str) -> io::Result<()> {
        let mut header = self.header(tar::EntryType::Directory, 0o755, 0);
        self.tar
            .append_data(&mut header, format!("{path}/"), io::empty())
    }

    pub(in crate::meilisearch) fn add(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.add_file(path, bytes.len() as u64, bytes)
    }

    /// `content` must have `bytes` bytes.
    pub(in crate::meilisearch) fn add_file(
        &mut self,
        path: &str,
        bytes: u64,
        content: impl Read,
    ) -> io::Result<()> {
        let mut header = self.header(tar::EntryType::Regular, 0o644, bytes);
        self.tar.append_data(&mut header, path, content)
    }

    /// Writes the end.
    pub(in crate::meilisearch) fn finish(self) -> io::Result<W> {
        self.tar.into_inner()?.finish()
    }

    fn header(&self, kind: tar::EntryType, mode: u32, bytes: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes);
        header.set_mtime(self.made.as_second().try_into().unwrap_or(0));
        header
    }
}
