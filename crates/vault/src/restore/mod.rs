//! Brings a snapshot, or a part of one, back to a directory.
//!
//! The tree becomes a list of files and a list of blobs in the order of the packs; threads read
//! packs in long ranges, open and verify every blob, and write it to every place it belongs.
//! When this says done, files and directories are durable.

mod files;
mod layout;
mod metadata;
mod plan;
mod run;
mod target;
mod transfer;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

pub use metadata::Ownership;

use crate::{
    durable, error::VaultError, index::Index, lock::LockMode, path::TreePath, progress::Progress,
    snapshot::Snapshot, vault::Vault,
};
use files::Files;
use plan::Plan;
use target::Target;

/// How to restore.
pub struct RestoreOptions {
    /// Whose the files shall be.
    pub ownership: Ownership,
    /// Files that get their names only when everything else is durable, relative to the restored
    /// part: what makes a restored directory usable, so that half a one cannot pass for whole.
    pub last: Vec<TreePath>,
    /// Bytes that will be added to the directory afterwards, and must have room too.
    pub also_needed_bytes: u64,
    /// Files of which a part is lost are brought back with holes in its place, and told. Otherwise they are only told.
    pub keep_damaged: bool,
    /// Threads, at least one; as many as there are cores if `None`.
    pub threads: Option<usize>,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        let ownership = Ownership::of_this_process();
        Self {
            ownership,
            last: Vec::new(),
            also_needed_bytes: 0,
            keep_damaged: false,
            threads: None,
            progress: Arc::default(),
        }
    }
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    /// Regular files.
    pub files: u64,
    /// Directories, links and everything else.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// From the first look at the vault to the last fsync.
    pub took: Duration,
    /// Entries that this system would not make (sockets; devices without root), and why.
    pub left_out: Vec<String>,
}

/// Why a restore did not finish.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Something is in the target that no restore of ours left there.
    #[error("the target directory {} is not empty: it holds `{first}`", directory.display())]
    TargetNotEmpty {
        /// The directory.
        directory: PathBuf,
        /// One of the things in it.
        first: String,
    },
    /// Another restore works in the target.
    #[error("another restore is working in {}", directory.display())]
    TargetBusy {
        /// The directory.
        directory: PathBuf,
    },
    /// The target's file system has not enough room.
    #[error(
        "{} has {available_bytes} bytes free, and the restore needs {needed_bytes}",
        directory.display()
    )]
    NoSpace {
        /// The directory.
        directory: PathBuf,
        /// What is needed.
        needed_bytes: u64,
        /// What is there.
        available_bytes: u64,
    },
    /// The target's file system failed.
    #[error("{operation} {}", path.display())]
    Target {
        /// What was being done.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An entry whose name would lead out of the target.
    #[error("the recovery point holds an entry with the impossible name `{name}` in {directory}")]
    BadName {
        /// The directory in the recovery point.
        directory: TreePath,
        /// The name.
        name: String,
    },
    /// Damaged or missing data; everything else was restored.
    #[error("{} of the files could not be restored whole: {}", damages.len(), first_damages(damages))]
    Incomplete {
        /// What could not, file by file.
        damages: Vec<FileDamage>,
    },
    /// A thread of ours ended by a mistake of ours.
    #[error("a worker thread panicked; this is a bug")]
    Panicked,
}

/// A file that is not whole.
#[derive(Clone, Debug)]
pub struct FileDamage {
    /// The file, relative to the restored part.
    pub path: PathBuf,
    /// What is wrong with its data.
    pub reason: String,
    /// With [`RestoreOptions::keep_damaged`], where zeros stand for what is lost, if the rest is there. Nothing of the
    /// file was brought back if this is empty.
    pub holes: Vec<Range<u64>>,
}

/// One entry for each file: parts of it may have been found lost at different times.
fn together(damages: Vec<FileDamage>) -> Vec<FileDamage> {
    let mut files: BTreeMap<PathBuf, FileDamage> = BTreeMap::new();
    for damage in damages {
        match files.entry(damage.path.clone()) {
            Entry::Vacant(new) => drop(new.insert(damage)),
            Entry::Occupied(mut known) => known.get_mut().holes.extend(damage.holes),
        }
    }
    for damage in files.values_mut() {
        damage.holes = layout::merged(std::mem::take(&mut damage.holes));
    }
    files.into_values().collect()
}

fn first_damages(damages: &[FileDamage]) -> String {
    let shown = damages
        .iter()
        .take(5)
        .map(|d| format!("{}: {}", d.path.display(), d.reason));
    let more = if damages.len() > 5 { "; …" } else { "" };
    shown.collect::<Vec<_>>().join("; ") + more
}

impl RestoreError {
    /// With a part of the index lost, that is why a blob is in no index.
    fn because_of(self, lost: &[VaultError]) -> Self {
        match (self, lost.first()) {
            (
                Self::Vault(VaultError::MissingBlob { .. }),
                Some(VaultError::Damaged { kind, name, reason }),
            ) => Self::Vault(VaultError::Damaged {
                kind: *kind,
                name: name.clone(),
                reason: reason.clone(),
            }),
            (other, _) => other,
        }
    }

    fn target(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Target {
            operation,
            path,
            source,
        }
    }
}

/// A directory that holds everything but the files that are named last. Dropped, it stays marked as
/// unfinished, and the next restore into it begins anew.
pub struct UnfinishedRestore {
    plan: Plan,
    target: Target,
    ownership: Ownership,
    left_out: Vec<String>,
    started: Instant,
    _lock: Option<crate::lock::Lock>,
}

impl UnfinishedRestore {
    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.target.directory()
    }

    /// Names the last files and removes the mark: the directory is whole from here on. What was
    /// added to it must be durable by then.
    ///
    /// # Errors
    /// As the target's file system failed.
    pub fn finish(self) -> Result<RestoreReport, RestoreError> {
        let plan = &self.plan;
        plan.name_last_files(self.target.directory())?;
        self.target.finish(plan.root(), self.ownership)?;
        Ok(RestoreReport {
            files: plan.file_count(),
            others: plan.other_count(),
            bytes: plan.bytes(),
            took: self.started.elapsed(),
            left_out: self.left_out,
        })
    }
}

impl Vault {
    /// Restores the part of a snapshot at `path` (the root for all of it) into `directory`, which
    /// must be empty, or left unfinished by an earlier restore. A directory's content lands in
    /// `directory` itself; a single file under its own name.
    ///
    /// # Errors
    /// [`RestoreError::Incomplete`] after everything that could be restored was; any other error
    /// stops at once. In both cases the directory keeps its mark of an unfinished restore, and the
    /// next restore into it begins anew.
    pub fn restore(
        &self,
        snapshot: &Snapshot,
        path: &TreePath,
        directory: &Path,
        options: &RestoreOptions,
    ) -> Result<RestoreReport, RestoreError> {
        self.begin_restore(snapshot, path, directory, options)?
            .finish()
    }

    /// Like [`Self::restore`], up to where only the files that are named last are missing, and the
    /// directory still has its mark. Whatever belongs to a whole directory and is not in the
    /// snapshot is added before [`UnfinishedRestore::finish`].
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn begin_restore(
        &self,
        snapshot: &Snapshot,
        path: &TreePath,
        directory: &Path,
        options: &RestoreOptions,
    ) -> Result<UnfinishedRestore, RestoreError> {
        let lock = self.lock_for_reading()?;
        let (index, lost) = self.load_readable_index()?;
        self.begin_restore_by(lock, (&index, &lost), snapshot, path, directory, options)
    }

    /// As [`Self::begin_restore`], by an index that the caller has read or made, with what is wrong with it.
    pub(crate) fn begin_restore_by(
        &self,
        lock: Option<crate::lock::Lock>,
        (index, lost): (&Index, &[VaultError]),
        snapshot: &Snapshot,
        path: &TreePath,
        directory: &Path,
        options: &RestoreOptions,
    ) -> Result<UnfinishedRestore, RestoreError> {
        let started = Instant::now();
        let plan = Plan::make(self, index, snapshot, path, options)
            .map_err(|error| error.because_of(lost))?;
        options.progress.expect_bytes(plan.bytes());
        let needed_bytes = plan
            .needed_bytes()
            .saturating_add(options.also_needed_bytes);
        let target = Target::prepare(directory, snapshot, needed_bytes)?;
        plan.make_directories(target.directory())?;
        let files = Files::new(target.directory(), &plan, options);
        let mut damages = plan.damages(lost);
        damages.extend(transfer::run(self, index, &plan, &files, options)?);
        let mut damages = together(damages);
        let left_out = plan.make_others(target.directory(), options.ownership)?;
        plan.make_hard_links(target.directory(), &mut damages)?;
        plan.finish_directories(target.directory(), options.ownership)?;
        durable::sync_file_system(target.directory())
            .map_err(RestoreError::target("make durable", target.directory()))?;
        if !damages.is_empty() {
            return Err(RestoreError::Incomplete { damages });
        }
        Ok(UnfinishedRestore {
            plan,
            target,
            ownership: options.ownership,
            left_out,
            started,
            _lock: lock,
        })
    }

    /// The index without its damaged files, and what is wrong with those: what the others list can
    /// be restored all the same.
    ///
    /// # Errors
    /// As the store failed otherwise.
    pub fn load_readable_index(&self) -> Result<(Index, Vec<VaultError>), VaultError> {
        let (index, failed) = self.load_index_files()?;
        let (lost, mut failed): (Vec<_>, Vec<_>) = failed
            .into_iter()
            .partition(VaultError::is_damage_or_missing);
        for error in &lost {
            tracing::warn!(error = error.in_full(), "restoring without an index file");
        }
        if let Some(error) = failed.pop() {
            return Err(error);
        }
        self.prefer_stored_copies(&index)?;
        Ok((index, lost))
    }

    /// A shared lock, or none where the vault cannot be written to: on the worst day the vault may
    /// be a disk that is mounted read-only, and that must not be in the way.
    pub(crate) fn lock_for_reading(&self) -> Result<Option<crate::lock::Lock>, VaultError> {
        use crate::store::StoreErrorKind::{Denied, NoSpace};
        match self.lock(LockMode::Shared) {
            Err(VaultError::Store(error)) if matches!(error.kind, Denied | NoSpace) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the vault cannot be locked; reading it all the same"
                );
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}
