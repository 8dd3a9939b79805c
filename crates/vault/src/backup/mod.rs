//! Writes a snapshot: many threads read, hash, compress, seal and store; one commit at the end.
//!
//! Workers take a piece of data all the way from the page cache to a sealed blob, so that it stays
//! in a core's cache. Two more threads, more for a store far away, bring full packs to it. The snapshot is written
//! last, and only if nothing failed, every pack is acknowledged and listed, and our lock still
//! holds.

mod compare;
pub(crate) mod failure;
mod frozen;
mod holes;
mod links;
mod local_file;
mod local_node;
mod local_tree;
mod measured;
mod open_folder;
pub(crate) mod packer;
mod parent;
mod stream;
mod tree_builder;
mod trouble;
mod walk;
mod worker;

use std::{
    panic,
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Timestamp;

pub use compare::{AddedBytes, NewExtension, TreeChange};
pub use failure::BackupError;
pub use local_file::{Inspect, Inspected, LocalFile, WhenMissing};
pub use local_tree::{FileSet, LocalTree, TreeReport};
pub use stream::FileWriter;
pub use trouble::{Trouble, TroubleKind};

use failure::Failure;
use local_file::Reading;
use open_folder::OpenFolder;
use packer::{Packer, Tools, Uploads};
use parent::Parent;
use tree_builder::Totals;
use trouble::Group;
use worker::{Job, Shared, Worker};

use crate::{
    blob::{Compression, Compressor, DataClass},
    budget::Budget,
    chunk::{Chunking, Gear},
    error::VaultError,
    id::Id,
    index::Index,
    lock::{Lock, LockMode},
    path::TreePath,
    progress::Progress,
    reader::FileReader,
    snapshot::{Snapshot, StoredSnapshot, Summary},
    store::FileKind,
    tree::{Node, NodeKind},
    unpacked,
    vault::Vault,
};

/// Jobs that may wait for a worker. Those of streams hold memory and are bounded by its budget; a
/// short queue would let whoever feeds it and those who empty it wait for each other in turn.
const JOBS_AHEAD: usize = 256;

/// How a backup works.
pub struct BackupOptions {
    /// How hard to compress.
    pub compression: Compression,
    /// Worker threads, at least one; as many as there are cores if `None`.
    pub threads: Option<usize>,
    /// A pack is stored when it has so many bytes.
    pub pack_bytes: usize,
    /// Bytes of streams that may be in memory at once.
    pub buffer_bytes: usize,
    /// Files that are the same as in this snapshot are not read.
    pub parent: Option<Snapshot>,
    /// How long to wait if somebody is alone in the vault, as a prune is for a short time.
    pub lock_wait: Duration,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            compression: Compression::default(),
            threads: None,
            pack_bytes: 16 << 20,
            buffer_bytes: 96 << 20,
            parent: None,
            lock_wait: Duration::ZERO,
            progress: Arc::default(),
        }
    }
}

/// What the snapshot says of itself.
#[derive(Clone, Debug, Default)]
pub struct SnapshotDraft {
    /// What was backed up, for people and for `restic --path`.
    pub paths: Vec<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
}

/// A backup in work. Dropping it gives up: nothing is committed, and what was stored is found
/// again by the next one.
pub struct Backup {
    vault: Vault,
    index: Arc<Index>,
    lock: Lock,
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    budget: Budget,
    workers: Vec<JoinHandle<()>>,
    uploads: Uploads,
    parent: Mutex<Option<Parent>>,
    compression: Compression,
    started: Timestamp,
}

impl Vault {
    /// Begins a backup: takes a shared lock, reads the index, starts the threads.
    ///
    /// # Errors
    /// [`VaultError::Locked`], or as the store failed.
    pub fn start_backup(&self, options: BackupOptions) -> Result<Backup, VaultError> {
        let started = Timestamp::now();
        // Before the index is read: a prune between the two could delete what the index names.
        let lock = self.lock_within(LockMode::Shared, options.lock_wait)?;
        let index = Arc::new(self.load_index()?);
        self.forget_lost_packs(&index)?;
        let failure = Arc::new(Failure::default());
        let threads = options
            .threads
            .or_else(|| thread::available_parallelism().ok().map(Into::into))
            .unwrap_or(2)
            .max(1);
        let (packer, uploads) = Packer::start(
            self.clone(),
            Arc::clone(&index),
            Arc::clone(&failure),
            Arc::clone(&options.progress),
            options.pack_bytes,
            threads,
        );
        let gear = Gear::new(&self.config.chunker_polynomial);
        let shared = Shared::new(packer, gear, failure, options.progress, options.compression);
        let shared = Arc::new(shared);
        let (jobs, queue) = bounded(JOBS_AHEAD);
        let mut workers = Vec::new();
        for shard in 0..threads {
            let worker = Worker::new(Arc::clone(&shared), options.compression, shard)?;
            let queue = queue.clone();
            workers.push(thread::spawn(move || run_to_the_end(worker, &queue)));
        }
        Ok(Backup {
            parent: Mutex::new(
                options
                    .parent
                    .map(|parent| Parent::new(self.clone(), parent)),
            ),
            vault: self.clone(),
            index,
            lock,
            shared,
            jobs,
            budget: Budget::new(options.buffer_bytes),
            workers,
            uploads,
            compression: options.compression,
            started,
        })
    }
}

/// A worker that panics must fail the backup, and not leave those waiting who wait for it.
fn run_to_the_end(mut worker: Worker, jobs: &Receiver<Job>) {
    let work = panic::AssertUnwindSafe(|| worker.run(jobs));
    if panic::catch_unwind(work).is_err() {
        worker.shared.failure.set(BackupError::Panicked);
        // Only takes jobs away, now that there is a failure.
        worker.run(jobs);
    }
}

impl Backup {
    /// Adds a directory, a link or anything else that has no content. The name is taken from the
    /// path.
    ///
    /// # Errors
    /// If the path is taken.
    pub fn add_node(&self, path: &TreePath, node: Node) -> Result<(), BackupError> {
        self.shared.insert(path, node)
    }

    /// Adds a file of these bytes.
    ///
    /// # Errors
    /// The first failure of the backup, wherever it was.
    pub fn add_bytes(&self, path: &TreePath, node: Node, bytes: &[u8]) -> Result<(), BackupError> {
        let length = bytes.len() as u64;
        let mut writer =
            self.file_writer_sized(path.clone(), node, Chunking::ContentDefined, length);
        writer.write(bytes)?;
        writer.finish()
    }

    /// Adds a file that its writer fills. Several may be open at once.
    #[must_use]
    pub fn file_writer(&self, path: TreePath, mut node: Node, chunking: Chunking) -> FileWriter {
        node.kind = NodeKind::File;
        let (shared, jobs) = (Arc::clone(&self.shared), self.jobs.clone());
        FileWriter::new(shared, jobs, self.budget.clone(), path, node, chunking)
    }

    /// As [`Backup::file_writer`], for a file whose length is known: a short one takes no more
    /// memory than it needs.
    #[must_use]
    pub fn file_writer_sized(
        &self,
        path: TreePath,
        node: Node,
        chunking: Chunking,
        bytes: u64,
    ) -> FileWriter {
        self.file_writer(path, node, chunking).expecting(bytes)
    }

    /// Adds a file of this machine, which threads read while this returns. It is taken over from
    /// the parent unread if it is the same there.
    ///
    /// # Errors
    /// The first failure of the backup, wherever it was.
    pub fn add_local_file(
        &self,
        path: TreePath,
        mut file: LocalFile,
    ) -> Result<Taken, BackupError> {
        self.shared.failure.check()?;
        file.node.kind = NodeKind::File;
        let same = self
            .parent()
            .as_mut()
            .and_then(|parent| parent.unchanged(&self.index, &path, &file.node));
        if let Some(content) = same {
            self.shared.progress.did_bytes(file.node.size);
            file.node.content = Some(content);
            self.shared.insert(&path, file.node)?;
            return Ok(Taken::FromParent);
        }
        self.read_local_file(path, file, None, None)?;
        Ok(Taken::Read)
    }

    /// Has a file read by the threads, whatever the parent says.
    fn read_local_file(
        &self,
        path: TreePath,
        file: LocalFile,
        group: Option<Arc<Group>>,
        folder: Option<Arc<OpenFolder>>,
    ) -> Result<(), BackupError> {
        self.shared.file_is_begun();
        if let Some(group) = &group {
            group.is_begun();
        }
        let reading = Reading::new(path, file, group, folder);
        for number in 0..reading.ranges() {
            let job = Job::Range {
                reading: Arc::clone(&reading),
                number,
            };
            self.jobs.send(job).map_err(|_| BackupError::Ended)?;
        }
        Ok(())
    }

    /// Adds a file whose content is that of the parent's file at `of`, without reading anything. False if the parent
    /// has no such file, or the vault not all of it: the file is not added then. The caller must know that it is the same.
    ///
    /// # Errors
    /// If the path is taken, or the backup has failed.
    pub fn add_from_parent(
        &self,
        path: &TreePath,
        mut node: Node,
        of: &TreePath,
    ) -> Result<bool, BackupError> {
        self.shared.failure.check()?;
        let mut parent = self.parent();
        let Some((parent, content)) = parent
            .as_mut()
            .and_then(|parent| parent.content(&self.index, of).map(|found| (parent, found)))
        else {
            return Ok(false);
        };
        parent.count_unmodified();
        self.shared.progress.did_bytes(node.size);
        (node.kind, node.content) = (NodeKind::File, Some(content));
        self.shared.insert(path, node)?;
        Ok(true)
    }

    /// The parent's file at `path`, to be read; `None` if there is none.
    #[must_use]
    pub fn parent_file(&self, path: &TreePath) -> Option<FileReader<'_>> {
        let mut parent = self.parent();
        let node = parent.as_mut()?.node(&self.index, path)?;
        let is_file = node.kind == NodeKind::File;
        is_file.then(|| self.vault.file_reader(&self.index, node))
    }

    /// Waits until every file added so far is stored or failed.
    ///
    /// # Errors
    /// The first failure of the backup, wherever it was.
    pub fn wait_for_files(&self) -> Result<(), BackupError> {
        self.shared.wait_for_files();
        self.shared.failure.check()
    }

    /// Gives up: whoever still adds something is told, and nothing will be committed.
    pub fn give_up(&self) {
        self.shared.failure.set(BackupError::Failed);
    }

    /// Gives entries at and below `path` that belong to user and group 0 the owner of `owner`: for
    /// entries that were made on the way and belong to whom the others belong to. Complete after
    /// [`Backup::wait_for_files`].
    pub fn own_unowned(&self, path: &TreePath, owner: &Node) {
        let shared = &self.shared;
        if let Err(error) = shared.tree().own_unowned(path, owner, &shared.packer) {
            shared.failure.set(error);
        }
    }

    /// Files that were gone when they were to be read, and were left out. Complete after
    /// [`Backup::wait_for_files`].
    #[must_use]
    pub fn left_out(&self) -> Vec<TreePath> {
        self.shared
            .left_out
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    fn parent(&self) -> MutexGuard<'_, Option<Parent>> {
        self.parent
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What the vault has; grows as the backup goes on.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// When the backup began.
    #[must_use]
    pub const fn started(&self) -> Timestamp {
        self.started
    }

    /// Commits: waits for everything, then writes the snapshot.
    ///
    /// # Errors
    /// The first failure of the backup, wherever it was; there is no snapshot then.
    pub fn finish(mut self, draft: SnapshotDraft) -> Result<Snapshot, BackupError> {
        let (tree, summary) = self.finish_data()?;
        let host = &self.vault.host;
        let stored = StoredSnapshot {
            time: self.started,
            parent: self.parent().as_ref().map(Parent::id),
            tree,
            paths: draft.paths,
            hostname: host.name.clone(),
            username: host.username.clone(),
            uid: host.uid,
            gid: host.gid,
            tags: draft.tags,
            original: None,
            program_version: concat!("rekindle ", env!("CARGO_PKG_VERSION")).to_owned(),
            summary: Some(summary),
            other: serde_json::Map::default(),
        };
        self.lock.ensure_held()?;
        let Self { vault, .. } = &self;
        let id = unpacked::save(&*vault.store, &vault.key, FileKind::Snapshot, &stored)?;
        Ok(Snapshot { id, stored })
    }

    /// Everything but the snapshot itself.
    fn finish_data(&mut self) -> Result<(Id, Summary), BackupError> {
        self.end_workers()?;
        let saved = self
            .shared
            .failure
            .check()
            .and_then(|()| self.shared.ensure_streams_finished())
            .and_then(|()| self.save_tree());
        self.shared.packer.close();
        // Before the tree's own error, so that what is stored is listed whatever happened.
        let finished = self.uploads.finish();
        let (tree, totals) = saved?;
        let finished = finished?;
        let added = finished.added();
        let summary = Summary {
            backup_start: self.started,
            backup_end: Timestamp::now(),
            data_blobs: added.data_blobs.load(Ordering::Relaxed),
            tree_blobs: added.tree_blobs.load(Ordering::Relaxed),
            data_added: added.plain_bytes.load(Ordering::Relaxed),
            data_added_packed: added.stored_bytes.load(Ordering::Relaxed),
            total_files_processed: totals.files,
            total_bytes_processed: totals.bytes,
            ..self
                .parent()
                .as_ref()
                .map(Parent::summary)
                .unwrap_or_default()
        };
        Ok((tree, summary))
    }

    fn end_workers(&mut self) -> Result<(), BackupError> {
        for _ in &self.workers {
            // A worker that is gone already is noticed when it is joined.
            if self.jobs.send(Job::End).is_err() {
                break;
            }
        }
        let joined = self
            .workers
            .drain(..)
            .map(JoinHandle::join)
            .collect::<Vec<_>>();
        let fine = joined.iter().all(Result::is_ok);
        if fine {
            Ok(())
        } else {
            Err(BackupError::Panicked)
        }
    }

    /// Stores the tree and everything that is not in a stored pack yet.
    fn save_tree(&self) -> Result<(Id, Totals), BackupError> {
        let shared = &self.shared;
        let tree = std::mem::take(&mut *shared.tree());
        let compressor = Compressor::new(self.compression, DataClass::General)?;
        let saved = tree.save(&shared.packer, &mut Tools::new(compressor, 0))?;
        shared.packer.flush()?;
        Ok(saved)
    }
}

impl Drop for Backup {
    /// After [`Backup::finish`] there is nothing left to do. Otherwise everything is stopped, and
    /// what is stored is listed, so that the next backup need not store it again.
    fn drop(&mut self) {
        if self.workers.is_empty() {
            return;
        }
        self.shared.failure.set(BackupError::Failed);
        if self.end_workers().is_err() {
            tracing::error!("a worker thread panicked; this is a bug");
        }
        self.shared.packer.close();
        if let Err(error) = self.uploads.finish() {
            tracing::debug!(%error, "the backup was given up");
        }
    }
}

/// Where a file's content came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is being read.
    Read,
    /// It is the same as in the parent and was not read.
    FromParent,
}
