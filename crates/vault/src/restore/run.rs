//! Consecutive pieces of a large file, gathered into writes that go past the page cache.
//!
//! Pieces begin and end anywhere, the device takes whole blocks at whole places. So the buffer stands for a stretch of the
//! file that begins at a block, and only what shares its block with bytes that are not in it goes through the cache.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::{
    RestoreError,
    files::{Files, MOST_WHOLE_BYTES, OpenFile},
    plan::{Piece, Plan},
};
use crate::direct::{ALIGNMENT, AlignedBuffer, PIECE_BYTES};

/// One thread's way into files.
pub(super) struct Writer<'a> {
    plan: &'a Plan,
    files: &'a Files<'a>,
    /// Takes files that are whole.
    finished: Sender<(u32, Arc<OpenFile>)>,
    buffer: AlignedBuffer,
    run: Option<Run>,
}

/// Consecutive pieces of a file, of which a part may be written already.
#[derive(Clone, Copy)]
struct Run {
    file: u32,
    /// The place in the file that the buffer's beginning stands for; a multiple of [`ALIGNMENT`].
    base: u64,
    /// Where in the buffer the bytes begin that are not written yet.
    from: usize,
    /// Where in the buffer they end, and the next piece goes on.
    to: usize,
    /// All pieces of the run, those that are written too: they count when it ends.
    pieces: u32,
}

impl Run {
    fn beginning_at(file: u32, offset: u64) -> Self {
        let from = (offset % ALIGNMENT as u64) as usize;
        Self {
            file,
            base: offset - from as u64,
            from,
            to: from,
            pieces: 0,
        }
    }

    fn goes_on_at(&self, file: u32, offset: u64) -> bool {
        self.file == file && self.base + self.to as u64 == offset
    }
}

impl<'a> Writer<'a> {
    pub fn new(
        plan: &'a Plan,
        files: &'a Files<'a>,
        finished: Sender<(u32, Arc<OpenFile>)>,
    ) -> Self {
        Self {
            plan,
            files,
            finished,
            buffer: AlignedBuffer::new(),
            run: None,
        }
    }

    /// Writes a piece, now or with those that follow it. Whether a file was finished by it.
    pub fn write(&mut self, piece: &Piece, plain: &[u8]) -> Result<(), RestoreError> {
        let (file, offset) = (piece.file, piece.file_offset);
        if self.files.is_all(file, plain.len()) {
            return self.files.make_whole(file, plain);
        }
        if !self.files.may_be_direct(file) {
            self.files.write(file, offset, plain)?;
            return self.count(file, 1);
        }
        let mut run = match self.run {
            Some(run) if run.goes_on_at(file, offset) => run,
            _ => {
                self.flush()?;
                Run::beginning_at(file, offset)
            }
        };
        // It is no run until all of the piece is in it: what fails on the way is not tried again by the last flush.
        self.run = None;
        self.fill(&mut run, plain)?;
        run.pieces += 1;
        self.run = Some(run);
        Ok(())
    }

    /// Puts a piece behind a run, and writes each full buffer.
    fn fill(&mut self, run: &mut Run, mut plain: &[u8]) -> Result<(), RestoreError> {
        while !plain.is_empty() {
            let (now, rest) = plain.split_at(plain.len().min(PIECE_BYTES - run.to));
            self.buffer.bytes_mut()[run.to..run.to + now.len()].copy_from_slice(now);
            run.to += now.len();
            plain = rest;
            if run.to == PIECE_BYTES {
                self.write_out(run)?;
                *run = Run {
                    base: run.base + PIECE_BYTES as u64,
                    from: 0,
                    to: 0,
                    ..*run
                };
            }
        }
        Ok(())
    }

    fn write_out(&self, run: &Run) -> Result<(), RestoreError> {
        let bytes = &self.buffer.bytes()[run.from..run.to];
        let offset = run.base + run.from as u64;
        self.files.write_run(run.file, offset, bytes)
    }

    /// Counts a piece that is all zeros and stays a hole.
    pub fn skip(&mut self, piece: &Piece) -> Result<(), RestoreError> {
        let length = piece.blob().plain_length() as usize;
        self.files.skip(piece.file, piece.file_offset, length)?;
        self.count(piece.file, 1)
    }

    /// Writes what has been gathered.
    pub fn flush(&mut self) -> Result<(), RestoreError> {
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        self.write_out(&run)?;
        self.count(run.file, run.pieces)
    }

    /// Counts pieces of a file that are written; hands a whole file to whoever makes it durable.
    fn count(&self, number: u32, pieces: u32) -> Result<(), RestoreError> {
        let Some(file) = self.files.count_off(number, pieces)? else {
            return Ok(());
        };
        self.files.count_whole();
        let size = self.plan.files[number as usize].node.size;
        if size < MOST_WHOLE_BYTES as u64 {
            return Ok(());
        }
        // At once, while others are still written, so that the disk is not idle first and the bottleneck later.
        // The receiver outlives the writers.
        self.finished
            .send((number, file))
            .map_err(|_| RestoreError::Panicked)
    }
}
