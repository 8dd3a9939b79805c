//! The threads that hash, compress and seal.

use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use crossbeam_channel::Receiver;

use super::{
    compare::AddedBytes,
    failure::{BackupError, Failure},
    frozen::Frozen,
    local_file::Reading,
    measured::Measured,
    packer::{Packer, Tools},
    stream::Piece,
    tree_builder::TreeBuilder,
};
use crate::{
    blob::{BlobKind, Compression, Compressor, DataClass},
    chunk::{Chunking, Gear},
    error::VaultError,
    hash,
    id::Id,
    path::TreePath,
    progress::Progress,
    tree::Node,
};

/// One thing for a worker to do.
pub(super) enum Job {
    /// Read a range of a file of this machine.
    Range {
        reading: Arc<Reading>,
        number: usize,
    },
    /// Deal with bytes that somebody else has read.
    Piece(Piece),
    /// Go home: nothing comes after this.
    End,
}

/// What all threads of a backup share.
pub(super) struct Shared {
    pub packer: Packer,
    pub gear: Gear,
    pub failure: Arc<Failure>,
    pub progress: Arc<Progress>,
    tree: Mutex<TreeBuilder>,
    compression: Compression,
    /// What makes listings, one for each thread that ever did so at the same time.
    compressors: Mutex<Vec<Compressor>>,
    pub left_out: Mutex<Vec<TreePath>>,
    /// What was added below which path, for those who asked.
    pub measured: Measured,
    /// Streams whose writers are neither finished nor given up.
    open_streams: Mutex<BTreeSet<TreePath>>,
    files_in_work: Mutex<u64>,
    file_finished: Condvar,
}

impl Shared {
    pub fn new(
        packer: Packer,
        gear: Gear,
        failure: Arc<Failure>,
        progress: Arc<Progress>,
        compression: Compression,
    ) -> Self {
        Self {
            compression,
            compressors: Mutex::default(),
            packer,
            gear,
            failure,
            progress,
            tree: Mutex::default(),
            left_out: Mutex::default(),
            measured: Measured::default(),
            open_streams: Mutex::default(),
            files_in_work: Mutex::new(0),
            file_finished: Condvar::new(),
        }
    }

    /// Puts an entry into the tree.
    pub fn insert(&self, path: &TreePath, node: Node) -> Result<(), BackupError> {
        self.tree().insert(path, node, &self.packer)?;
        self.progress.did_file();
        Ok(())
    }

    /// The entry of a file that is in the tree already.
    pub fn file_at(&self, path: &TreePath) -> Option<Node> {
        let (above, name) = path.split()?;
        self.tree().open_at(&above)?.others.get(name).cloned()
    }

    /// Gives the entries of a directory up for its listing: it is complete, and so are those in it.
    pub fn freeze(&self, path: &TreePath) -> Result<(), BackupError> {
        let taken = self
            .tree()
            .open_at(path)
            .and_then(TreeBuilder::take_entries);
        let Some((others, directories)) = taken else {
            return Ok(());
        };
        // Not while the tree is locked: others go on with their directories.
        let spare = self.compressors().pop();
        let mut compressor = match spare {
            Some(compressor) => compressor,
            None => Compressor::new(self.compression, DataClass::General)?,
        };
        let frozen = Frozen::of(others, directories, &self.packer, &mut compressor)?;
        self.compressors().push(compressor);
        match self.tree().open_at(path) {
            Some(directory) => directory.freeze(frozen, &self.packer),
            // Somebody else took a directory above it meanwhile, as if it were a tree of its own.
            None => Err(BackupError::Duplicate(path.clone())),
        }
    }

    pub fn tree(&self) -> MutexGuard<'_, TreeBuilder> {
        self.tree
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn compressors(&self) -> MutexGuard<'_, Vec<Compressor>> {
        self.compressors
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes a file that is gone and may be.
    pub fn leave_out(&self, path: &TreePath) {
        let mut left_out = self
            .left_out
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        left_out.push(path.clone());
    }

    pub fn stream_is_open(&self, path: &TreePath) {
        self.open_streams().insert(path.clone());
    }

    pub fn stream_is_finished(&self, path: &TreePath) {
        self.open_streams().remove(path);
    }

    /// A recovery point must not be committed without a file that is still being written.
    pub fn ensure_streams_finished(&self) -> Result<(), BackupError> {
        let open = self.open_streams().first().cloned();
        open.map_or(Ok(()), |path| Err(BackupError::Unfinished(path)))
    }

    fn open_streams(&self) -> MutexGuard<'_, BTreeSet<TreePath>> {
        self.open_streams
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn file_is_begun(&self) {
        *self.files_in_work() += 1;
    }

    pub fn file_is_done(&self) {
        *self.files_in_work() -= 1;
        self.file_finished.notify_all();
    }

    /// Waits until no file is in work, or something failed.
    pub fn wait_for_files(&self) {
        let mut count = self.files_in_work();
        while *count > 0 && !self.failure.has_happened() {
            let waited = self
                .file_finished
                .wait_timeout(count, Duration::from_millis(100));
            count = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    fn files_in_work(&self) -> MutexGuard<'_, u64> {
        self.files_in_work
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One thread's tools.
pub(super) struct Worker {
    pub shared: Arc<Shared>,
    pages: Tools,
    general: Tools,
    buffer: Vec<u8>,
    ids: Vec<Id>,
    /// The chunk into which long holes are cut, once one was met.
    zeros: Option<Zeros>,
}

/// A chunk of zeros that is stored.
#[derive(Clone, Copy)]
struct Zeros {
    id: Id,
    bytes: u64,
}

impl Worker {
    pub fn new(
        shared: Arc<Shared>,
        compression: Compression,
        shard: usize,
    ) -> Result<Self, VaultError> {
        let tools =
            |class| Ok::<_, VaultError>(Tools::new(Compressor::new(compression, class)?, shard));
        Ok(Self {
            shared,
            pages: tools(DataClass::Pages)?,
            general: tools(DataClass::General)?,
            buffer: Vec::new(),
            ids: Vec::new(),
            zeros: None,
        })
    }

    /// Works until it is sent home. After a failure jobs are only taken away, so that nobody waits
    /// for room in the queue for ever.
    pub fn run(&mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            let outcome = match job {
                Job::End => return,
                _ if self.shared.failure.has_happened() => continue,
                Job::Range { reading, number } => reading.read_range(number, self),
                Job::Piece(piece) => piece.store(self),
            };
            if let Err(error) = outcome {
                self.shared.failure.set(error);
            }
        }
    }

    /// Stores chunks of the file at `path` that are not stored yet; appends all their ids to `content`.
    pub fn store_chunks<'a>(
        &mut self,
        path: &TreePath,
        chunks: impl Iterator<Item = &'a [u8]> + Clone,
        chunking: Chunking,
        content: &mut Vec<Id>,
    ) -> Result<(), BackupError> {
        hash::ids_of(chunks.clone(), &mut self.ids);
        let tools = match chunking.class() {
            DataClass::Pages => &mut self.pages,
            DataClass::General => &mut self.general,
        };
        let mut added = AddedBytes::default();
        for (chunk, &id) in chunks.zip(&self.ids) {
            if self.shared.packer.claim(BlobKind::Data, &id) {
                added.plain_bytes += chunk.len() as u64;
                added.stored_bytes += self.shared.packer.store(BlobKind::Data, id, chunk, tools)?;
            }
            self.shared.progress.did_bytes(chunk.len() as u64);
            content.push(id);
        }
        self.shared.measured.count(path, added);
        Ok(())
    }

    /// Stores the longest chunks of a run of `most` zeros that nobody has read, as cutting them would make them, and
    /// returns how many bytes these are: not all of it, and nothing of a short run, whose cuts depend on what is behind.
    pub fn store_zeros(
        &mut self,
        path: &TreePath,
        most: u64,
        content: &mut Vec<Id>,
    ) -> Result<u64, BackupError> {
        if most < Chunking::ContentDefined.longest() as u64 {
            return Ok(0);
        }
        let zeros = match self.zeros {
            Some(zeros) => zeros,
            None => self.first_zeros(path)?,
        };
        let chunks = most / zeros.bytes;
        content.extend((0..chunks).map(|_| zeros.id));
        self.shared.progress.did_bytes(chunks * zeros.bytes);
        Ok(chunks * zeros.bytes)
    }

    fn first_zeros(&mut self, path: &TreePath) -> Result<Zeros, BackupError> {
        let mut chunk = vec![0; Chunking::ContentDefined.longest()];
        chunk.truncate(self.shared.gear.cut(&chunk));
        let (id, bytes) = (Id::of(&chunk), chunk.len() as u64);
        if self.shared.packer.claim(BlobKind::Data, &id) {
            let (packer, tools) = (&self.shared.packer, &mut self.general);
            let added = AddedBytes {
                plain_bytes: bytes,
                stored_bytes: packer.store(BlobKind::Data, id, &chunk, tools)?,
            };
            self.shared.measured.count(path, added);
        }
        Ok(*self.zeros.insert(Zeros { id, bytes }))
    }

    /// The thread's buffer, at least so long; to be given back.
    pub fn take_buffer(&mut self, bytes: usize) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.len() < bytes {
            buffer.resize(bytes, 0);
        }
        buffer
    }

    pub fn give_buffer(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }
}
