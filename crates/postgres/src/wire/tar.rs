//! The tar streams PostgreSQL sends, taken apart as they arrive.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::Error;
use crate::sink::EntryMeta;

const BLOCK: usize = 512;

/// What a tar entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File { size: u64 },
    Directory,
    Symlink { target: String },
}

/// One entry's header. The path is relative, without `.`, `..` and trailing slash; empty for the
/// archive's own root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) meta: EntryMeta,
}

/// Receives an archive's entries; only files are followed by data and an end.
pub(super) trait Entries {
    type Error: From<Error>;

    fn entry(&mut self, entry: Entry) -> Result<(), Self::Error>;
    fn data(&mut self, bytes: Bytes) -> Result<(), Self::Error>;
    fn end_of_file(&mut self) -> Result<(), Self::Error>;
}

enum State {
    /// Collecting a header; what has come of it is kept here.
    Header(BytesMut),
    Data {
        remaining: u64,
        padding: u64,
    },
    Padding(u64),
    /// A block of zeros was met: the archive is over, and only zeros may follow.
    Ended,
}

/// Takes one archive apart. Contents are handed on as slices of what came in.
pub(super) struct TarReader {
    state: State,
}

impl TarReader {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header(BytesMut::new()),
        }
    }

    /// Takes the next piece of the archive, of any length.
    pub(super) fn feed<E: Entries>(
        &mut self,
        mut bytes: Bytes,
        out: &mut E,
    ) -> Result<(), E::Error> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Header(partial) => {
                    let missing = BLOCK - partial.len();
                    let take = missing.min(bytes.len());
                    partial.extend_from_slice(&bytes.split_to(take));
                    if partial.len() == BLOCK {
                        let header = partial.split().freeze();
                        self.begin_entry(&header, out)?;
                    }
                }
                State::Data { remaining, padding } => {
                    let take = usize::try_from(*remaining)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    out.data(bytes.split_to(take))?;
                    *remaining -= take as u64;
                    if *remaining == 0 {
                        let padding = *padding;
                        self.end_of_file(padding, out)?;
                    }
                }
                State::Padding(remaining) => {
                    let take = usize::try_from(*remaining)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    bytes.advance(take);
                    *remaining -= take as u64;
                    if *remaining == 0 {
                        self.state = State::Header(BytesMut::new());
                    }
                }
                State::Ended => {
                    if bytes.iter().any(|byte| *byte != 0) {
                        return Err(damaged("something follows its end").into());
                    }
                    bytes.clear();
                }
            }
        }
        Ok(())
    }

    /// Ends the archive. Servers before 15 send no closing blocks of zeros.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.state {
            State::Ended => Ok(()),
            State::Header(partial) if partial.is_empty() => Ok(()),
            _ => Err(damaged("it ends in the middle of an entry")),
        }
    }

    fn begin_entry<E: Entries>(&mut self, header: &[u8], out: &mut E) -> Result<(), E::Error> {
        if header.iter().all(|byte| *byte == 0) {
            self.state = State::Ended;
            return Ok(());
        }
        let entry = parse_header(header)?;
        let size = match entry.kind {
            Kind::File { size } => Some(size),
            _ => None,
        };
        out.entry(entry)?;
        self.state = match size {
            None => State::Header(BytesMut::new()),
            Some(0) => return self.end_of_file(0, out),
            Some(size) => State::Data {
                remaining: size,
                padding: size.next_multiple_of(BLOCK as u64) - size,
            },
        };
        Ok(())
    }

    fn end_of_file<E: Entries>(&mut self, padding: u64, out: &mut E) -> Result<(), E::Error> {
        self.state = match padding {
            0 => State::Header(BytesMut::new()),
            padding => State::Padding(padding),
        };
        out.end_of_file()
    }
}

/// Reads a ustar header as PostgreSQL writes it: no extensions for long names, numbers in octal or,
/// when too large, base 256.
fn parse_header(header: &[u8]) -> Result<Entry, Error> {
    let checksum = number(&header[148..156])?;
    let spaces = u64::from(b' ') * 8;
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    let stored: u64 = header[148..156].iter().map(|byte| u64::from(*byte)).sum();
    if sum - stored + spaces != checksum {
        return Err(damaged("the checksum of a header does not hold"));
    }
    let path = clean_path(&text(&header[0..100])?)?;
    let size = number(&header[124..136])?;
    let kind = match header[156] {
        b'0' | 0 => Kind::File { size },
        b'5' => Kind::Directory,
        b'2' => Kind::Symlink {
            target: text(&header[157..257])?,
        },
        other => {
            return Err(damaged(&format!(
                "`{path}` is of kind `{}`",
                char::from(other).escape_default()
            )));
        }
    };
    if path.is_empty() && kind != Kind::Directory {
        return Err(damaged("a file without a name"));
    }
    let small = |range: std::ops::Range<usize>| number(&header[range]).map(|value| value as u32);
    let meta = EntryMeta {
        mode: small(100..108)? & 0o7777,
        uid: small(108..116)?,
        gid: small(116..124)?,
        mtime: number(&header[136..148])? as i64,
    };
    Ok(Entry { path, kind, meta })
}

/// Octal digits, or with the first bit set, base 256.
fn number(field: &[u8]) -> Result<u64, Error> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        let high_is_zero = high
            .iter()
            .enumerate()
            .all(|(at, byte)| *byte == if at == 0 { 0x80 } else { 0 });
        if field.len() > 8 && !high_is_zero {
            return Err(damaged("a number that is too large"));
        }
        let digits = low
            .iter()
            .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        return Ok(if field.len() > 8 {
            digits
        } else {
            digits & (u64::MAX >> 1)
        });
    }
    let digits = field
        .iter()
        .copied()
        .skip_while(|byte| *byte == b' ')
        .take_while(|byte| !matches!(byte, 0 | b' '));
    digits
        .into_iter()
        .try_fold(0_u64, |value, digit| match digit {
            b'0'..=b'7' => Ok(value << 3 | u64::from(digit - b'0')),
            _ => Err(damaged("a number that is none")),
        })
}

fn text(field: &[u8]) -> Result<String, Error> {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    let text = std::str::from_utf8(&field[..end]);
    text.map(str::to_owned)
        .map_err(|_| damaged("a name that is not UTF-8"))
}

/// Refuses names that would lead out of the directory the archive is for.
fn clean_path(path: &str) -> Result<String, Error> {
    let refuse = || damaged(&format!("the name `{}`", path.escape_debug()));
    if path.is_empty() || path.starts_with('/') {
        return Err(refuse());
    }
    let mut parts = Vec::new();
    for part in path.trim_end_matches('/').split('/') {
        match part {
            "." if parts.is_empty() => {}
            "" | "." | ".." => return Err(refuse()),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn damaged(reason: &str) -> Error {
    Error::Damaged {
        what: "the archive the server sent".to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes a header as PostgreSQL does.
    pub(crate) fn header(path: &str, kind: u8, size: u64, link: &str) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let mut put = |at: usize, value: &[u8]| block[at..at + value.len()].copy_from_slice(value);
        put(0, path.as_bytes());
        put(100, b"0000600\0");
        put(108, b"0001747\0");
        put(116, b"0001747\0");
        match size {
            small if small < 1 << 33 => put(124, format!("{small:011o} ").as_bytes()),
            large => {
                put(124, &[0x80]);
                put(128, &large.to_be_bytes());
            }
        }
        put(136, b"14712345670 ");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    #[derive(Default)]
    struct Seen(Vec<String>, Vec<u8>);

    impl Entries for Seen {
        type Error = Error;

        fn entry(&mut self, entry: Entry) -> Result<(), Error> {
            self.0.push(format!("{} {:?}", entry.path, entry.kind));
            Ok(())
        }

        fn data(&mut self, bytes: Bytes) -> Result<(), Error> {
            self.1.extend_from_slice(&bytes);
            Ok(())
        }

        fn end_of_file(&mut self) -> Result<(), Error> {
            self.0.push(format!("end after {}", self.1.len()));
            Ok(())
        }
    }

    fn archive() -> Vec<u8> {
        let content = vec![b'x'; 700];
        [
            header("base/", b'5', 0, ""),
            header("base/empty", b'0', 0, ""),
            header("base/file", b'0', 700, ""),
            content,
            vec![0; 324],
            header("pg_tblspc/16384", b'2', 0, "/srv/fast"),
        ]
        .concat()
    }

    fn read(bytes: &[u8], piece: usize) -> Result<Seen, Error> {
        let (mut reader, mut seen) = (TarReader::new(), Seen::default());
        for chunk in bytes.chunks(piece) {
            reader.feed(Bytes::copy_from_slice(chunk), &mut seen)?;
        }
        reader.finish().map(|()| seen)
    }

    #[test]
    fn an_archive_cut_into_any_pieces_reads_the_same() {
        let wanted = [
            "base Directory",
            "base/empty File { size: 0 }",
            "end after 0",
            "base/file File { size: 700 }",
            "end after 700",
            "pg_tblspc/16384 Symlink { target: \"/srv/fast\" }",
        ];
        for piece in [1, 7, 511, 512, 513, 100_000] {
            let seen = read(&archive(), piece).unwrap();
            assert_eq!(seen.0, wanted, "pieces of {piece}");
            assert_eq!(seen.1, vec![b'x'; 700]);
        }
    }

    #[test]
    fn closing_zeros_may_be_there_or_not() {
        let closed = [archive(), vec![0; 1024]].concat();
        assert_eq!(
            read(&closed, 600).unwrap().0,
            read(&archive(), 600).unwrap().0
        );
    }

    #[test]
    fn an_archive_cut_short_is_noticed() {
        for end in [511, 513, 1600, archive().len() - 1] {
            assert!(read(&archive()[..end], 512).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for path in ["/etc/passwd", "../x", "base/../../x", "base//x", "base/./x"] {
            assert!(read(&header(path, b'0', 0, ""), 512).is_err(), "{path}");
        }
    }

    #[test]
    fn kinds_that_no_data_directory_has_are_refused() {
        for kind in [b'1', b'3', b'4', b'6', b'x', b'L'] {
            assert!(read(&header("base/x", kind, 0, ""), 512).is_err());
        }
    }

    #[test]
    fn sizes_beyond_octal_are_read() {
        let entry = parse_header(&header("base/big", b'0', 20 << 30, "")).unwrap();
        assert_eq!(entry.kind, Kind::File { size: 20 << 30 });
        assert_eq!(
            entry.meta,
            EntryMeta {
                mode: 0o600,
                uid: 999,
                gid: 999,
                mtime: 0o14712345670
            }
        );
    }

    #[test]
    fn a_flipped_bit_in_a_header_is_noticed() {
        let mut block = header("base/file", b'0', 0, "");
        block[3] ^= 1;
        assert!(parse_header(&block).is_err());
    }
}
