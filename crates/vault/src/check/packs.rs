//! Packs: whether they are there, long enough, and hold what the index says.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::CheckReport;
use crate::{
    blob::BlobKind,
    error::VaultError,
    id::Id,
    index::{Index, Location},
    opener::Opener,
    pack::{self, PackedBlob},
    progress::Progress,
    store::{FileKind, ObjectKey},
    vault::Vault,
};

/// Packs of which the index is asked at a time: each time costs a look through all of it.
const BATCH: usize = 4096;

/// What the index and the listing of the packs say together.
pub(crate) struct Survey {
    /// What can be counted on: lost packs are taken out.
    pub index: Index,
    /// Packs that the index names, which are there and long enough, with their lengths.
    pub there: Vec<(Id, u64)>,
    /// What is wrong with packs that hold something no other has: a loss if a point needs it.
    pub lost: Vec<String>,
}

/// What reading a pack came to.
#[derive(Default)]
pub(crate) struct PackOutcome {
    pub id: Option<Id>,
    pub problems: Vec<String>,
    /// Blobs that cannot be read.
    pub bad: Vec<PackedBlob>,
    pub verified_bytes: u64,
}

/// Places at which the index lists a blob that cannot be read there.
#[derive(Default)]
pub(crate) struct BadPlaces(HashSet<(Id, u32)>);

impl BadPlaces {
    pub fn add(&mut self, damaged: &[PackOutcome]) {
        for outcome in damaged {
            let pack = outcome.id.into_iter();
            let places = pack.flat_map(|pack| outcome.bad.iter().map(move |b| (pack, b.offset)));
            self.0.extend(places);
        }
    }

    /// Whether the blob can be read somewhere, as far as is known.
    pub fn is_fine(&self, index: &Index, kind: BlobKind, id: &Id) -> bool {
        if self.0.is_empty() {
            return index.find(kind, id).is_some();
        }
        let is_bad = |at: &Location| self.0.contains(&(at.pack, at.blob.offset));
        index.find_all(kind, id).iter().any(|at| !is_bad(at))
    }
}

impl CheckReport {
    /// Tells of lost packs, after all points were looked at. Only if there are points, and every one
    /// can be read and is whole, nothing of them is needed: then the index names them still, as it
    /// may when a program without a lock wrote it after a prune had removed them.
    pub(crate) fn lost_packs(&mut self, lost: &[String]) {
        let all_are_whole = self.whole_snapshots.len() == self.snapshots;
        let costs_nothing = self.is_whole() && all_are_whole && self.snapshots > 0;
        for what in lost {
            if costs_nothing {
                self.oddity(format!(
                    "{what}; no recovery point needs it, and the next prune takes it out of the index"
                ));
            } else {
                self.loss(what);
            }
        }
    }

    /// Tells of damaged packs. One whose damaged blobs are all whole elsewhere costs nothing.
    pub(crate) fn damaged_packs(
        &mut self,
        damaged: &[PackOutcome],
        index: &Index,
        bad: &BadPlaces,
    ) {
        for outcome in damaged {
            let is_fine = |blob: &PackedBlob| bad.is_fine(index, blob.kind, &blob.id);
            let costs_nothing = !outcome.bad.is_empty() && outcome.bad.iter().all(is_fine);
            for text in &outcome.problems {
                if costs_nothing {
                    self.oddity(format!(
                        "{text}; all that is damaged in it is stored elsewhere too"
                    ));
                } else {
                    self.loss(text);
                }
            }
        }
    }
}

impl Vault {
    /// Reads the index, and holds it against the listing of the packs: each one must be there and long enough.
    pub(crate) fn survey(&self, report: &mut CheckReport) -> Result<Survey, VaultError> {
        let (index, failed) = self.load_index_files()?;
        report.losses(failed)?;
        let mut sizes: HashMap<Id, u64> = HashMap::new();
        for object in self.store.list(FileKind::Pack.folder())? {
            if let Ok(id) = object.key.name().parse() {
                sizes.insert(id, object.size_bytes);
            }
        }
        report.packs = sizes.len();
        report.blobs = index.len();
        let (mut there, mut lost) = (Vec::new(), HashMap::new());
        for (id, needed) in index.least_pack_bytes() {
            match sizes.remove(&id) {
                None => drop(lost.insert(id, format!("pack {id} is gone"))),
                Some(size) if size < needed => {
                    let text = format!("pack {id} is cut: {size} bytes of at least {needed}");
                    lost.insert(id, text);
                }
                Some(size) => there.push((id, size)),
            }
        }
        let lost = tell_lost(&index, &lost, report);
        there.extend(leaving_packs(&index, &mut sizes));
        for id in sizes.keys() {
            report.oddity(format!(
                "pack {id} is in no index: left by an interrupted backup, or its index file is gone"
            ));
        }
        Ok(Survey { index, there, lost })
    }

    /// Reads whole packs and verifies every blob; returns what came of those that are damaged.
    pub(crate) fn read_packs(
        &self,
        index: &Index,
        packs: &[Id],
        progress: &Progress,
        report: &mut CheckReport,
    ) -> Result<Vec<PackOutcome>, VaultError> {
        let mut damaged = Vec::new();
        for batch in packs.chunks(BATCH) {
            let blobs = index.blobs_in(&batch.iter().copied().collect());
            let mut packs: Vec<_> = blobs.into_iter().collect();
            packs.sort_unstable_by_key(|(id, _)| *id);
            for outcome in self.read_batch(&packs, progress)? {
                report.verified_bytes += outcome.verified_bytes;
                if !outcome.problems.is_empty() {
                    damaged.push(outcome);
                }
            }
        }
        Ok(damaged)
    }

    fn read_batch(
        &self,
        packs: &[(Id, Vec<PackedBlob>)],
        progress: &Progress,
    ) -> Result<Vec<PackOutcome>, VaultError> {
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(Vec::new());
        let cores = thread::available_parallelism().map_or(2, Into::into);
        let largest = packs
            .iter()
            .map(|(_, blobs)| pack::least_bytes(blobs))
            .max();
        let largest = usize::try_from(largest.unwrap_or_default()).unwrap_or(usize::MAX);
        let threads = self.distance().pack_readers(cores, largest);
        let panicked = thread::scope(|scope| {
            let work = || {
                let mut opener = Opener::default();
                while let Some((id, blobs)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = self.read_pack(id, blobs, &mut opener, progress);
                    let failed = outcome.is_err();
                    lock(&outcomes).push(outcome);
                    if failed {
                        break;
                    }
                }
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().any(|thread| thread.join().is_err())
        });
        if panicked {
            return Err(VaultError::Compress(
                "a checking thread panicked; this is a bug",
            ));
        }
        let outcomes = std::mem::take(&mut *lock(&outcomes));
        outcomes.into_iter().collect()
    }

    /// Reads a whole pack: its hash, its header against the index, and every blob.
    fn read_pack(
        &self,
        id: &Id,
        blobs: &[PackedBlob],
        opener: &mut Opener,
        progress: &Progress,
    ) -> Result<PackOutcome, VaultError> {
        let mut outcome = PackOutcome {
            id: Some(*id),
            ..PackOutcome::default()
        };
        let mut bytes = match self.store.read(&ObjectKey::of(FileKind::Pack, id)) {
            Ok(bytes) => bytes,
            Err(error) => {
                let error = VaultError::from(error);
                if !error.is_damage_or_missing() {
                    return Err(error);
                }
                outcome.problems.push(if error.is_not_found() {
                    format!("pack {id} is gone")
                } else {
                    error.in_full()
                });
                outcome.bad.extend_from_slice(blobs);
                return Ok(outcome);
            }
        };
        outcome.verified_bytes = bytes.len() as u64;
        if Id::of(&bytes) != *id {
            outcome
                .problems
                .push(format!("pack {id} is damaged: its hash is not its name"));
        }
        match pack::read_header(&bytes, id, &self.key) {
            Ok(header) => {
                let header: HashSet<_> = header.into_iter().collect();
                if !blobs.iter().all(|blob| header.contains(blob)) {
                    outcome
                        .problems
                        .push(format!("pack {id} does not hold what the index says"));
                }
            }
            Err(error) => outcome.problems.push(error.to_string()),
        }
        let places = blobs.iter().copied();
        opener.open_each(&self.key, id, (0, &mut bytes), places, |at, opened| {
            if let Err(error) = opened {
                outcome.problems.push(error.to_string());
                outcome.bad.push(blobs[at]);
            }
            Ok::<_, VaultError>(())
        })?;
        progress.did_bytes(outcome.verified_bytes);
        Ok(outcome)
    }
}

/// Packs on their way out that have something no other pack has, with their lengths: a point may
/// count on it, and then the next prune takes them back.
fn leaving_packs(index: &Index, sizes: &mut HashMap<Id, u64>) -> Vec<(Id, u64)> {
    let (mut there, mut lost) = (Vec::new(), HashSet::new());
    for (id, blobs) in index.leaving_by_pack() {
        match sizes.remove(&id) {
            _ if blobs.is_empty() => {}
            Some(size) if size >= pack::least_bytes(&blobs) => there.push((id, size)),
            _ => drop(lost.insert(id)),
        }
    }
    index.forget_packs(&lost);
    there
}

/// Takes lost packs out of the index, and tells of those that cost nothing; returns what is to be said
/// of the others.
fn tell_lost(index: &Index, lost: &HashMap<Id, String>, report: &mut CheckReport) -> Vec<String> {
    let mut costly = Vec::new();
    let ids: HashSet<Id> = lost.keys().copied().collect();
    let blobs = if ids.is_empty() {
        HashMap::new()
    } else {
        index.blobs_in(&ids)
    };
    index.forget_packs(&ids);
    for (id, what) in lost {
        let mut inside = blobs.get(id).into_iter().flatten();
        // A later backup has stored anew what it needed.
        if inside.all(|blob| index.find(blob.kind, &blob.id).is_some()) {
            report.oddity(format!(
                "{what}; all that was in it is stored elsewhere too"
            ));
        } else {
            costly.push(what.clone());
        }
    }
    costly.sort();
    costly
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
