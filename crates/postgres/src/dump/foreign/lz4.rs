//! LZ4 frames, with their end made sure of: the decoder takes the end of its input between two
//! blocks for the end of the frame. Source of the format: LZ4 Frame Format Description 1.6.

use std::io::{self, Read};

use lz4_flex::frame::FrameDecoder;

/// Magic number and the byte of flags.
const HEAD: usize = 5;
/// Of the flags: a checksum of the content follows the mark of the end.
const HAS_CONTENT_CHECKSUM: u8 = 1 << 2;
const MARK: usize = 4;

/// The content of LZ4 frames.
pub(super) struct Lz4<R: Read>(FrameDecoder<Ends<R>>);

impl<R: Read> Lz4<R> {
    pub(super) fn new(compressed: R) -> Self {
        Self(FrameDecoder::new(Ends {
            inner: compressed,
            head: Vec::new(),
            tail: Vec::new(),
        }))
    }
}

impl<R: Read> Read for Lz4<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        if count == 0 && !buffer.is_empty() && !self.0.get_ref().has_mark_at_end() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

/// Remembers the first and the last bytes.
struct Ends<R> {
    inner: R,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl<R> Ends<R> {
    fn has_mark_at_end(&self) -> bool {
        let has_checksum = self
            .head
            .last()
            .is_some_and(|flags| flags & HAS_CONTENT_CHECKSUM != 0);
        let after = if has_checksum { 4 } else { 0 };
        let mark = self.tail.len().checked_sub(after + MARK);
        mark.is_some_and(|at| self.tail[at..at + MARK] == [0; MARK])
    }
}

impl<R: Read> Read for Ends<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let read = &buffer[..count];
        self.head.extend(read.iter().take(HEAD - self.head.len()));
        self.tail.extend(&read[count.saturating_sub(2 * MARK)..]);
        let surplus = self.tail.len().saturating_sub(2 * MARK);
        self.tail.drain(..surplus);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    #[test]
    fn no_cut_of_a_frame_passes_for_a_whole_one() {
        for has_checksum in [false, true] {
            let info = FrameInfo::new()
                .block_size(BlockSize::Max64KB)
                .content_checksum(has_checksum);
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            for number in 0..60_000_u32 {
                encoder.write_all(&number.to_be_bytes()).unwrap();
            }
            let whole = encoder.finish().unwrap();
            let length = |bytes: &[u8]| io::copy(&mut Lz4::new(bytes), &mut io::sink());
            assert_eq!(length(&whole).unwrap(), 240_000);
            for end in (0..40).chain((40..whole.len()).step_by(97)) {
                assert!(length(&whole[..end]).is_err(), "cut at {end}");
            }
        }
    }
}
