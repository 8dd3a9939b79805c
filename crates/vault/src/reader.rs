//! A stored file as a stream.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use crate::{blob::BlobKind, id::Id, index::Index, tree::Node, vault::Vault};

/// Blobs that are read at once. Each has at most 8 MiB, so that memory stays bounded.
const AHEAD: usize = 8;

/// The content of a file in a vault, from its beginning to its end; every blob is held against its hash. Whatever fails
/// is an error of the reader that has a [`crate::VaultError`] inside.
pub struct FileReader<'a> {
    vault: &'a Vault,
    index: &'a Index,
    ids: VecDeque<Id>,
    read: VecDeque<Vec<u8>>,
    at: usize,
}

impl Vault {
    /// Reads the file `node` as a stream.
    #[must_use]
    pub fn file_reader<'a>(&'a self, index: &'a Index, node: &Node) -> FileReader<'a> {
        FileReader {
            vault: self,
            index,
            ids: node.content.iter().flatten().copied().collect(),
            read: VecDeque::new(),
            at: 0,
        }
    }
}

impl FileReader<'_> {
    fn fill(&mut self) -> io::Result<()> {
        let now: Vec<Id> = self.ids.drain(..AHEAD.min(self.ids.len())).collect();
        let read = |id: &Id| self.vault.read_blob(self.index, BlobKind::Data, id);
        for blob in self.vault.each(&now, read) {
            self.read.push_back(blob.map_err(io::Error::other)?);
        }
        Ok(())
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(blob) = self.read.front() {
            let rest = blob.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                self.read.pop_front();
                self.at = 0;
                continue;
            }
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            self.at += count;
            return Ok(count);
        }
        if self.ids.is_empty() || buffer.is_empty() {
            return Ok(0);
        }
        self.fill()?;
        self.read(buffer)
    }
}
