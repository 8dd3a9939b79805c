//! The head of an archive.

use std::io::Read;

use super::super::error::Fault;
use super::primitives::Primitives;

/// The first bytes of an archive, and of `toc.dat` in the other formats.
pub(crate) const MAGIC: &[u8] = b"PGDMP";

const OLDEST: (u8, u8) = (1, 12);
const NEWEST: (u8, u8) = (1, 16);

/// How data is compressed within an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inner {
    None,
    /// zlib's stream in archives, gzip's in files of a directory.
    Gzip,
    Lz4,
    Zstd,
}

#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) version: (u8, u8),
    pub(super) inner: Inner,
    pub(super) made_at: String,
    pub(super) database: Option<String>,
    pub(super) server_version: Option<String>,
    pub(super) tool_version: Option<String>,
}

impl Head {
    pub(super) fn read(input: &mut Primitives<impl Read>) -> Result<Self, Fault> {
        if input.bytes::<5>()? != MAGIC {
            return Err(Fault::not_whole(
                "its table of contents does not begin as one",
            ));
        }
        let [major, minor, _revision, int_bytes, offset_bytes, _format] = input.bytes()?;
        let version = (major, minor);
        if !(OLDEST..=NEWEST).contains(&version) {
            return Err(Fault::Unsupported {
                reason: format!("it is an archive of version {major}.{minor}"),
                instead: "archives of version 1.12 (PostgreSQL 9.0) to 1.16 (18) are read"
                    .to_owned(),
            });
        }
        input.set_sizes(int_bytes, offset_bytes)?;
        let inner = read_compression(input, version)?;
        let mut time = [0; 7];
        for part in &mut time {
            *part = input.int()?;
        }
        let [second, minute, hour, day, month, year, _is_dst] = time;
        Ok(Self {
            version,
            inner,
            made_at: format!(
                "{:04}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}",
                year + 1900,
                month + 1
            ),
            database: input.string()?,
            server_version: input.string()?,
            tool_version: input.string()?,
        })
    }
}

/// Until 1.14 a level of zlib's, where 0 is none; since 1.15 (PostgreSQL 16) the algorithm.
fn read_compression(input: &mut Primitives<impl Read>, version: (u8, u8)) -> Result<Inner, Fault> {
    if version < (1, 15) {
        return Ok(if input.int()? == 0 {
            Inner::None
        } else {
            Inner::Gzip
        });
    }
    match input.byte()? {
        0 => Ok(Inner::None),
        1 => Ok(Inner::Gzip),
        2 => Ok(Inner::Lz4),
        3 => Ok(Inner::Zstd),
        other => Err(Fault::Unsupported {
            reason: format!("its data is compressed in a way that is not known (number {other})"),
            instead: "make it with --compress=gzip, lz4, zstd or none".to_owned(),
        }),
    }
}
