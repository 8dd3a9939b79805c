//! Large writes past the page cache.
//!
//! What a backup or a restore writes is read again much later, if ever, so a copy of it in the
//! page cache only drives out what the services need, costs the copying, and lets dirty pages pile
//! up until an fsync has to wait for all of them. Where a file system cannot (tmpfs, some network
//! file systems), writes go through the cache as usual. Source: open(2), `O_DIRECT`.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    slice,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{fs::OFlags, io::Errno};

/// Offsets, lengths and addresses are multiples of this: no device asks for more.
pub(crate) const ALIGNMENT: usize = 4096;
/// Below this the page cache is faster than waiting for the device.
pub(crate) const WORTHWHILE_BYTES: u64 = 1 << 20;
/// One write. The device is as fast as it gets with this (docs/benchmarks.md).
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// Memory that begins at a multiple of [`ALIGNMENT`].
pub(crate) struct AlignedBuffer {
    pages: Vec<Page>,
}

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; ALIGNMENT]);

impl AlignedBuffer {
    /// A buffer of [`PIECE_BYTES`] zeros.
    pub fn new() -> Self {
        Self {
            pages: vec![Page([0; ALIGNMENT]); PIECE_BYTES / ALIGNMENT],
        }
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: a `Page` is exactly its bytes, and a `Vec` holds them one after another.
        unsafe { slice::from_raw_parts(self.pages.as_ptr().cast(), self.pages.len() * ALIGNMENT) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let length = self.pages.len() * ALIGNMENT;
        // SAFETY: as above, and the borrow is exclusive; any byte is a valid byte of a `Page`.
        unsafe { slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast(), length) }
    }
}

/// Of `length` bytes that belong at `offset` of a file, those that fill whole aligned blocks and can go past the cache;
/// empty if they fill none. What is before and behind shares its blocks with other bytes.
///
/// No page of the cache holds bytes of both kinds, so blocks are whole pages where those are longer (64 KiB on some ARM): a
/// page that is read while its other half is written past the cache would bring the old half back to the disk.
pub(crate) fn aligned_part(offset: u64, length: usize) -> Range<usize> {
    whole_blocks(rustix::param::page_size().max(ALIGNMENT), offset, length)
}

fn whole_blocks(block: usize, offset: u64, length: usize) -> Range<usize> {
    let start = (offset.wrapping_neg() % block as u64) as usize;
    let end = length.saturating_sub(((offset + length as u64) % block as u64) as usize);
    if start < end { start..end } else { 0..0 }
}

/// Writes the beginning of `content`, as much of it as is aligned, to an empty file past the cache;
/// returns how many bytes that were, 0 where the file system cannot.
pub(crate) fn write_beginning(file: &File, content: &[u8]) -> io::Result<usize> {
    let aligned = content.len() - content.len() % ALIGNMENT;
    if (aligned as u64) < WORTHWHILE_BYTES || set_direct(file, true).is_err() {
        return Ok(0);
    }
    let mut buffer = AlignedBuffer::new();
    let mut written = 0;
    for piece in content[..aligned].chunks(PIECE_BYTES) {
        let bytes = &mut buffer.bytes_mut()[..piece.len()];
        bytes.copy_from_slice(piece);
        match file.write_all_at(bytes, written as u64) {
            Err(error) if is_refusal(&error) => break,
            other => other?,
        }
        written += piece.len();
    }
    set_direct(file, false)?;
    Ok(written)
}

fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    let flags = if direct {
        flags | OFlags::DIRECT
    } else {
        flags - OFlags::DIRECT
    };
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

/// Whether the file system refused to write past the cache, rather than to write.
fn is_refusal(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
}

/// Whether direct writes work in the place where somebody writes; found out by trying.
#[derive(Default)]
pub(crate) struct Ability {
    is_missing: AtomicBool,
}

impl Ability {
    pub fn is_there(&self) -> bool {
        !self.is_missing.load(Ordering::Relaxed)
    }

    /// Writes aligned bytes past the cache; `false` if the file system refused, so that the caller
    /// writes them the usual way.
    pub fn write(&self, direct: &File, bytes: &[u8], offset: u64) -> io::Result<bool> {
        match direct.write_all_at(bytes, offset) {
            Err(error) if is_refusal(&error) => {
                self.lost();
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }

    pub fn lost(&self) {
        self.is_missing.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_past_the_cache_arrives() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("x");
        for length in [0, 1, 4096, (1 << 20) - 1, 1 << 20, (3 << 20) + 4097] {
            let content: Vec<u8> = (0..length).map(|i: usize| (i / 7) as u8).collect();
            let file = File::create(&path).unwrap();
            let written = write_beginning(&file, &content).unwrap();
            assert!(written <= length && written.is_multiple_of(ALIGNMENT));
            file.write_all_at(&content[written..], written as u64)
                .unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn only_whole_blocks_go_past_the_cache() {
        for block in [ALIGNMENT, 16 * ALIGNMENT] {
            only_whole(block);
        }
    }

    fn only_whole(block: usize) {
        for (offset, length, part) in [
            (0, block, 0..block),
            (block, 2 * block, 0..2 * block),
            (1, block, 0..0),
            (1, 2 * block - 1, block - 1..2 * block - 1),
            (block - 1, 2 * block, 1..block + 1),
            (block + 5, 3 * block, block - 5..3 * block - 5),
            (7, 5, 0..0),
            (0, 0, 0..0),
        ] {
            let found = whole_blocks(block, offset as u64, length);
            assert_eq!(found, part, "{block}: {offset} {length}");
        }
    }

    #[test]
    fn a_buffer_is_aligned() {
        let buffer = AlignedBuffer::new();
        assert_eq!(buffer.bytes().as_ptr() as usize % ALIGNMENT, 0);
        assert_eq!(buffer.bytes().len(), PIECE_BYTES);
    }
}
