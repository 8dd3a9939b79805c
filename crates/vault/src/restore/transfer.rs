//! The threads that bring blobs from packs into files.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{
    FileDamage, RestoreError, RestoreOptions,
    files::{Files, OpenFile},
    plan::{Piece, Plan},
    run::Writer,
};
use crate::{
    error::VaultError,
    index::{Index, Location},
    opener::Opener,
    progress::Progress,
    store::{FileKind, ObjectKey},
    vault::Vault,
};

/// Bytes of a pack that are read at once…
const MOST_RANGE_BYTES: u64 = 8 << 20;
/// …over gaps of at most so many bytes, which are cheaper to read than to ask for anew.
const MOST_GAP_BYTES: u64 = 256 << 10;
/// Files without content that one thread makes in one go.
const EMPTY_AT_ONCE: usize = 256;
/// While one thread waits for the disk, another one computes.
const THREADS_PER_CORE: usize = 2;

/// What is wrong with a file.
struct Damage {
    reason: String,
    holes: Vec<Range<u64>>,
}

struct Transfer<'a> {
    vault: &'a Vault,
    index: &'a Index,
    plan: &'a Plan,
    files: &'a Files<'a>,
    /// Files without content, and how many of them are taken by somebody.
    empty: Vec<u32>,
    next_empty: AtomicUsize,
    ranges: Vec<Range<usize>>,
    parts: Parts,
    is_over: AtomicBool,
    error: Mutex<Option<RestoreError>>,
    damages: Mutex<BTreeMap<u32, Damage>>,
    keep_damaged: bool,
    progress: &'a Progress,
}

/// Restores the content of all files; returns which ones are not whole.
pub(super) fn run(
    vault: &Vault,
    index: &Index,
    plan: &Plan,
    files: &Files<'_>,
    options: &RestoreOptions,
) -> Result<Vec<FileDamage>, RestoreError> {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let usual = || vault.distance().stretch_readers(cores * THREADS_PER_CORE);
    let threads = options.threads.unwrap_or_else(usual).max(1);
    let ranges = ranges(&plan.pieces);
    let transfer = Transfer {
        vault,
        index,
        plan,
        files,
        empty: plan.empty_files(),
        next_empty: AtomicUsize::new(0),
        parts: Parts::new(ranges.len(), threads),
        ranges,
        is_over: AtomicBool::new(false),
        error: Mutex::default(),
        damages: Mutex::default(),
        keep_damaged: options.keep_damaged,
        progress: &options.progress,
    };
    let (finished, to_sync) = unbounded();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|part| {
                let (transfer, finished) = (&transfer, finished.clone());
                scope.spawn(move || transfer.work(part, finished))
            })
            .collect();
        drop(finished);
        let syncer = scope.spawn(|| transfer.sync(&to_sync));
        let ended = workers.into_iter().all(|worker| worker.join().is_ok());
        (syncer.join().is_ok() && ended)
            .then_some(())
            .ok_or(RestoreError::Panicked)
    })?;
    if let Some(error) = lock(&transfer.error).take() {
        return Err(error);
    }
    let damages = std::mem::take(&mut *lock(&transfer.damages));
    let damage = |(number, damage): (u32, Damage)| FileDamage {
        path: plan.files[number as usize].path.clone(),
        reason: damage.reason,
        holes: damage.holes,
    };
    Ok(damages.into_iter().map(damage).collect())
}

impl Transfer<'_> {
    fn work(&self, part: usize, finished: Sender<(u32, Arc<OpenFile>)>) {
        let (mut sealed, mut opener) = (Vec::new(), Opener::default());
        let mut writer = Writer::new(self.plan, self.files, finished);
        self.make_empty();
        while !self.is_over.load(Ordering::Relaxed) {
            let Some(range) = self.parts.next(part) else {
                break;
            };
            let pieces = &self.plan.pieces[self.ranges[range].clone()];
            if let Err(error) = self.bring(pieces, &mut sealed, &mut opener, &mut writer) {
                self.fail(error);
            }
        }
        if let Err(error) = writer.flush() {
            self.fail(error);
        }
    }

    /// Makes files without content, some at a time, so that threads rarely make two in the same directory.
    fn make_empty(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let start = self.next_empty.fetch_add(EMPTY_AT_ONCE, Ordering::Relaxed);
            let Some(rest) = self.empty.get(start..).filter(|rest| !rest.is_empty()) else {
                return;
            };
            let mut some = rest.iter().take(EMPTY_AT_ONCE);
            if let Err(error) = some.try_for_each(|&number| self.files.make_whole(number, &[])) {
                self.fail(error);
            }
        }
    }

    /// Makes finished files durable while others are written.
    fn sync(&self, finished: &Receiver<(u32, Arc<OpenFile>)>) {
        for (number, file) in finished {
            if !self.is_over.load(Ordering::Relaxed)
                && let Err(source) = file.sync()
            {
                let path = self.plan.files[number as usize].path.clone();
                self.fail(RestoreError::Target {
                    operation: "make durable",
                    path,
                    source,
                });
            }
        }
    }

    fn fail(&self, error: RestoreError) {
        self.is_over.store(true, Ordering::Relaxed);
        lock(&self.error).get_or_insert(error);
    }

    /// Reads one range of a pack and deals with each blob in it.
    fn bring(
        &self,
        pieces: &[Piece],
        sealed: &mut Vec<u8>,
        opener: &mut Opener,
        writer: &mut Writer<'_>,
    ) -> Result<(), RestoreError> {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else {
            return Ok(());
        };
        let length = (last.offset - first.offset + last.length) as usize;
        if sealed.len() < length {
            sealed.resize(length, 0);
        }
        let pack = self.plan.packs[first.pack as usize];
        let key = ObjectKey::of(FileKind::Pack, &pack);
        if let Err(error) =
            self.vault
                .store
                .read_range(&key, u64::from(first.offset), &mut sealed[..length])
        {
            return self.bring_one_by_one(pieces, error.into(), sealed, opener, writer);
        }
        self.progress.moved_stored(length as u64);
        let blobs: Vec<_> = pieces.chunk_by(|a, b| a.offset == b.offset).collect();
        let bytes = (first.offset, &mut sealed[..length]);
        let places = blobs.iter().map(|same| same[0].blob());
        opener.open_each(&self.vault.key, &pack, bytes, places, |at, opened| {
            self.place(blobs[at], opened, writer)
        })
    }

    /// After a range could not be read: a cut pack may still give its first blobs.
    fn bring_one_by_one(
        &self,
        pieces: &[Piece],
        error: VaultError,
        sealed: &mut [u8],
        opener: &mut Opener,
        writer: &mut Writer<'_>,
    ) -> Result<(), RestoreError> {
        if !error.is_damage_or_missing() {
            return Err(error.into());
        }
        for same in pieces.chunk_by(|a, b| a.offset == b.offset) {
            let key = ObjectKey::of(FileKind::Pack, &self.plan.packs[same[0].pack as usize]);
            let bytes = &mut sealed[..same[0].length as usize];
            match self
                .vault
                .store
                .read_range(&key, u64::from(same[0].offset), bytes)
            {
                Ok(()) => {
                    let pack = &self.plan.packs[same[0].pack as usize];
                    let opened = opener.open(&self.vault.key, pack, &same[0].blob(), bytes);
                    self.place(same, opened, writer)?;
                }
                Err(error) => self.place(same, Err(error.into()), writer)?,
            }
        }
        Ok(())
    }

    /// Writes an opened blob to all its places.
    fn place(
        &self,
        places: &[Piece],
        opened: Result<&[u8], VaultError>,
        writer: &mut Writer<'_>,
    ) -> Result<(), RestoreError> {
        let elsewhere;
        let plain = match opened {
            Ok(plain) => plain,
            Err(error) => match self.read_elsewhere(places, &error)? {
                Some(plain) => {
                    elsewhere = plain;
                    &elsewhere
                }
                None => return self.damage(places, &error.in_full(), writer),
            },
        };
        let is_hole = is_zero(plain);
        for place in places {
            if is_hole {
                writer.skip(place)?;
            } else {
                writer.write(place, plain)?;
            }
            self.progress.did_bytes(plain.len() as u64);
        }
        Ok(())
    }

    /// The blob of these places, if it lies in another pack too and can be read there.
    fn read_elsewhere(
        &self,
        places: &[Piece],
        error: &VaultError,
    ) -> Result<Option<Vec<u8>>, VaultError> {
        let Some(first) = places.first().filter(|_| error.is_damage_or_missing()) else {
            return Ok(None);
        };
        let blob = first.blob();
        let pack = self.plan.packs[first.pack as usize];
        self.vault
            .read_blob_elsewhere(self.index, &Location { pack, blob })
    }

    /// Notes what is lost. Where it is to be a hole, the rest of the file does not wait for it.
    fn damage(
        &self,
        places: &[Piece],
        reason: &str,
        writer: &mut Writer<'_>,
    ) -> Result<(), RestoreError> {
        for place in places {
            let length = u64::from(place.blob().plain_length());
            let hole = place.file_offset..place.file_offset + length;
            let mut damages = lock(&self.damages);
            let damage = damages.entry(place.file).or_insert_with(|| Damage {
                reason: reason.to_owned(),
                holes: Vec::new(),
            });
            if self.keep_damaged {
                damage.holes.push(hole);
                drop(damages);
                writer.skip(place)?;
            }
        }
        Ok(())
    }
}

/// Which thread reads which ranges: each its own consecutive part, so that threads rarely write to
/// the same file, whose lock they would wait for; then what others have left.
struct Parts {
    next: Vec<AtomicUsize>,
    ends: Vec<usize>,
}

impl Parts {
    fn new(ranges: usize, threads: usize) -> Self {
        let start = |part: usize| ranges * part / threads;
        Self {
            next: (0..threads)
                .map(|part| AtomicUsize::new(start(part)))
                .collect(),
            ends: (0..threads).map(|part| start(part + 1)).collect(),
        }
    }

    fn next(&self, part: usize) -> Option<usize> {
        let count = self.next.len();
        (0..count).find_map(|shift| {
            let part = (part + shift) % count;
            let at = self.next[part].fetch_add(1, Ordering::Relaxed);
            (at < self.ends[part]).then_some(at)
        })
    }
}

/// Splits the pieces into ranges that are read at once.
fn ranges(pieces: &[Piece]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for at in 1..=pieces.len() {
        let fits = pieces.get(at).is_some_and(|piece| {
            let (first, before) = (&pieces[start], &pieces[at - 1]);
            let end = u64::from(piece.offset) + u64::from(piece.length);
            let gap = u64::from(piece.offset)
                .saturating_sub(u64::from(before.offset) + u64::from(before.length));
            piece.pack == first.pack
                && end - u64::from(first.offset) <= MOST_RANGE_BYTES
                && gap <= MOST_GAP_BYTES
        });
        if !fits {
            ranges.push(start..at);
            start = at;
        }
    }
    ranges
}

fn is_zero(bytes: &[u8]) -> bool {
    // Most content shows itself in its first bytes.
    bytes.iter().take(64).all(|&byte| byte == 0)
        && bytes
            .chunks(4096)
            .all(|chunk| chunk.iter().fold(0, |acc, byte| acc | byte) == 0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_read_once_by_whichever_thread() {
        for (ranges, threads) in [(0, 2), (1, 4), (7, 2), (100, 3)] {
            let parts = Parts::new(ranges, threads);
            let mut read: Vec<_> = (0..).map_while(|_| parts.next(threads - 1)).collect();
            read.sort_unstable();
            assert_eq!(read, (0..ranges).collect::<Vec<_>>());
        }
    }
}
