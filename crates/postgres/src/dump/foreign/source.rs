//! A file, read once from its beginning, without the compression that somebody wrapped around it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::error::{DiskError, Fault};
use super::lz4::Lz4;

const BUFFER: usize = 256 << 10;
/// Enough for every mark by which a format is known; that of tar lies at 257.
const HEAD: usize = 512;

/// How a dump was compressed after it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// `gzip`, also several members in one file.
    Gzip,
    /// `zstd`.
    Zstd,
    /// `lz4`, in its frame format.
    Lz4,
}

/// The content of a file.
pub(super) struct Source {
    /// What had to be undone to get at it.
    pub(super) compression: Option<Compression>,
    /// The first bytes, which are also still to be read.
    pub(super) head: Vec<u8>,
    pub(super) reader: Box<dyn BufRead + Send>,
}

/// Is told how many more bytes of a dump were read from the disk.
pub type Watch = Arc<dyn Fn(u64) + Send + Sync>;

/// Opens a file.
pub(super) fn open(path: &Path, watch: &Watch) -> Result<Source, Fault> {
    let file = File::open(path).map_err(Fault::Disk)?;
    let counted = Counted {
        file,
        watch: Arc::clone(watch),
    };
    let (head, reader) = peeked(BufReader::with_capacity(BUFFER, counted))?;
    let Some(compression) = compression_of(&head)? else {
        return Ok(Source {
            compression: None,
            head,
            reader,
        });
    };
    let (head, reader) = peeked(BufReader::with_capacity(
        BUFFER,
        decoder(compression, reader)?,
    ))?;
    if compression_of(&head)?.is_some() {
        return Err(Fault::Unsupported {
            reason: "it is compressed twice".to_owned(),
            instead: "decompress it once by hand".to_owned(),
        });
    }
    Ok(Source {
        compression: Some(compression),
        head,
        reader,
    })
}

/// Opens a file of which it is known how it is compressed.
pub(super) fn open_as(
    path: &Path,
    compression: Option<Compression>,
    watch: &Watch,
) -> Result<Box<dyn Read + Send>, Fault> {
    let file = File::open(path).map_err(Fault::Disk)?;
    let counted = Counted {
        file,
        watch: Arc::clone(watch),
    };
    let (head, reader) = peeked(BufReader::with_capacity(BUFFER, counted))?;
    match compression {
        None => Ok(Box::new(reader)),
        // `pg_dump` writes nothing at all for an empty large object, except with gzip.
        Some(Compression::Zstd | Compression::Lz4) if head.is_empty() => Ok(Box::new(reader)),
        Some(compression) if compression_of(&head)? == Some(compression) => {
            decoder(compression, reader)
        }
        Some(_) => Err(Fault::not_whole("it does not begin as its name says")),
    }
}

/// Undoes a compression. At the end of its input a decoder fails unless that is its own end too.
pub(super) fn decoder(
    compression: Compression,
    reader: Box<dyn BufRead + Send>,
) -> Result<Box<dyn Read + Send>, Fault> {
    Ok(match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(reader).map_err(Fault::from)?),
        Compression::Lz4 => Box::new(Lz4::new(reader)),
    })
}

fn compression_of(head: &[u8]) -> Result<Option<Compression>, Fault> {
    let unsupported = |name: &str, tool: &str| {
        Err(Fault::Unsupported {
            reason: format!("it is compressed with {name}"),
            instead: format!("`{tool}` decompresses it; name the result"),
        })
    };
    match head {
        [0x1f, 0x8b, ..] => Ok(Some(Compression::Gzip)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Some(Compression::Zstd)),
        [0x04, 0x22, 0x4d, 0x18, ..] => Ok(Some(Compression::Lz4)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => unsupported("xz", "xz -dk FILE"),
        [b'B', b'Z', b'h', ..] => unsupported("bzip2", "bzip2 -dk FILE"),
        [b'P', b'K', 3, 4, ..] => unsupported("zip", "unzip FILE"),
        [b'7', b'z', 0xbc, 0xaf, ..] => unsupported("7-Zip", "7z x FILE"),
        _ => Ok(None),
    }
}

fn peeked(
    mut reader: impl BufRead + Send + 'static,
) -> Result<(Vec<u8>, Box<dyn BufRead + Send>), Fault> {
    let mut head = Vec::with_capacity(HEAD);
    reader.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    let whole = Cursor::new(head.clone()).chain(reader);
    Ok((head, Box::new(whole)))
}

struct Counted {
    file: File,
    watch: Watch,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer).map_err(|error| {
            let kind = error.kind();
            io::Error::other(DiskError(error.to_string(), kind))
        })?;
        (self.watch)(count as u64);
        Ok(count)
    }
}
