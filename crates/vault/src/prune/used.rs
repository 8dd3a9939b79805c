//! Finds out what recovery points use: walks their trees, each once, however many points share it.
//!
//! What is used is a bit in the ledger, and of trees still to be read only the numbers of their
//! entries are kept: the room does not grow with the number of snapshots.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use serde::Deserialize;

use super::{PruneError, ledger::Ledger, reading};
use crate::{
    blob::BlobKind, error::VaultError, id::Id, opener::Opener, pack::PackedBlob, vault::Vault,
};

/// Trees that a thread takes at once; those that lie side by side are read with one request.
const TREES_AT_ONCE: usize = 64;
/// Threads that read: most of the time they wait for the store.
const THREADS: usize = 8;
/// Missing blobs that are named; more are counted.
const MISSING_NAMED: usize = 100;

/// Of a tree only what it refers to.
#[derive(Deserialize)]
struct References {
    nodes: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    content: Option<Vec<Id>>,
    #[serde(default)]
    subtree: Option<Id>,
}

/// Blobs that are used and lie nowhere.
#[derive(Default)]
pub(super) struct Missing {
    pub count: u64,
    pub named: Vec<Id>,
}

impl Missing {
    pub fn add(&mut self, id: Id) {
        self.count += 1;
        if self.named.len() < MISSING_NAMED && !self.named.contains(&id) {
            self.named.push(id);
        }
    }

    pub fn into_error(self) -> PruneError {
        PruneError::Missing {
            count: self.count,
            blobs: self.named,
        }
    }
}

struct Walk<'a> {
    vault: &'a Vault,
    ledger: &'a Ledger,
    state: Mutex<State>,
    changed: Condvar,
    missing: Mutex<Missing>,
}

#[derive(Default)]
struct State {
    /// First places of trees that are to be read.
    waiting: Vec<u32>,
    /// Threads that read now, and may find more.
    reading: usize,
    error: Option<PruneError>,
}

/// Marks in the ledger what these trees and all below them use. Trees that are marked already are
/// not read again.
///
/// # Errors
/// [`PruneError::Missing`] if something used is in no index file; as a tree could not be read.
pub(super) fn mark(vault: &Vault, ledger: &Ledger, roots: &[Id]) -> Result<(), PruneError> {
    let walk = Walk {
        vault,
        ledger,
        state: Mutex::default(),
        changed: Condvar::new(),
        missing: Mutex::default(),
    };
    let mut first = Vec::new();
    for root in roots {
        walk.refer_to(BlobKind::Tree, root, &mut first);
    }
    if first.is_empty() {
        // Nothing is new: no threads for that.
        return walk.end();
    }
    lock(&walk.state).waiting = first;
    let panicked = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| walk.work())).collect();
        // All of them, not only up to the first that panicked.
        let joined: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        joined.iter().any(Result::is_err)
    });
    if panicked {
        return Err(PruneError::Panicked);
    }
    if let Some(error) = lock(&walk.state).error.take() {
        return Err(error);
    }
    walk.end()
}

impl Walk<'_> {
    fn end(self) -> Result<(), PruneError> {
        let missing = self.missing.into_inner();
        let missing = missing.unwrap_or_else(PoisonError::into_inner);
        if missing.count > 0 {
            return Err(missing.into_error());
        }
        Ok(())
    }

    fn work(&self) {
        // However this thread ends, the others must not wait for it.
        let _end = End(self);
        let (mut opener, mut bytes) = (Opener::default(), Vec::new());
        while let Some(trees) = self.take() {
            let mut found = Vec::new();
            let outcome = self.read_some(&trees, &mut opener, &mut bytes, &mut found);
            let mut state = lock(&self.state);
            state.reading -= 1;
            state.waiting.append(&mut found);
            if let Err(error) = outcome {
                state.error.get_or_insert(error);
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Some trees to read; `None` when there are no more and will be none.
    fn take(&self) -> Option<Vec<u32>> {
        let mut state = lock(&self.state);
        loop {
            if state.error.is_some() {
                return None;
            }
            if !state.waiting.is_empty() {
                // Leave some to the others.
                let share = state.waiting.len().div_ceil(THREADS).min(TREES_AT_ONCE);
                let rest = state.waiting.len() - share;
                state.reading += 1;
                return Some(state.waiting.split_off(rest));
            }
            if state.reading == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn read_some(
        &self,
        trees: &[u32],
        opener: &mut Opener,
        bytes: &mut Vec<u8>,
        found: &mut Vec<u32>,
    ) -> Result<(), PruneError> {
        let mut places: Vec<(u32, PackedBlob)> = Vec::new();
        for &tree in trees {
            let run = self.ledger.run_at(tree as usize);
            match self.copies(run).next() {
                Some(place) => places.push(place),
                None => self.miss(self.ledger.entries(tree as usize..tree as usize + 1)[0].id),
            }
        }
        places.sort_unstable_by_key(|(pack, blob)| (*pack, blob.offset));
        for of_pack in places.chunk_by(|a, b| a.0 == b.0) {
            let blobs: Vec<PackedBlob> = of_pack.iter().map(|(_, blob)| *blob).collect();
            for range in reading::ranges(&blobs) {
                self.read_range(of_pack[0].0, &blobs[range], opener, bytes, found)?;
            }
        }
        Ok(())
    }

    /// Where the copies of a blob can be read, those that stay before those on their way out.
    fn copies(&self, run: std::ops::Range<usize>) -> impl Iterator<Item = (u32, PackedBlob)> {
        let entries = self.ledger.entries(run);
        let of = move |listed: bool| {
            entries.iter().filter(move |entry| {
                let pack = self.ledger.pack_of(entry);
                pack.is_there() && pack.is_listed == listed
            })
        };
        let in_order = of(true).chain(of(false));
        in_order.map(|entry| (entry.pack(), entry.blob()))
    }

    fn read_range(
        &self,
        pack: u32,
        blobs: &[PackedBlob],
        opener: &mut Opener,
        bytes: &mut Vec<u8>,
        found: &mut Vec<u32>,
    ) -> Result<(), PruneError> {
        let id = self.ledger.packs[pack as usize].id;
        match reading::read(self.vault, &id, blobs, bytes) {
            Ok(()) => {}
            Err(error) if error.is_damage_or_missing() => {
                let each = blobs.iter().map(|blob| self.read_any_copy(&blob.id, found));
                return each.collect();
            }
            Err(error) => return Err(error.into()),
        }
        let start = blobs.first().map_or(0, |blob| blob.offset);
        let sealed = (start, &mut bytes[..]);
        let places = blobs.iter().copied();
        opener.open_each(
            &self.vault.key,
            &id,
            sealed,
            places,
            |at, opened| match opened {
                Ok(plain) => self.follow(&blobs[at].id, plain, found),
                Err(_) => self.read_any_copy(&blobs[at].id, found),
            },
        )
    }

    /// Reads a tree from whatever place it can be read at.
    fn read_any_copy(&self, id: &Id, found: &mut Vec<u32>) -> Result<(), PruneError> {
        let mut last = VaultError::MissingBlob { id: *id };
        for (pack, blob) in self.copies(self.ledger.find(BlobKind::Tree, id)) {
            let pack = self.ledger.packs[pack as usize].id;
            let mut sealed = Vec::new();
            let opened = reading::read(self.vault, &pack, &[blob], &mut sealed).and_then(|()| {
                Opener::default().into_opened(&self.vault.key, &pack, &blob, &mut sealed)
            });
            match opened {
                Ok(plain) => return self.follow(id, &plain, found),
                Err(error) if error.is_damage_or_missing() => last = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.into())
    }

    /// Marks what a tree refers to.
    fn follow(&self, id: &Id, plain: &[u8], found: &mut Vec<u32>) -> Result<(), PruneError> {
        let bad = |reason: &dyn ToString| PruneError::BadTree {
            tree: *id,
            reason: reason.to_string(),
        };
        let tree: References = serde_json::from_slice(plain).map_err(|error| bad(&error))?;
        for node in tree.nodes.iter().flatten() {
            if node.kind == "dir" && node.subtree.is_none() {
                return Err(bad(&"a directory in it has no listing"));
            }
            for blob in node.content.iter().flatten() {
                self.refer_to(BlobKind::Data, blob, found);
            }
            if let Some(subtree) = &node.subtree {
                self.refer_to(BlobKind::Tree, subtree, found);
            }
        }
        Ok(())
    }

    fn refer_to(&self, kind: BlobKind, id: &Id, found: &mut Vec<u32>) {
        let places = self.ledger.find(kind, id);
        if places.is_empty() {
            self.miss(*id);
        } else if self.ledger.mark_used(places.clone()) && kind == BlobKind::Tree {
            found.push(places.start as u32);
        }
    }

    fn miss(&self, id: Id) {
        lock(&self.missing).add(id);
    }
}

/// Lets the others go on when a thread ends, also by a panic.
struct End<'a>(&'a Walk<'a>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.state).error = Some(PruneError::Panicked);
        }
        self.0.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
