//! RDB files that somebody else made.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::error::RedisError;
use super::rdb::{RdbSummary, read_rdb};

/// The first bytes of anything that gzip wrote.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Opens an RDB, unpacked if it is within gzip.
///
/// # Errors
/// [`RedisError::File`].
pub fn open_rdb(path: &Path) -> Result<Box<dyn Read + Send>, RedisError> {
    let failed = |source| RedisError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let head = io::BufRead::fill_buf(&mut reader).map_err(failed)?;
    Ok(match head.starts_with(&GZIP) {
        true => Box::new(MultiGzDecoder::new(reader)),
        false => Box::new(reader),
    })
}

/// Reads an RDB, or one within gzip, to its end: its version, its checksum, and how many keys it holds.
///
/// # Errors
/// [`RedisError::Files`] with what is wrong: it is none, cut, damaged, or followed by something.
pub fn check_rdb(path: &Path) -> Result<RdbSummary, RedisError> {
    let mut source = open_rdb(path)?;
    read_rdb(&mut source, &mut io::sink()).map_err(|error| RedisError::Files {
        path: path.to_owned(),
        what: crate::with_causes(&error),
    })
}
