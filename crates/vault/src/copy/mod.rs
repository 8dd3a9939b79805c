//! Copies snapshots into another vault, which has other keys.
//!
//! Start at [`Vault::copy_snapshots_to`]. Blobs are named by their plain content, so both vaults
//! know by the same name what they have, and only what is missing travels: read in the order of
//! the packs, opened, verified against its name, and sealed again with the other key without being
//! compressed anew. A snapshot is written when all that it needs is stored and listed.

mod commit;
mod damage;
mod error;
mod known;
mod piece;
mod record;
mod transfer;
mod walk;

use std::{collections::HashMap, sync::Arc};

pub use damage::CopyDamage;
pub use error::CopyToError;
pub use known::CopiedSnapshots;
pub use record::CopyRecord;

use commit::Group;
use piece::Piece;
use walk::Walk;

use crate::{
    blob::BlobKind, error::VaultError, id::Id, index::Index, lock::LockMode, progress::Progress,
    snapshot::Snapshot, store::FileKind, vault::Vault,
};

/// How a copy works.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// Threads that read, verify and seal; if `None` two per core, or eight where the vault that is
    /// read is far. Each holds up to 8 MiB of a pack.
    pub threads: Option<usize>,
    /// A pack is stored when it has so many bytes.
    pub pack_bytes: usize,
    /// Snapshots are written when so many bytes of theirs have been stored, and at the end. Each time
    /// begins packs and an index file anew, so that many small snapshots do not mean many small files.
    pub commit_bytes: u64,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            threads: None,
            pack_bytes: 16 << 20,
            commit_bytes: 128 << 20,
        }
    }
}

/// A snapshot that is in the other vault now.
#[derive(Clone, Debug)]
pub struct CopiedSnapshot {
    /// Its id in the vault that was read.
    pub source: Id,
    /// What was written.
    pub copy: Snapshot,
}

/// What a copy did.
#[derive(Clone, Debug, Default)]
pub struct CopyReport {
    /// Snapshots that were written.
    pub copied: Vec<CopiedSnapshot>,
    /// Snapshots that were there already.
    pub present: Vec<Id>,
    /// Snapshots that somebody forgot before they could be read.
    pub vanished: Vec<Id>,
    /// What could not be copied because it is damaged in the vault that was read. Snapshots named
    /// here were not written.
    pub damages: Vec<CopyDamage>,
    /// Blobs that were stored.
    pub blobs: u64,
    /// Their plain bytes.
    pub plain_bytes: u64,
    /// Their stored bytes.
    pub stored_bytes: u64,
    /// Why our lock on the other vault could not be removed; who may only write leaves it there.
    pub lock_left: Option<String>,
}

impl CopyReport {
    /// Whether every snapshot that was asked for and still exists is in the other vault.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.damages.is_empty()
    }
}

/// What a copy would do.
#[derive(Clone, Debug, Default)]
pub struct CopyEstimate {
    /// Snapshots that the other vault lacks, in the order asked for.
    pub missing: Vec<Id>,
    /// Stored bytes of the blobs it lacks.
    pub bytes: u64,
    /// How many blobs those are.
    pub blobs: u64,
}

impl Vault {
    /// Copies snapshots into another vault, in the order given; those that are there already are
    /// left alone. May be interrupted at any moment: what is stored and listed by then is found by
    /// the next run.
    ///
    /// Every blob is verified before it is sealed again, so damage is never copied: a snapshot that is
    /// hit is named in the report, and the others are copied. Of the other vault, only its
    /// configuration, keys, index, snapshots and locks are read, and nothing but our lock is deleted.
    ///
    /// Memory: both indexes, 40 bytes for each directory, and about 100 MiB; about 300 MiB where a vault
    /// is far.
    ///
    /// # Errors
    /// [`CopyToError`], which says on which side; snapshots that were written until then stay.
    pub fn copy_snapshots_to(
        &self,
        to: &Self,
        snapshots: &[Snapshot],
        options: &CopyOptions,
        progress: &Arc<Progress>,
    ) -> Result<CopyReport, CopyToError> {
        let (source_failed, target_failed) = (CopyToError::source(self), CopyToError::target(to));
        // Both before any index is read: a prune in between could delete what it names.
        let source_lock = self.lock_for_reading().map_err(&source_failed)?;
        let lock = to.lock(LockMode::Shared).map_err(&target_failed)?;
        let mut report = CopyReport::default();
        let wanted = self.select(to, snapshots, &mut report)?;
        if !wanted.is_empty() {
            let mut run = Run {
                source: self,
                target: to,
                index: self.index_for_copying().map_err(&source_failed)?,
                known: Arc::new(to.load_index().map_err(&target_failed)?),
                lock: &lock,
                options,
                progress,
                bad: HashMap::new(),
                report: &mut report,
            };
            to.forget_lost_packs(&run.known).map_err(&target_failed)?;
            run.copy_all(&wanted)?;
        }
        drop(source_lock);
        report.lock_left = lock.release().err().map(|error| error.in_full());
        Ok(report)
    }

    /// What [`Vault::copy_snapshots_to`] would copy; changes nothing. Where more than a million
    /// blobs are missing, some of those that snapshots share may be counted twice.
    ///
    /// # Errors
    /// As an index or the snapshots could not be read.
    pub fn estimate_copy_to(
        &self,
        to: &Self,
        snapshots: &[Snapshot],
    ) -> Result<CopyEstimate, CopyToError> {
        let (source_failed, target_failed) = (CopyToError::source(self), CopyToError::target(to));
        let _lock = self.lock_for_reading().map_err(&source_failed)?;
        let wanted = self.select(to, snapshots, &mut CopyReport::default())?;
        let mut estimate = CopyEstimate {
            missing: wanted.iter().map(|snapshot| snapshot.id).collect(),
            ..CopyEstimate::default()
        };
        if wanted.is_empty() {
            return Ok(estimate);
        }
        let index = self.index_for_copying().map_err(&source_failed)?;
        let known = to.load_index().map_err(&target_failed)?;
        let mut counted = std::collections::HashSet::new();
        let mut walk = Walk::new(self, &index, &known);
        let mut bad = HashMap::new();
        for snapshot in wanted {
            walk.collect(snapshot.stored.tree, &mut bad, &mut |piece: Piece| {
                if counted.len() >= MOST_COUNTED {
                    counted.clear();
                }
                if counted.insert((piece.blob.kind, piece.blob.id)) {
                    estimate.blobs += 1;
                    estimate.bytes += u64::from(piece.blob.length);
                }
                Ok(())
            })
            .map_err(|error| error.unwrap_or_else(&source_failed))?;
        }
        Ok(estimate)
    }

    /// Which of the snapshots are to be copied.
    fn select<'a>(
        &self,
        to: &Self,
        snapshots: &'a [Snapshot],
        report: &mut CopyReport,
    ) -> Result<Vec<&'a Snapshot>, CopyToError> {
        let here = self.list_ids(FileKind::Snapshot);
        let here: std::collections::HashSet<Id> = here
            .map_err(CopyToError::source(self))?
            .into_iter()
            .collect();
        let known = to.copied_snapshots().map_err(CopyToError::target(to))?;
        let mut wanted = Vec::new();
        for snapshot in snapshots {
            if known.find(snapshot).is_some() {
                report.present.push(snapshot.id);
            } else if here.contains(&snapshot.id) {
                wanted.push(snapshot);
            } else {
                report.vanished.push(snapshot.id);
            }
        }
        Ok(wanted)
    }

    /// What there is in this vault of other vaults' snapshots. One that cannot be read because it is
    /// damaged counts as not there.
    ///
    /// # Errors
    /// As the store failed.
    pub fn copied_snapshots(&self) -> Result<CopiedSnapshots, VaultError> {
        let (snapshots, failed) = self.readable_snapshots()?;
        for error in failed {
            if !error.is_damage_or_missing() {
                return Err(error);
            }
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a recovery point of the copy was passed over"
            );
        }
        Ok(CopiedSnapshots::new(snapshots))
    }

    /// As much of the index as can be read: what a lost part listed is told as damage of the
    /// snapshots that need it.
    fn index_for_copying(&self) -> Result<Index, VaultError> {
        let (index, failed) = self.load_index_files()?;
        for error in failed {
            if !error.is_damage_or_missing() {
                return Err(error);
            }
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an index file of the vault cannot be read"
            );
        }
        self.prefer_stored_copies(&index)?;
        Ok(index)
    }
}

/// An estimate remembers so many blobs, some 80 MiB.
const MOST_COUNTED: usize = 1 << 20;

/// Blobs that the source does not give, and why.
type BadBlobs = HashMap<(BlobKind, Id), String>;

/// A copy in work.
struct Run<'a> {
    source: &'a Vault,
    target: &'a Vault,
    index: Index,
    /// What the target has; grows as packs are stored.
    known: Arc<Index>,
    lock: &'a crate::lock::Lock,
    options: &'a CopyOptions,
    progress: &'a Arc<Progress>,
    bad: BadBlobs,
    report: &'a mut CopyReport,
}

impl Run<'_> {
    fn copy_all(&mut self, wanted: &[&Snapshot]) -> Result<(), CopyToError> {
        // Each directory is looked at once, however many snapshots have it.
        let (source, known) = (self.source, Arc::clone(&self.known));
        let index = std::mem::take(&mut self.index);
        let mut walk = Walk::new(source, &index, &known);
        let mut group = Group::start(self);
        for snapshot in wanted {
            let gathered = self.gather(&index, &mut walk, &mut group, snapshot);
            if let Err(error) = gathered {
                return Err(group.give_up(error));
            }
            group.pending.push((*snapshot).clone());
            if group.bytes() >= self.options.commit_bytes {
                self.commit(&index, group)?;
                group = Group::start(self);
            }
        }
        self.commit(&index, group)
    }

    /// Collects what a snapshot needs; copies when enough has come together.
    fn gather(
        &mut self,
        index: &Index,
        walk: &mut Walk<'_>,
        group: &mut Group,
        snapshot: &Snapshot,
    ) -> Result<(), CopyToError> {
        let mut bad = std::mem::take(&mut self.bad);
        let mut copied_bad = BadBlobs::new();
        let outcome = walk.collect(snapshot.stored.tree, &mut bad, &mut |piece| {
            if group.batch.add(piece) {
                copied_bad.extend(group.transfer(
                    (self.source, index),
                    self.options,
                    self.progress,
                )?);
            }
            Ok(())
        });
        self.bad = bad;
        self.bad.extend(copied_bad);
        outcome.map_err(|error| error.unwrap_or_else(CopyToError::source(self.source)))
    }

    /// Makes everything durable and listed, and writes the snapshots that are whole.
    fn commit(&mut self, index: &Index, mut group: Group) -> Result<(), CopyToError> {
        match group.transfer((self.source, index), self.options, self.progress) {
            Ok(bad) => self.bad.extend(bad),
            Err(error) => return Err(group.give_up(error)),
        }
        let (pending, added) = group.finish(self.target)?;
        self.report.blobs += added.blobs;
        self.report.plain_bytes += added.plain_bytes;
        self.report.stored_bytes += added.stored_bytes;
        for snapshot in pending {
            let damages = self.damages_of(index, &snapshot)?;
            if damages.is_empty() {
                self.write(&snapshot)?;
            }
            self.report.damages.extend(damages);
        }
        Ok(())
    }

    fn damages_of(
        &self,
        index: &Index,
        snapshot: &Snapshot,
    ) -> Result<Vec<CopyDamage>, CopyToError> {
        if self.bad.is_empty() {
            return Ok(Vec::new());
        }
        damage::of_snapshot(self.source, index, &self.known, &self.bad, snapshot)
            .map_err(CopyToError::source(self.source))
    }

    /// The last step, when all that the snapshot needs is there.
    fn write(&mut self, snapshot: &Snapshot) -> Result<(), CopyToError> {
        let failed = CopyToError::target(self.target);
        self.lock.ensure_held().map_err(&failed)?;
        let copy = self.target.write_copy_of(snapshot).map_err(&failed)?;
        self.report.copied.push(CopiedSnapshot {
            source: snapshot.id,
            copy,
        });
        Ok(())
    }
}
