//! The threads that bring blobs from one vault's packs into the other's.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    BadBlobs, CopyOptions, CopyToError,
    piece::{Piece, by_pack, ranges},
};
use crate::{
    backup::{failure::Failure, packer::Packer},
    error::VaultError,
    index::Index,
    opener::{Opened, Opener},
    pack::PackedBlob,
    progress::Progress,
    store::{FileKind, ObjectKey},
    vault::Vault,
};

/// While one thread waits for the disk, another one computes.
const THREADS_PER_CORE: usize = 2;

/// How many threads copy out of `source`.
pub(super) fn threads(options: &CopyOptions, source: &Vault) -> usize {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let usual = || source.distance().stretch_readers(cores * THREADS_PER_CORE);
    options.threads.unwrap_or_else(usual).max(1)
}

/// Where blobs come from and go to.
pub(super) struct Sides<'a> {
    pub source: &'a Vault,
    pub index: &'a Index,
    pub target: &'a Vault,
    pub packer: &'a Packer,
    pub failure: &'a Failure,
}

struct Transfer<'a> {
    sides: &'a Sides<'a>,
    packs: Vec<&'a [Piece]>,
    next: AtomicUsize,
    is_over: AtomicBool,
    error: Mutex<Option<CopyToError>>,
    bad: Mutex<BadBlobs>,
    progress: &'a Progress,
}

/// What a thread works with, kept because making it costs more than using it.
struct Tools {
    bytes: Vec<u8>,
    opener: Opener,
    sealed: Vec<u8>,
    shard: usize,
}

/// Copies claimed pieces, sorted by pack and place; returns those that could not be read, and why.
pub(super) fn run(
    sides: &Sides<'_>,
    pieces: &[Piece],
    options: &CopyOptions,
    progress: &Progress,
) -> Result<BadBlobs, CopyToError> {
    let length = |piece: &Piece| u64::from(piece.blob.length);
    progress.expect_bytes(pieces.iter().map(length).sum());
    let transfer = Transfer {
        sides,
        packs: by_pack(pieces),
        next: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
        error: Mutex::default(),
        bad: Mutex::default(),
        progress,
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads(options, sides.source).min(transfer.packs.len()))
            .map(|shard| {
                scope.spawn({
                    let transfer = &transfer;
                    move || transfer.work(shard)
                })
            })
            .collect();
        // Each is waited for: the scope would panic over one that nobody asked.
        let failed = workers.into_iter().filter_map(|worker| worker.join().err());
        (failed.count() == 0)
            .then_some(())
            .ok_or(CopyToError::Panicked)
    })?;
    if let Some(error) = lock(&transfer.error).take() {
        return Err(error);
    }
    Ok(std::mem::take(&mut *lock(&transfer.bad)))
}

impl Transfer<'_> {
    fn work(&self, shard: usize) {
        let mut tools = Tools {
            bytes: Vec::new(),
            opener: Opener::default(),
            sealed: Vec::new(),
            shard,
        };
        while let Some(pieces) = self.packs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            for range in ranges(pieces) {
                if self.is_over.load(Ordering::Relaxed) || self.sides.failure.has_happened() {
                    return;
                }
                if let Err(error) = self.bring(&pieces[range], &mut tools) {
                    self.is_over.store(true, Ordering::Relaxed);
                    lock(&self.error).get_or_insert(error);
                }
            }
        }
    }

    /// Reads one range of a pack and deals with each blob in it.
    fn bring(&self, pieces: &[Piece], tools: &mut Tools) -> Result<(), CopyToError> {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else {
            return Ok(());
        };
        let start = first.blob.offset;
        let length = (last.blob.offset - start + last.blob.length) as usize;
        if tools.bytes.len() < length {
            tools.bytes.resize(length, 0);
        }
        let Sides { source, .. } = self.sides;
        let key = ObjectKey::of(FileKind::Pack, &first.pack);
        let bytes = &mut tools.bytes[..length];
        if let Err(error) = source.store.read_range(&key, u64::from(start), bytes) {
            return self.after_failed_read(pieces, error.into(), tools);
        }
        let Tools {
            opener,
            sealed,
            shard,
            ..
        } = tools;
        let blobs = pieces.iter().map(|piece| piece.blob);
        opener.open_each_twofold(
            &source.key,
            &first.pack,
            (start, bytes),
            blobs,
            |at, opened| self.place(&pieces[at], opened, sealed, *shard),
        )
    }

    /// A cut pack may still give its first blobs; a store that does not answer gives nothing.
    fn after_failed_read(
        &self,
        pieces: &[Piece],
        error: VaultError,
        tools: &mut Tools,
    ) -> Result<(), CopyToError> {
        if !error.is_damage_or_missing() {
            return Err(CopyToError::source(self.sides.source)(error));
        }
        match pieces {
            [piece] => self.place_from_elsewhere(piece, &error, &mut tools.sealed, tools.shard),
            _ => pieces
                .chunks(1)
                .try_for_each(|single| self.bring(single, tools)),
        }
    }

    /// Puts an opened blob into a pack of the other vault.
    fn place(
        &self,
        piece: &Piece,
        opened: Result<Opened<'_>, VaultError>,
        sealed: &mut Vec<u8>,
        shard: usize,
    ) -> Result<(), CopyToError> {
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return self.place_from_elsewhere(piece, &error, sealed, shard),
        };
        let name = (piece.blob.kind, piece.blob.id);
        let plain_length = piece.blob.uncompressed_length;
        let Sides { packer, target, .. } = self.sides;
        packer
            .store_body(name, opened.body, plain_length, sealed, shard)
            .map_err(|error| CopyToError::packing(target, error))?;
        self.progress.did_bytes(u64::from(piece.blob.length));
        Ok(())
    }

    /// A blob that is damaged where it was looked for may lie whole in another pack.
    fn place_from_elsewhere(
        &self,
        piece: &Piece,
        error: &VaultError,
        sealed: &mut Vec<u8>,
        shard: usize,
    ) -> Result<(), CopyToError> {
        let (kind, id) = (piece.blob.kind, piece.blob.id);
        let Sides { source, index, .. } = self.sides;
        match source.read_blob(index, kind, &id) {
            Ok(plain) => {
                let opened = Opened {
                    plain: &plain,
                    body: &plain,
                };
                let whole = Piece {
                    blob: PackedBlob {
                        uncompressed_length: None,
                        ..piece.blob
                    },
                    ..*piece
                };
                self.place(&whole, Ok(opened), sealed, shard)
            }
            Err(again) if again.is_damage_or_missing() => {
                self.note(piece, error);
                Ok(())
            }
            Err(failed) => Err(CopyToError::source(source)(failed)),
        }
    }

    fn note(&self, piece: &Piece, error: &VaultError) {
        let name = (piece.blob.kind, piece.blob.id);
        lock(&self.bad).insert(name, error.in_full());
        self.progress.did_bytes(u64::from(piece.blob.length));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
