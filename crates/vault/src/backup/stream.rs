//! A file whose bytes come from somewhere else than this machine's disk: a dump, a network.

use std::{
    io, mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crossbeam_channel::Sender;

use super::{
    failure::BackupError,
    worker::{Job, Shared, Worker},
};
use crate::{
    budget::{Budget, Held},
    chunk::Chunking,
    id::Id,
    path::TreePath,
    tree::Node,
};

/// Bytes of fixed chunks that go to a worker together.
const PIECE_BYTES: usize = 512 << 10;

/// Takes a file's bytes in order; threads of the backup hash, compress and store them meanwhile.
/// The file is in the recovery point only after [`FileWriter::finish`].
pub struct FileWriter {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    budget: Budget,
    stream: Arc<Stream>,
    buffer: Vec<u8>,
    held: Option<Held>,
    next_piece: usize,
    bytes: u64,
    expected: Option<u64>,
    is_finished: bool,
}

/// A file in work.
struct Stream {
    path: TreePath,
    chunking: Chunking,
    node: Mutex<Node>,
    pieces: Mutex<Vec<Vec<Id>>>,
    /// Pieces in work, and one for the writer while it is not finished.
    remaining: AtomicUsize,
    /// Whether its writer has given it up: it is in no recovery point.
    is_abandoned: AtomicBool,
}

/// Consecutive bytes of a stream.
pub(super) struct Piece {
    stream: Arc<Stream>,
    number: usize,
    bytes: Vec<u8>,
    _held: Option<Held>,
}

impl FileWriter {
    pub(super) fn new(
        shared: Arc<Shared>,
        jobs: Sender<Job>,
        budget: Budget,
        path: TreePath,
        node: Node,
        chunking: Chunking,
    ) -> Self {
        shared.file_is_begun();
        shared.stream_is_open(&path);
        let stream = Stream {
            path,
            chunking,
            node: Mutex::new(node),
            pieces: Mutex::default(),
            remaining: AtomicUsize::new(1),
            is_abandoned: AtomicBool::new(false),
        };
        Self {
            shared,
            jobs,
            budget,
            stream: Arc::new(stream),
            buffer: Vec::new(),
            held: None,
            next_piece: 0,
            bytes: 0,
            expected: None,
            is_finished: false,
        }
    }

    /// Makes its buffers no larger than a file of this length needs.
    pub(super) fn expecting(mut self, bytes: u64) -> Self {
        self.expected = Some(bytes);
        self
    }

    /// Takes more bytes; waits when too many are in memory already.
    ///
    /// # Errors
    /// The first failure of the backup, wherever it was.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), BackupError> {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.buffer.capacity() == 0 {
                self.hold_buffer()?;
            }
            let room = self.buffer.capacity() - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == self.buffer.capacity() {
                self.send_full()?;
            }
        }
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts the file into the recovery point, as soon as its last bytes are stored.
    ///
    /// # Errors
    /// The first failure of the backup, wherever it was.
    pub fn finish(mut self) -> Result<(), BackupError> {
        self.is_finished = true;
        self.shared.stream_is_finished(&self.stream.path);
        while !self.buffer.is_empty() {
            let length = self.first_length();
            self.send(length)?;
        }
        {
            let mut node = self
                .stream
                .node
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            node.size = self.bytes;
        }
        self.stream.done_with_one(&self.shared)
    }

    /// Leaves the file out: it cannot be had whole. The backup goes on without it; what was stored of it is found again
    /// by who stores the same, else it goes with a prune.
    ///
    /// # Errors
    /// The first failure of the backup, wherever it was.
    pub fn abandon(mut self) -> Result<(), BackupError> {
        self.is_finished = true;
        self.stream.is_abandoned.store(true, Ordering::Release);
        self.shared.stream_is_finished(&self.stream.path);
        self.stream.done_with_one(&self.shared)
    }

    /// How many bytes to cut off the buffer's front, when no more will come.
    fn first_length(&self) -> usize {
        match self.stream.chunking {
            Chunking::Fixed { .. } => self.buffer.len(),
            Chunking::ContentDefined => self.shared.gear.cut(&self.buffer),
        }
    }

    fn send_full(&mut self) -> Result<(), BackupError> {
        match self.stream.chunking {
            Chunking::Fixed { .. } => self.send(self.buffer.len()),
            // The rest stays until there is enough behind it to know where it is cut.
            Chunking::ContentDefined => {
                let length = self.shared.gear.cut(&self.buffer);
                self.send(length)
            }
        }
    }

    fn hold_buffer(&mut self) -> Result<(), BackupError> {
        let bytes = match self.stream.chunking {
            Chunking::Fixed { bytes } => (PIECE_BYTES / bytes as usize).max(1) * bytes as usize,
            Chunking::ContentDefined => self.stream.chunking.longest(),
        };
        // One byte at least: a buffer without room would never be full.
        let expected = self
            .expected
            .and_then(|all| usize::try_from(all).ok())
            .unwrap_or(bytes);
        let bytes = bytes.min(expected.max(1));
        let failure = &self.shared.failure;
        match self.budget.hold(bytes, || failure.has_happened()) {
            Some(held) => self.held = Some(held),
            None => self.shared.failure.check()?,
        }
        self.buffer = Vec::with_capacity(bytes);
        Ok(())
    }

    /// Sends the first bytes of the buffer to the workers.
    fn send(&mut self, length: usize) -> Result<(), BackupError> {
        let rest_length = self.buffer.len() - length;
        let mut bytes = mem::take(&mut self.buffer);
        let held = self.held.take();
        if rest_length > 0 {
            self.hold_buffer()?;
            self.buffer.extend_from_slice(&bytes[length..]);
            bytes.truncate(length);
        }
        self.stream.remaining.fetch_add(1, Ordering::AcqRel);
        let piece = Piece {
            stream: Arc::clone(&self.stream),
            number: self.next_piece,
            bytes,
            _held: held,
        };
        self.next_piece += 1;
        self.jobs
            .send(Job::Piece(piece))
            .map_err(|_| BackupError::Ended)?;
        self.shared.failure.check()
    }
}

impl io::Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write(self, bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for FileWriter {
    /// Half a file must not become a whole one: the backup fails with it.
    fn drop(&mut self) {
        if !self.is_finished {
            let path = self.stream.path.clone();
            self.shared.failure.set(BackupError::Unfinished(path));
        }
    }
}

impl Stream {
    fn done_with_one(&self, shared: &Shared) -> Result<(), BackupError> {
        if self.remaining.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Ok(());
        }
        let pieces = mem::take(
            &mut *self
                .pieces
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        let mut node = mem::take(
            &mut *self
                .node
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        if self.is_abandoned.load(Ordering::Acquire) {
            shared.file_is_done();
            return Ok(());
        }
        node.content = Some(pieces.concat());
        let inserted = shared.insert(&self.path, node);
        shared.file_is_done();
        inserted
    }
}

impl Piece {
    pub fn store(self, worker: &mut Worker) -> Result<(), BackupError> {
        let chunking = self.stream.chunking;
        let mut content = Vec::new();
        let length = match chunking {
            Chunking::Fixed { bytes } => bytes as usize,
            Chunking::ContentDefined => self.bytes.len().max(1),
        };
        worker.store_chunks(
            &self.stream.path,
            self.bytes.chunks(length),
            chunking,
            &mut content,
        )?;
        let mut pieces = self
            .stream
            .pieces
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if pieces.len() <= self.number {
            pieces.resize_with(self.number + 1, Vec::new);
        }
        pieces[self.number] = content;
        drop(pieces);
        self.stream.done_with_one(&worker.shared)
    }
}
