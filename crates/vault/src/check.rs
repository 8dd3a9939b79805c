//! Says whether a vault is whole: its structure, and on request every stored byte. The part of the
//! WAL archive is in `wal/check.rs`.
//!
//! Damage is reported by what it hits: which recovery points, and which files in them.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    blob::BlobKind,
    error::VaultError,
    id::Id,
    index::Index,
    opener::Opener,
    pack::{self, PackedBlob},
    path::TreePath,
    progress::Progress,
    store::{FileKind, ObjectKey},
    tree::{NodeKind, Tree},
    vault::Vault,
};

/// How thoroughly to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thoroughness {
    /// Index against packs, snapshots against index, names of the WAL archive.
    Structure,
    /// All that, and every byte of every pack and of the WAL archive.
    AllData,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In words, with the name of the file.
    pub text: String,
    /// Whether data is lost by it. Otherwise it is waste or an oddity.
    pub is_loss: bool,
}

/// A file or directory of a recovery point that cannot be restored whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// The recovery point.
    pub snapshot: Id,
    /// The place in it.
    pub path: TreePath,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Snapshots that were looked at.
    pub snapshots: usize,
    /// Packs that are there.
    pub packs: usize,
    /// Blobs in the index.
    pub blobs: usize,
    /// Files in the WAL archive.
    pub wal_files: usize,
    /// Stored bytes that were read and verified.
    pub verified_bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is hit by it, in the order of points and paths.
    pub hits: Vec<Hit>,
    /// Recovery points that are whole as far as was looked.
    pub whole_snapshots: Vec<Id>,
}

impl CheckReport {
    /// Whether nothing is lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.hits.is_empty() && !self.problems.iter().any(|problem| problem.is_loss)
    }

    pub(crate) fn loss(&mut self, text: impl ToString) {
        self.problems.push(Problem {
            text: text.to_string(),
            is_loss: true,
        });
    }

    /// Files that could not be read, because they are damaged. A store that only failed to answer
    /// says nothing about what it holds.
    pub(crate) fn losses(&mut self, failed: Vec<VaultError>) -> Result<(), VaultError> {
        for error in failed {
            if !error.is_damage_or_missing() {
                return Err(error);
            }
            self.loss(error.in_full());
        }
        Ok(())
    }

    pub(crate) fn oddity(&mut self, text: impl ToString) {
        self.problems.push(Problem {
            text: text.to_string(),
            is_loss: false,
        });
    }
}

impl Vault {
    /// Checks the vault. Damage is in the report; an error means that the check itself could not
    /// be done.
    ///
    /// # Errors
    /// As the store failed, or [`VaultError::Locked`].
    pub fn check(
        &self,
        thoroughness: Thoroughness,
        progress: &Arc<Progress>,
    ) -> Result<CheckReport, VaultError> {
        if self.has_cache() {
            // What lies in the store is to be checked, not what was kept of it.
            return self.without_cache().check(thoroughness, progress);
        }
        let _lock = self.lock_for_reading()?;
        let mut report = CheckReport::default();
        let (index, failed) = self.load_index_files()?;
        report.losses(failed)?;
        let mut bad = BadBlobs::default();
        let packs = self.check_packs(&index, &mut report)?;
        if thoroughness == Thoroughness::AllData {
            self.read_packs(&packs, progress, &mut report, &mut bad)?;
        }
        self.check_snapshots(&index, &bad, &mut report)?;
        self.check_wal(thoroughness, progress, &mut report)?;
        Ok(report)
    }

    /// Packs against the index: each listed one must be there and long enough.
    fn check_packs(
        &self,
        index: &Index,
        report: &mut CheckReport,
    ) -> Result<Vec<(Id, Vec<PackedBlob>)>, VaultError> {
        let listed = self.store.list(FileKind::Pack.folder())?;
        let mut sizes: HashMap<Id, u64> = HashMap::new();
        for object in listed {
            if let Ok(id) = object.key.name().parse() {
                sizes.insert(id, object.size_bytes);
            }
        }
        report.packs = sizes.len();
        report.blobs = index.len();
        let mut lost = Vec::new();
        let mut packs = index.by_pack();
        packs.retain(|(id, blobs)| {
            let needed = pack::least_bytes(blobs);
            let what = match sizes.remove(id) {
                None => format!("pack {id} is gone"),
                Some(size) if size < needed => {
                    format!("pack {id} is cut: {size} bytes of at least {needed}")
                }
                Some(_) => return true,
            };
            lost.push((*id, blobs.clone(), what));
            false
        });
        index.forget_packs(&lost.iter().map(|(id, ..)| *id).collect());
        for (_, blobs, what) in lost {
            // A later backup has stored anew what it needed.
            if blobs.iter().all(|blob| index.contains(blob.kind, &blob.id)) {
                report.oddity(format!(
                    "{what}; all that was in it is stored elsewhere too"
                ));
            } else {
                report.loss(what);
            }
        }
        for id in sizes.keys() {
            report.oddity(format!(
                "pack {id} is in no index: left by an interrupted backup"
            ));
        }
        Ok(packs)
    }

    fn read_packs(
        &self,
        packs: &[(Id, Vec<PackedBlob>)],
        progress: &Arc<Progress>,
        report: &mut CheckReport,
        bad: &mut BadBlobs,
    ) -> Result<(), VaultError> {
        progress.expect_bytes(
            packs
                .iter()
                .flat_map(|(_, b)| b)
                .map(|b| u64::from(b.length))
                .sum(),
        );
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(Vec::new());
        let threads = thread::available_parallelism().map_or(2, Into::into);
        let panicked = thread::scope(|scope| {
            let work = || {
                let mut opener = Opener::default();
                while let Some((id, blobs)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = self.read_pack(id, blobs, &mut opener, progress);
                    lock(&outcomes).push(outcome);
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
        for outcome in std::mem::take(&mut *lock(&outcomes)) {
            let pack = outcome?;
            report.verified_bytes += pack.verified_bytes;
            bad.add(&pack.bad);
            pack.problems.iter().for_each(|text| report.loss(text));
        }
        Ok(())
    }

    /// Reads a whole pack: its hash, its header against the index, and every blob.
    fn read_pack(
        &self,
        id: &Id,
        blobs: &[PackedBlob],
        opener: &mut Opener,
        progress: &Progress,
    ) -> Result<PackOutcome, VaultError> {
        let mut outcome = PackOutcome::default();
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
        opener.open_each(
            &self.key,
            id,
            (0, &mut bytes),
            blobs.iter().copied(),
            |at, opened| {
                if let Err(error) = opened {
                    outcome.problems.push(error.to_string());
                    outcome.bad.push(blobs[at]);
                }
                progress.did_bytes(u64::from(blobs[at].length));
                Ok::<_, VaultError>(())
            },
        )?;
        Ok(outcome)
    }

    /// Every snapshot's tree against the index and what is known to be bad.
    fn check_snapshots(
        &self,
        index: &Index,
        bad: &BadBlobs,
        report: &mut CheckReport,
    ) -> Result<(), VaultError> {
        let (snapshots, failed) = self.readable_snapshots()?;
        report.losses(failed)?;
        report.snapshots = snapshots.len();
        let mut walk = Walk {
            vault: self,
            index,
            bad,
            trees: HashMap::new(),
        };
        for snapshot in &snapshots {
            let mut hits = BTreeSet::new();
            walk.collect(&snapshot.stored.tree, &TreePath::root(), &mut hits)?;
            if hits.is_empty() {
                report.whole_snapshots.push(snapshot.id);
            }
            report.hits.extend(hits.into_iter().map(|path| Hit {
                snapshot: snapshot.id,
                path,
            }));
        }
        Ok(())
    }
}

#[derive(Default)]
struct PackOutcome {
    problems: Vec<String>,
    bad: Vec<PackedBlob>,
    verified_bytes: u64,
}

/// Blobs that the index lists and that cannot be read.
#[derive(Default)]
struct BadBlobs(HashSet<(BlobKind, Id)>);

impl BadBlobs {
    fn add(&mut self, blobs: &[PackedBlob]) {
        self.0.extend(blobs.iter().map(|blob| (blob.kind, blob.id)));
    }

    fn is_fine(&self, index: &Index, kind: BlobKind, id: &Id) -> bool {
        index.contains(kind, id) && !self.0.contains(&(kind, *id))
    }
}

/// Walks trees; one that many snapshots share is read once.
struct Walk<'a> {
    vault: &'a Vault,
    index: &'a Index,
    bad: &'a BadBlobs,
    /// Paths below a tree that are hit; most trees have none.
    trees: HashMap<Id, Arc<BTreeSet<TreePath>>>,
}

impl Walk<'_> {
    fn collect(
        &mut self,
        tree: &Id,
        at: &TreePath,
        hits: &mut BTreeSet<TreePath>,
    ) -> Result<(), VaultError> {
        for path in self.hits_below(tree)?.iter() {
            hits.insert(at.append(path));
        }
        Ok(())
    }

    /// The hit paths below a tree, relative to it; its own path for a tree that cannot be read.
    fn hits_below(&mut self, id: &Id) -> Result<Arc<BTreeSet<TreePath>>, VaultError> {
        if let Some(known) = self.trees.get(id) {
            return Ok(Arc::clone(known));
        }
        let mut hits = BTreeSet::new();
        if self.bad.is_fine(self.index, BlobKind::Tree, id) {
            match self.vault.read_tree(self.index, id) {
                Ok(tree) => self.hits_in(&tree, &mut hits)?,
                Err(error) if error.is_damage_or_missing() => {
                    hits.insert(TreePath::root());
                }
                Err(error) => return Err(error),
            }
        } else {
            hits.insert(TreePath::root());
        }
        let hits = Arc::new(hits);
        self.trees.insert(*id, Arc::clone(&hits));
        Ok(hits)
    }

    fn hits_in(&mut self, tree: &Tree, hits: &mut BTreeSet<TreePath>) -> Result<(), VaultError> {
        for node in &tree.nodes {
            let Ok(path) = TreePath::new(&node.name) else {
                // A name that leads elsewhere can be restored nowhere.
                hits.insert(TreePath::root());
                continue;
            };
            match (node.kind, &node.subtree) {
                (NodeKind::Dir, Some(subtree)) => {
                    for below in self.hits_below(subtree)?.iter() {
                        hits.insert(path.append(below));
                    }
                }
                _ => {
                    let mut content = node.content.iter().flatten();
                    if !content.all(|id| self.bad.is_fine(self.index, BlobKind::Data, id)) {
                        hits.insert(path);
                    }
                }
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
