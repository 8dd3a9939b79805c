//! Collects sealed blobs into packs, stores the packs, and lists in index files what the store has
//! acknowledged.

use std::{
    collections::HashSet,
    mem,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::failure::{BackupError, Failure};
use crate::{
    blob::{BlobKind, Compressor},
    error::VaultError,
    id::Id,
    index::{Index, StoredIndex, StoredPack},
    pack::{FinishedPack, PackBuilder},
    progress::Progress,
    store::{FileKind, ObjectKey, StoreErrorKind},
    tree::Tree,
    unpacked,
    vault::Vault,
};

/// Room behind a full pack for its last blob and its header, so that it rarely grows.
const SLACK_BYTES: usize = 1 << 20;
/// Packs being filled at the same time, so that workers rarely wait for each other.
const MOST_SHARDS: usize = 4;
/// An index file is written when it lists so many blobs, as restic does…
const INDEX_BLOBS: usize = 50_000;
/// …or when it is so old, so that a backup that is killed need not store everything again.
const INDEX_AGE: Duration = Duration::from_secs(30);

/// Figures of what was new.
#[derive(Default)]
pub(crate) struct Added {
    pub data_blobs: AtomicU64,
    pub tree_blobs: AtomicU64,
    pub plain_bytes: AtomicU64,
    pub stored_bytes: AtomicU64,
}

pub(crate) struct Packer {
    inner: Arc<Inner>,
    queue: Sender<Parcel>,
    data: Vec<Mutex<PackBuilder>>,
    tree: Mutex<PackBuilder>,
    pack_bytes: usize,
    /// Threads that bring packs to the store.
    uploads: usize,
}

/// What goes to the uploading threads.
enum Parcel {
    Pack(FinishedPack),
    /// Go home: nothing comes after this.
    End,
}

/// What the uploading threads share with the packer.
struct Inner {
    vault: Vault,
    index: Arc<Index>,
    claimed: Vec<Mutex<HashSet<(Id, BlobKind)>>>,
    unlisted: Mutex<Unlisted>,
    /// Memory of stored packs: to ask the kernel for it anew costs a page fault for every 4 KiB.
    spare: Mutex<Vec<Vec<u8>>>,
    failure: Arc<Failure>,
    progress: Arc<Progress>,
    added: Added,
}

/// Stored packs that no index file lists yet.
struct Unlisted {
    packs: Vec<StoredPack>,
    blobs: usize,
    since: Instant,
}

/// The threads that bring packs to the store, until [`Packer::close`].
pub(crate) struct Uploads {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
}

impl Packer {
    pub fn start(
        vault: Vault,
        index: Arc<Index>,
        failure: Arc<Failure>,
        progress: Arc<Progress>,
        pack_bytes: usize,
        threads: usize,
    ) -> (Self, Uploads) {
        let unlisted = Unlisted {
            packs: Vec::new(),
            blobs: 0,
            since: Instant::now(),
        };
        let uploads = vault.distance().uploads(pack_bytes);
        let inner = Arc::new(Inner {
            vault,
            index,
            claimed: (0..64).map(|_| Mutex::default()).collect(),
            unlisted: Mutex::new(unlisted),
            spare: Mutex::default(),
            failure,
            progress,
            added: Added::default(),
        });
        let (queue, packs) = bounded(1);
        let threads_of_uploads = (0..uploads)
            .map(|_| {
                let (inner, packs) = (Arc::clone(&inner), packs.clone());
                thread::spawn(move || inner.upload_all(&packs))
            })
            .collect();
        let shards = threads.clamp(1, MOST_SHARDS);
        let packer = Self {
            inner: Arc::clone(&inner),
            queue,
            data: (0..shards)
                .map(|_| Mutex::new(PackBuilder::with_capacity(0)))
                .collect(),
            tree: Mutex::new(PackBuilder::with_capacity(0)),
            pack_bytes,
            uploads,
        };
        (
            packer,
            Uploads {
                inner,
                threads: threads_of_uploads,
            },
        )
    }

    /// Whether the caller is the one who must store this blob: nobody has, and nobody is about to.
    pub fn claim(&self, kind: BlobKind, id: &Id) -> bool {
        let slot = usize::from(id.as_bytes()[0]) % self.inner.claimed.len();
        // The claim comes before the question: a blob moves from the claims to the index, never
        // back, so asking in the other order could miss it in both.
        let new = lock(&self.inner.claimed[slot]).insert((*id, kind));
        if new && self.inner.index.contains(kind, id) {
            lock(&self.inner.claimed[slot]).remove(&(*id, kind));
            return false;
        }
        new
    }

    /// Compresses, seals and packs a claimed blob; returns the bytes it takes in the pack.
    pub fn store(
        &self,
        kind: BlobKind,
        id: Id,
        plain: &[u8],
        tools: &mut Tools,
    ) -> Result<u64, BackupError> {
        let length = length_of(plain)?;
        let compressed = tools.compressor.compress(plain)?;
        let plain_length = compressed.map(|_| length);
        let body = compressed.unwrap_or(plain);
        self.store_body(
            (kind, id),
            body,
            plain_length,
            &mut tools.sealed,
            tools.shard,
        )?;
        Ok(tools.sealed.len() as u64)
    }

    /// Whether the vault has this listing of a directory.
    pub fn has_listing(&self, id: &Id) -> bool {
        self.inner.index.contains(BlobKind::Tree, id)
    }

    /// Reads a listing that the vault has.
    ///
    /// # Errors
    /// As the vault failed.
    pub fn read_listing(&self, id: &Id) -> Result<Tree, VaultError> {
        self.inner.vault.read_tree(&self.inner.index, id)
    }

    /// Packs a claimed blob whose body was made before, as [`Packer::store_body`] does.
    pub fn store_made(
        &self,
        blob: (BlobKind, Id),
        body: &[u8],
        plain_length: Option<u32>,
        tools: &mut Tools,
    ) -> Result<(), BackupError> {
        self.store_body(blob, body, plain_length, &mut tools.sealed, tools.shard)
    }

    /// Seals and packs a claimed blob whose body is compressed already, or never will be: then
    /// `plain_length` is `None`. `sealed` is room to work in, `shard` the caller's number.
    pub fn store_body(
        &self,
        (kind, id): (BlobKind, Id),
        body: &[u8],
        plain_length: Option<u32>,
        sealed: &mut Vec<u8>,
        shard: usize,
    ) -> Result<(), BackupError> {
        sealed.clear();
        self.inner
            .vault
            .key
            .seal_into(body, sealed)
            .map_err(VaultError::from)?;
        let plain_bytes = plain_length.map_or(body.len(), |length| length as usize);
        self.inner.added.count(kind, plain_bytes, sealed.len());
        let builder = match kind {
            BlobKind::Data => &self.data[shard % self.data.len()],
            BlobKind::Tree => &self.tree,
        };
        let mut builder = lock(builder);
        if builder.is_empty() {
            let spare = lock(&self.inner.spare).pop();
            let room = || Vec::with_capacity(self.pack_bytes + SLACK_BYTES);
            *builder = PackBuilder::reusing(spare.unwrap_or_else(room));
        }
        builder.add(id, kind, sealed, plain_length);
        if builder.len() < self.pack_bytes {
            return Ok(());
        }
        let full = mem::replace(&mut *builder, PackBuilder::with_capacity(0));
        drop(builder);
        self.send(full)
    }

    fn send(&self, builder: PackBuilder) -> Result<(), BackupError> {
        let pack = builder.finish(&self.inner.vault.key)?;
        self.queue
            .send(Parcel::Pack(pack))
            .map_err(|_| BackupError::Ended)
    }

    /// Figures of what was new until now.
    pub fn added(&self) -> &Added {
        &self.inner.added
    }

    /// Sends the uploading threads home, after what was sent before.
    pub fn close(&self) {
        for _ in 0..self.uploads {
            if self.queue.send(Parcel::End).is_err() {
                return;
            }
        }
    }

    /// Sends what is not a full pack yet.
    pub fn flush(&self) -> Result<(), BackupError> {
        for builder in self.data.iter().chain([&self.tree]) {
            let rest = mem::replace(&mut *lock(builder), PackBuilder::with_capacity(0));
            if !rest.is_empty() {
                self.send(rest)?;
            }
        }
        Ok(())
    }
}

/// What a worker needs to store blobs: reused, because making it costs more than using it.
pub(crate) struct Tools {
    compressor: Compressor,
    sealed: Vec<u8>,
    shard: usize,
}

impl Tools {
    pub fn new(compressor: Compressor, shard: usize) -> Self {
        Self {
            compressor,
            sealed: Vec::new(),
            shard,
        }
    }
}

impl Inner {
    /// Takes packs until it is sent home. After a failure they are dropped, so that nobody waits
    /// for room in the queue for ever.
    fn upload_all(&self, parcels: &Receiver<Parcel>) {
        for parcel in parcels {
            let Parcel::Pack(pack) = parcel else { return };
            if self.failure.has_happened() {
                continue;
            }
            if let Err(error) = self.upload(&pack) {
                self.failure.set(error.into());
            }
            lock(&self.spare).push(pack.bytes);
        }
    }

    fn upload(&self, pack: &FinishedPack) -> Result<(), VaultError> {
        let id = Id::of(&pack.bytes);
        match self
            .vault
            .store
            .create(&ObjectKey::of(FileKind::Pack, &id), &pack.bytes)
        {
            // Its name is its hash: it came through when its acknowledgement did not.
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {}
            other => other?,
        }
        self.progress.moved_stored(pack.bytes.len() as u64);
        self.index.add_pack(id, &pack.blobs);
        for blob in &pack.blobs {
            let slot = usize::from(blob.id.as_bytes()[0]) % self.claimed.len();
            lock(&self.claimed[slot]).remove(&(blob.id, blob.kind));
        }
        let mut unlisted = lock(&self.unlisted);
        unlisted.packs.push(StoredPack::new(id, &pack.blobs));
        unlisted.blobs += pack.blobs.len();
        let due = unlisted.blobs >= INDEX_BLOBS || unlisted.since.elapsed() >= INDEX_AGE;
        if due {
            self.list_packs(unlisted)
        } else {
            Ok(())
        }
    }

    /// Writes an index file of the packs that are in none.
    fn list_packs(&self, mut unlisted: MutexGuard<'_, Unlisted>) -> Result<(), VaultError> {
        let packs = mem::take(&mut unlisted.packs);
        unlisted.blobs = 0;
        unlisted.since = Instant::now();
        drop(unlisted);
        if packs.is_empty() {
            return Ok(());
        }
        let stored = StoredIndex {
            packs,
            ..StoredIndex::default()
        };
        unpacked::save(
            &*self.vault.store,
            &self.vault.key,
            FileKind::Index,
            &stored,
        )
        .map(drop)
    }
}

impl Uploads {
    /// Waits until every pack that was sent is stored and listed. The packer must be closed.
    pub fn finish(&mut self) -> Result<Finished, BackupError> {
        for thread in mem::take(&mut self.threads) {
            if thread.join().is_err() {
                self.inner.failure.set(BackupError::Panicked);
            }
        }
        // After a failure too: what is stored need not be stored again by the next try.
        let listed = self.inner.list_packs(lock(&self.inner.unlisted));
        self.inner.failure.check()?;
        listed?;
        Ok(Finished {
            inner: Arc::clone(&self.inner),
        })
    }
}

/// Proof that everything is stored and listed, and its figures.
pub(crate) struct Finished {
    inner: Arc<Inner>,
}

impl Finished {
    pub fn added(&self) -> &Added {
        &self.inner.added
    }
}

impl Added {
    fn count(&self, kind: BlobKind, plain: usize, stored: usize) {
        let blobs = match kind {
            BlobKind::Data => &self.data_blobs,
            BlobKind::Tree => &self.tree_blobs,
        };
        blobs.fetch_add(1, Ordering::Relaxed);
        self.plain_bytes.fetch_add(plain as u64, Ordering::Relaxed);
        self.stored_bytes
            .fetch_add(stored as u64, Ordering::Relaxed);
    }
}

/// The length of a blob before compression, as packs and indexes tell it.
///
/// # Errors
/// [`VaultError::LongListing`]: pieces of files are never so long.
pub(super) fn length_of(plain: &[u8]) -> Result<u32, VaultError> {
    u32::try_from(plain.len()).map_err(|_| VaultError::LongListing { bytes: plain.len() })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
