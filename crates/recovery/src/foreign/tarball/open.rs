//! What a file is, and how its content is reached.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use crate::RecoveryError;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A block of a tar; its header is one, its end two.
const BLOCK: usize = 512;
/// Where a tar's header says what it is. Source: POSIX, "ustar Interchange Format".
const MAGIC_AT: usize = 257;

/// What a file from elsewhere is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportKind {
    /// A dump of PostgreSQL, or something that the reader of dumps will refuse.
    Dump,
    /// A tar archive of files.
    Tarball,
    /// A snapshot of Redis.
    Rdb,
}

/// Tells by its content what a file is. `pg_dump -Ft` writes archives whose first entry is `toc.dat`: those are dumps.
///
/// # Errors
/// [`RecoveryError::ReadForeign`].
pub fn import_kind(path: &Path) -> Result<ImportKind, RecoveryError> {
    if path.is_dir() {
        return Ok(ImportKind::Dump);
    }
    let mut head = Vec::new();
    let read = open(path).and_then(|content| content.take(BLOCK as u64).read_to_end(&mut head));
    if let Err(source) = read {
        // What is in it is no stream: its reader says why.
        if source.kind() != io::ErrorKind::NotFound && File::open(path).is_ok() {
            return Ok(ImportKind::Dump);
        }
        let path = path.to_owned();
        return Err(RecoveryError::ReadForeign { path, source });
    }
    if head.starts_with(b"REDIS") {
        return Ok(ImportKind::Rdb);
    }
    let is_tar = head.len() == BLOCK && head[MAGIC_AT..].starts_with(b"ustar");
    Ok(match is_tar && !head.starts_with(b"toc.dat\0") {
        true => ImportKind::Tarball,
        false => ImportKind::Dump,
    })
}

/// The content of a file, out of gzip or zstd if it is in one.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::with_capacity(256 << 10, File::open(path)?);
    let head = io::BufRead::fill_buf(&mut file)?;
    if head.starts_with(&GZIP) {
        return Ok(Box::new(MultiGzDecoder::new(file)));
    }
    if head.starts_with(&ZSTD) {
        return Ok(Box::new(zstd::Decoder::with_buffer(file)?));
    }
    Ok(Box::new(file))
}

/// Passes a tar through, and knows whether it has its end: to a reader, one that was cut between two entries looks whole.
///
/// Two blocks of zeros are the end. A reader of entries stops behind the first of them; one that comes to the end of the
/// file instead has met none.
pub(super) struct Watched<R> {
    content: R,
    met_end_of_file: bool,
}

impl<R: Read> Watched<R> {
    pub(super) const fn new(content: R) -> Self {
        Self {
            content,
            met_end_of_file: false,
        }
    }

    /// After the last entry: reads the second block of the end, and what comes behind it.
    pub(super) fn has_ended_well(mut self) -> io::Result<bool> {
        let has_first = !self.met_end_of_file;
        let mut second = Vec::with_capacity(BLOCK);
        Read::by_ref(&mut self)
            .take(BLOCK as u64)
            .read_to_end(&mut second)?;
        let has_second = second.len() == BLOCK && second.iter().all(|byte| *byte == 0);
        // A compressed file tells only at its own end whether it is whole.
        io::copy(&mut self, &mut io::sink())?;
        Ok(has_first && has_second)
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.met_end_of_file |= count == 0 && !buffer.is_empty();
        Ok(count)
    }
}
