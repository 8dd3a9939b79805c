//! Packs anew what is used of packs that are to leave.
//!
//! Every blob is opened and verified against its id, and sealed anew as it was compressed. New
//! packs are listed in index files as a backup's are, so that whatever interrupts this leaves
//! blobs that lie twice, and the next prune sees that.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize, atomic::Ordering},
    thread,
};

use super::{PruneError, PruneOptions, ledger::Ledger, plan::Fate, reading};
use crate::{
    backup::{
        failure::Failure,
        packer::{Packer, Uploads},
    },
    error::VaultError,
    id::Id,
    index::Index,
    opener::Opener,
    pack::PackedBlob,
    progress::Progress,
    vault::Vault,
};

/// What came of it.
#[derive(Default)]
pub(super) struct Repacked {
    /// Stored bytes of the blobs that were packed anew.
    pub bytes: u64,
    /// Blobs that are damaged where they lie, in words; their packs stay.
    pub damaged: Vec<String>,
    /// Why it ended early: the store has no room. What was packed anew counts.
    pub no_space: Option<VaultError>,
}

struct Work<'a> {
    vault: &'a Vault,
    packer: &'a Packer,
    failure: &'a Failure,
    progress: &'a Progress,
    packs: Vec<(Id, Vec<PackedBlob>)>,
    next: AtomicUsize,
    done: Mutex<Repacked>,
}

/// Packs anew what is used in packs of [`Fate::Repack`] and stays nowhere else.
pub(super) fn run(
    vault: &Vault,
    ledger: &Ledger,
    fates: &[Fate],
    options: &PruneOptions,
    progress: &Arc<Progress>,
) -> Result<Repacked, PruneError> {
    let packs = wanted(ledger, fates);
    let blobs = packs.iter().flat_map(|(_, blobs)| blobs);
    progress.expect_bytes(blobs.map(|blob| u64::from(blob.length)).sum());
    if packs.is_empty() {
        return Ok(Repacked::default());
    }
    let failure = Arc::new(Failure::default());
    let (packer, mut uploads) = Packer::start(
        vault.clone(),
        // Only what this run stores: what is wanted is known already.
        Arc::new(Index::default()),
        Arc::clone(&failure),
        Arc::clone(progress),
        options.pack_bytes,
        1,
    );
    let work = Work {
        vault,
        packer: &packer,
        failure: &failure,
        progress,
        packs,
        next: AtomicUsize::new(0),
        done: Mutex::default(),
    };
    let panicked = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads(vault.distance()))
            .map(|_| scope.spawn(|| work.run()))
            .collect();
        // All of them, not only up to the first that panicked.
        let joined: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        joined.iter().any(Result::is_err)
    });
    let done = work.done.into_inner();
    finish(&packer, &mut uploads, &failure, panicked).map(|no_space| Repacked {
        no_space,
        ..done.unwrap_or_else(PoisonError::into_inner)
    })
}

/// Ends the packer; what was stored is listed whatever happened. A full store is no error.
fn finish(
    packer: &Packer,
    uploads: &mut Uploads,
    failure: &Failure,
    panicked: bool,
) -> Result<Option<VaultError>, PruneError> {
    let flushed = if failure.has_happened() {
        Ok(())
    } else {
        packer.flush()
    };
    packer.close();
    let finished = uploads.finish().map(drop);
    if panicked {
        return Err(PruneError::Panicked);
    }
    match finished.and(flushed).map_err(PruneError::from) {
        Ok(()) => Ok(None),
        Err(PruneError::Vault(error)) if error.is_no_space() => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Which blobs of which packs, in the order of their places.
fn wanted(ledger: &Ledger, fates: &[Fate]) -> Vec<(Id, Vec<PackedBlob>)> {
    let mut packs: BTreeMap<u32, Vec<PackedBlob>> = BTreeMap::new();
    for places in ledger.blobs().filter(|places| places[0].is_used()) {
        let is = |pack: u32, fate: Fate| {
            fates[pack as usize] == fate && ledger.packs[pack as usize].is_live()
        };
        if places.iter().any(|entry| is(entry.pack(), Fate::Stay)) {
            continue;
        }
        let mut places = places.iter();
        if let Some(entry) = places.find(|entry| is(entry.pack(), Fate::Repack)) {
            packs.entry(entry.pack()).or_default().push(entry.blob());
        }
    }
    let in_order = |(pack, mut blobs): (u32, Vec<PackedBlob>)| {
        blobs.sort_unstable_by_key(|blob| blob.offset);
        (ledger.packs[pack as usize].id, blobs)
    };
    packs.into_iter().map(in_order).collect()
}

impl Work<'_> {
    fn run(&self) {
        let (mut opener, mut bytes, mut sealed) = (Opener::default(), Vec::new(), Vec::new());
        while let Some((pack, blobs)) = self.packs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            for range in reading::ranges(blobs) {
                if self.failure.has_happened() {
                    return;
                }
                let blobs = &blobs[range];
                let outcome = self.bring(pack, blobs, &mut opener, &mut bytes, &mut sealed);
                if let Err(error) = outcome {
                    self.failure.set(error.into());
                }
            }
        }
    }

    /// Brings neighbouring blobs of a pack into a new one.
    fn bring(
        &self,
        pack: &Id,
        blobs: &[PackedBlob],
        opener: &mut Opener,
        bytes: &mut Vec<u8>,
        sealed: &mut Vec<u8>,
    ) -> Result<(), VaultError> {
        match reading::read(self.vault, pack, blobs, bytes) {
            Ok(()) => {}
            Err(error) if !error.is_damage_or_missing() => return Err(error),
            Err(error) if blobs.len() == 1 => {
                self.note_damage(&error);
                return Ok(());
            }
            // One bad place must not keep the others here.
            Err(_) => {
                let mut each = blobs.chunks(1);
                return each.try_for_each(|blob| self.bring(pack, blob, opener, bytes, sealed));
            }
        }
        let start = blobs.first().map_or(0, |blob| blob.offset);
        let key = &self.vault.key;
        let places = blobs.iter().copied();
        opener.open_each_twofold(key, pack, (start, bytes), places, |at, opened| {
            let blob = &blobs[at];
            match opened {
                Ok(opened) => self.store(blob, opened.body, sealed),
                Err(error) => {
                    self.note_damage(&error);
                    Ok(())
                }
            }
        })
    }

    fn store(
        &self,
        blob: &PackedBlob,
        body: &[u8],
        sealed: &mut Vec<u8>,
    ) -> Result<(), VaultError> {
        let what = (blob.kind, blob.id);
        let stored = self
            .packer
            .store_body(what, body, blob.uncompressed_length, sealed, 0);
        match stored.map_err(PruneError::from) {
            Ok(()) => {}
            Err(PruneError::Vault(error)) => return Err(error),
            // The packer has ended after a failure that was noted.
            Err(_) => return Ok(()),
        }
        let length = u64::from(blob.length);
        self.progress.did_bytes(length);
        self.done().bytes += length;
        Ok(())
    }

    fn note_damage(&self, error: &VaultError) {
        self.done().damaged.push(error.in_full());
    }

    fn done(&self) -> std::sync::MutexGuard<'_, Repacked> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
