//! Consecutive pieces of a large file, gathered into writes that go past the page cache.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::{
    RestoreError,
    files::{Files, MOST_WHOLE_BYTES, OpenFile},
    plan::{Piece, Plan},
};
use crate::direct::{AlignedBuffer, PIECE_BYTES};

/// One thread's way into files.
pub(super) struct Writer<'a> {
    plan: &'a Plan,
    files: &'a Files<'a>,
    /// Takes files that are whole.
    finished: Sender<(u32, Arc<OpenFile>)>,
    buffer: AlignedBuffer,
    run: Option<Run>,
}

/// What is in the buffer.
#[derive(Clone, Copy)]
struct Run {
    file: u32,
    offset: u64,
    bytes: usize,
    pieces: u32,
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
        if plain.len() > PIECE_BYTES || !self.files.may_be_direct(file, offset, plain.len()) {
            let whole = self.files.write(file, offset, plain, 1)?;
            return self.pass_on(file, whole);
        }
        let fits = self.run.is_some_and(|run| {
            run.file == file
                && run.offset + run.bytes as u64 == offset
                && run.bytes + plain.len() <= PIECE_BYTES
        });
        if !fits {
            self.flush()?;
        }
        let mut run = self.run.unwrap_or(Run {
            file,
            offset,
            bytes: 0,
            pieces: 0,
        });
        self.buffer.bytes_mut()[run.bytes..run.bytes + plain.len()].copy_from_slice(plain);
        run.bytes += plain.len();
        run.pieces += 1;
        self.run = Some(run);
        if run.bytes == PIECE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Counts a piece that is all zeros and stays a hole.
    pub fn skip(&mut self, piece: &Piece) -> Result<(), RestoreError> {
        let whole = self.files.skip(piece.file)?;
        self.pass_on(piece.file, whole)
    }

    /// Writes what has been gathered.
    pub fn flush(&mut self) -> Result<(), RestoreError> {
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        let bytes = &self.buffer.bytes()[..run.bytes];
        let whole = self.files.write(run.file, run.offset, bytes, run.pieces)?;
        self.pass_on(run.file, whole)
    }

    /// Hands a whole file to whoever makes it durable.
    fn pass_on(&self, number: u32, whole: Option<Arc<OpenFile>>) -> Result<(), RestoreError> {
        let Some(file) = whole else { return Ok(()) };
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
