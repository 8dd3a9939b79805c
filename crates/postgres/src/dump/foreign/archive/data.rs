//! The data of one table or large object, read to its end.

use std::io::{self, BufRead, BufReader, Read};

use flate2::{Decompress, FlushDecompress, Status};
use memchr::memchr_iter;

use super::super::error::Fault;
use super::super::lz4::Lz4;
use super::head::Inner;

const BUFFER: usize = 128 << 10;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    /// Bytes without compression.
    pub(super) bytes: u64,
    /// Lines before the closing `\.` of COPY data.
    pub(super) rows: u64,
}

/// Reads to the end, and makes sure that COPY data ends with its closing line. In COPY's text
/// format a line break within a value is escaped, so lines are rows.
pub(super) fn measure(mut content: impl Read, is_copy: bool) -> Result<Measured, Fault> {
    let mut buffer = vec![0; BUFFER];
    let (mut bytes, mut line_ends) = (0, 0);
    let mut tail = Vec::new();
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        bytes += count as u64;
        if is_copy {
            line_ends += memchr_iter(b'\n', &buffer[..count]).count() as u64;
            keep_tail(&mut tail, &buffer[..count]);
        }
    }
    let rows = if is_copy { rows(&tail, line_ends)? } else { 0 };
    Ok(Measured { bytes, rows })
}

const TAIL: usize = 16;

fn keep_tail(tail: &mut Vec<u8>, bytes: &[u8]) {
    tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
    let surplus = tail.len().saturating_sub(TAIL);
    tail.drain(..surplus);
}

fn rows(tail: &[u8], line_ends: u64) -> Result<u64, Fault> {
    let trailing = tail.iter().rev().take_while(|byte| **byte == b'\n').count();
    let closing = &tail[..tail.len() - trailing];
    let is_closed = trailing > 0 && (closing.ends_with(b"\n\\.") || closing == b"\\.");
    if !is_closed {
        return Err(Fault::not_whole(
            "its rows end without the closing line `\\.`",
        ));
    }
    Ok(line_ends - trailing as u64)
}

/// Undoes the compression within an archive; an end that is not the stream's own is an error.
pub(super) fn inflated<'a>(
    inner: Inner,
    compressed: impl Read + 'a,
) -> Result<Box<dyn Read + 'a>, Fault> {
    let buffered = BufReader::with_capacity(BUFFER, compressed);
    Ok(match inner {
        Inner::None => Box::new(buffered),
        Inner::Gzip => Box::new(Zlib::new(buffered)),
        Inner::Lz4 => Box::new(Lz4::new(buffered)),
        Inner::Zstd => Box::new(zstd::Decoder::with_buffer(buffered)?),
    })
}

/// A zlib stream. The decoder of flate2 takes the end of its input for the end of the stream.
struct Zlib<R> {
    input: R,
    state: Decompress,
    is_ended: bool,
}

impl<R: BufRead> Zlib<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            state: Decompress::new(true),
            is_ended: false,
        }
    }
}

impl<R: BufRead> Read for Zlib<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.is_ended && !buffer.is_empty() {
            let input = self.input.fill_buf()?;
            let is_at_end = input.is_empty();
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(input, buffer, FlushDecompress::None)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let taken = (self.state.total_in() - before_in) as usize;
            let given = (self.state.total_out() - before_out) as usize;
            self.input.consume(taken);
            self.is_ended = status == Status::StreamEnd;
            if given > 0 {
                return Ok(given);
            }
            if is_at_end && !self.is_ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(text: &[u8]) -> Result<u64, Fault> {
        measure(text, true).map(|measured| measured.rows)
    }

    #[test]
    fn rows_are_the_lines_before_the_closing_one() {
        assert_eq!(measured(b"\\.\n\n\n").unwrap(), 0);
        assert_eq!(measured(b"1\ta\n2\tb\n\\.\n\n\n").unwrap(), 2);
        let many = [b"some row\n".repeat(100_000), b"\\.\n\n\n".to_vec()].concat();
        assert_eq!(measured(&many).unwrap(), 100_000);
    }

    #[test]
    fn rows_without_the_closing_line_are_not_whole() {
        for text in [
            &b""[..],
            b"1\ta\n",
            b"1\ta\n\\",
            b"1\ta\n\\.",
            b"1\tends with \\.\n",
        ] {
            assert!(measured(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_cut_zlib_stream_is_no_whole_one() {
        use std::io::Write;
        let level = flate2::Compression::default();
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(&b"abcdefghij".repeat(5000)).unwrap();
        let whole = encoder.finish().unwrap();
        let length = |bytes: &[u8]| {
            let content = inflated(Inner::Gzip, bytes).unwrap();
            measure(content, false).map(|measured| measured.bytes)
        };
        assert_eq!(length(&whole).unwrap(), 50_000);
        for end in 0..whole.len() {
            assert!(length(&whole[..end]).is_err(), "cut at {end}");
        }
    }
}
