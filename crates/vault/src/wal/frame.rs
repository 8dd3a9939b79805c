//! Compression of archived files: zstd frames that carry their length and a checksum.

use std::{alloc, io::Read};

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

/// The longest WAL segment that a server can be built for. No file in the archive is longer.
pub(super) const MOST_PLAIN_BYTES: u64 = 1 << 30;

/// How hard to compress. Whoever falls behind the server should not compress harder than it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WalEffort {
    /// A negative level: a multiple of the speed of `Fast`, and some 10 to 30 % longer.
    Fastest,
    /// zstd 1.
    Fast,
    /// zstd 3, what the `zstd` program does when it is told nothing.
    #[default]
    Default,
}

impl WalEffort {
    const fn level(self) -> i32 {
        match self {
            Self::Fastest => -3,
            Self::Fast => 1,
            Self::Default => 3,
        }
    }
}

/// One zstd frame of this content, with its length and a checksum in it. Frames may be put one
/// after another; the result decompresses to the contents, one after another.
#[must_use]
pub fn wal_frame(plain: &[u8], effort: WalEffort) -> Vec<u8> {
    let mut frame = Vec::with_capacity(most_bytes(plain.len()));
    compress_into(&mut frame, plain, effort);
    frame
}

/// The longest that the frame of so much content may be.
pub(super) fn most_bytes(plain_bytes: usize) -> usize {
    zstd_safe::compress_bound(plain_bytes)
}

/// Writes the frame into an empty vector with room for [`most_bytes`].
pub(super) fn compress_into(frame: &mut Vec<u8>, plain: &[u8], effort: WalEffort) {
    let done = CCtx::try_create().and_then(|mut context| {
        let level = CParameter::CompressionLevel(effort.level());
        context.set_parameter(level).ok()?;
        context.set_parameter(CParameter::ChecksumFlag(true)).ok()?;
        context.compress2(frame, plain).ok()
    });
    if done.is_none() {
        // With room for every outcome and known parameters, only memory can be missing.
        alloc::handle_alloc_error(alloc::Layout::for_value(plain));
    }
}

/// How long the content of all frames is, as they say; `None` if one of them does not say it.
pub(super) fn plain_bytes(mut frames: &[u8]) -> Option<u64> {
    let mut total: u64 = 0;
    while !frames.is_empty() {
        let length = zstd_safe::find_frame_compressed_size(frames).ok()?;
        total = total.checked_add(zstd_safe::get_frame_content_size(frames).ok()??)?;
        frames = frames.get(length..)?;
    }
    Some(total)
}

/// The content of all frames, one after another, each held against its checksum.
///
/// # Errors
/// In words, why it is not what [`wal_frame`] made.
pub(crate) fn decompress(frames: &[u8]) -> Result<Vec<u8>, String> {
    if frames.is_empty() {
        return Err("there is no zstd frame in it".to_owned());
    }
    match plain_bytes(frames) {
        Some(length) if length > MOST_PLAIN_BYTES => Err(too_long()),
        Some(length) => of_known_length(frames, length as usize),
        None => of_unknown_length(frames),
    }
}

fn of_known_length(frames: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let mut plain = Vec::with_capacity(length);
    let mut context = DCtx::try_create().ok_or("there is no memory to decompress it")?;
    let found = context
        .decompress(&mut plain, frames)
        .map_err(|code| format!("decompress: {}", zstd_safe::get_error_name(code)))?;
    (found == length)
        .then_some(plain)
        .ok_or_else(|| format!("{found} bytes came out where its header says {length}"))
}

/// What was compressed from a pipe by another program.
fn of_unknown_length(frames: &[u8]) -> Result<Vec<u8>, String> {
    let words = |error: std::io::Error| format!("decompress: {error}");
    let mut plain = Vec::new();
    zstd::stream::read::Decoder::with_buffer(frames)
        .map_err(words)?
        .take(MOST_PLAIN_BYTES + 1)
        .read_to_end(&mut plain)
        .map_err(words)?;
    (plain.len() as u64 <= MOST_PLAIN_BYTES)
        .then_some(plain)
        .ok_or_else(too_long)
}

fn too_long() -> String {
    "it is longer than any WAL segment".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_one_content() {
        let parts: [&[u8]; 4] = [b"", b"a", &[7; 100_000], b"the end"];
        for effort in [WalEffort::Fastest, WalEffort::Fast, WalEffort::Default] {
            let frames: Vec<u8> = parts
                .iter()
                .flat_map(|part| wal_frame(part, effort))
                .collect();
            assert_eq!(plain_bytes(&frames), Some(100_008));
            assert_eq!(decompress(&frames).unwrap(), parts.concat());
        }
    }

    #[test]
    fn a_changed_or_cut_frame_is_noticed_by_its_own_checksum() {
        let plain: Vec<u8> = (0..5000_u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        let frame = wal_frame(&plain, WalEffort::Fast);
        for length in 0..frame.len() {
            assert!(decompress(&frame[..length]).is_err(), "{length}");
        }
        let unnoticed = (0..frame.len() * 8).filter(|bit| {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            decompress(&changed).is_ok_and(|found| found != plain)
        });
        assert_eq!(unnoticed.count(), 0);
    }

    #[test]
    fn what_another_program_compressed_from_a_pipe_is_read_too() {
        let plain = vec![3; 300_000];
        let frame = zstd::stream::encode_all(&plain[..], 3).unwrap();
        assert_eq!(plain_bytes(&frame), None, "or this tests nothing");
        assert_eq!(decompress(&frame).unwrap(), plain);
    }

    #[test]
    fn what_claims_to_be_enormous_is_not_followed() {
        // Magic number, a single segment with 8 bytes of length. Source: RFC 8878, 3.1.1.
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
        frame.extend((1_u64 << 50).to_le_bytes());
        frame.extend([1, 0, 0]);
        let error = decompress(&frame).unwrap_err();
        assert!(error.contains("longer than any"), "{error}");
    }
}
