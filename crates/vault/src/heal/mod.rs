//! Heals a vault: what is damaged or missing is stored anew, from whole pieces of damaged packs and from other vaults
//! that hold the same data.
//!
//! Looking comes first and changes nothing. Healing then works alone in the vault: it makes the index right, stores anew
//! what can be had, and only when that is durable and listed takes damaged packs out of the index and sets them aside.
//! Whatever comes from another vault is held against its own name, the SHA-256 of its content.

mod bring;
mod find;
mod points;
mod sources;
mod wal;

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;

pub(crate) use bring::put_aside;
pub(crate) use points::replace;
pub(crate) use sources::Source;

use crate::{
    BackupError, BlobKind, Compression,
    check::{BadPlaces, CheckReport, Hit},
    error::VaultError,
    id::Id,
    index::Index,
    lock::{Lock, LockMode},
    parity::{self, Healer, ParityHealed},
    progress::Progress,
    salvage::index_of_what_is_there,
    set_aside::SetAside,
    store::{FileKind, ObjectKey},
    vault::Vault,
    wal::WalFile,
};
use find::{Findings, Which};

/// How to heal.
#[derive(Clone)]
pub struct HealOptions {
    /// Whether every stored byte is read to find damage. Otherwise only what is gone or cut is found, and damaged
    /// listings of directories.
    pub read_data: bool,
    /// How hard to compress what is stored anew.
    pub compression: Compression,
    /// A pack is stored when it has so many bytes.
    pub pack_bytes: usize,
    /// Watched by whoever shows progress.
    pub progress: Arc<Progress>,
}

impl Default for HealOptions {
    fn default() -> Self {
        Self {
            read_data: true,
            compression: Compression::default(),
            pack_bytes: 16 << 20,
            progress: Arc::default(),
        }
    }
}

/// What is damaged and what became of it; after [`Vault::plan_heal`], what would.
#[derive(Clone, Debug, Default)]
pub struct HealReport {
    /// Packs that are there and damaged.
    pub damaged_packs: Vec<Id>,
    /// Packs that the index names and that are gone.
    pub packs_gone: Vec<Id>,
    /// Pieces of data and listings that recovery points need and that cannot be read in this vault.
    pub blobs_missing: u64,
    /// Those of them that were stored anew.
    pub blobs_healed: u64,
    /// Whole pieces of damaged packs that were stored anew.
    pub blobs_rescued: u64,
    /// Damaged recovery points that came back, and under which id they are found now.
    pub points_healed: Vec<(Id, Id)>,
    /// Damaged recovery points that no source has.
    pub points_lost: Vec<Id>,
    /// Damaged key files that came back.
    pub keys_healed: Vec<Id>,
    /// Damaged key files that no source has; their passwords open the vault no more.
    pub keys_lost: Vec<Id>,
    /// Damaged or missing files of the WAL archive that came back.
    pub wal_healed: Vec<WalFile>,
    /// Damaged files of the WAL archive that no source has.
    pub wal_lost: Vec<WalFile>,
    /// Whether index files were wrong, damaged or gone, and had to be made anew.
    pub index_was_wrong: bool,
    /// Where damaged files lie now.
    pub set_aside: Vec<String>,
    /// Damaged files that could not be moved, and why.
    pub left: Vec<String>,
    /// What parity brought back, and what became of it.
    pub parity: ParityHealed,
    /// Sources that could not be used, or not always, and why.
    pub sources_failed: Vec<String>,
    /// Recovery points that can be read.
    pub snapshots: usize,
    /// What is hit: before healing in a plan, and what is still hit afterwards.
    pub hits: Vec<Hit>,
    /// Recovery points that are whole as far as was looked.
    pub whole_snapshots: Vec<Id>,
}

impl HealReport {
    /// Whether there was nothing to heal.
    #[must_use]
    pub fn found_nothing(&self) -> bool {
        self.damaged_packs.is_empty()
            && self.packs_gone.is_empty()
            && self.blobs_missing == 0
            && self.points_healed.is_empty()
            && self.points_lost.is_empty()
            && self.keys_healed.is_empty()
            && self.keys_lost.is_empty()
            && self.wal_healed.is_empty()
            && self.wal_lost.is_empty()
            && !self.index_was_wrong
            && self.set_aside.is_empty()
            && self.left.is_empty()
            && self.parity.rebuilt.is_empty()
            && self.parity.beyond.is_empty()
            && self.parity.damaged.is_empty()
    }

    /// Whether nothing is lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.hits.is_empty()
            && self.points_lost.is_empty()
            && self.keys_lost.is_empty()
            && self.wal_lost.is_empty()
            && self.left.is_empty()
    }
}

impl Vault {
    /// Looks for damage, and for what of it could be healed from these vaults. Changes nothing.
    ///
    /// # Errors
    /// [`VaultError::Locked`], or as the store failed. A source that fails is in the report.
    pub fn plan_heal(
        &self,
        sources: &[Self],
        options: &HealOptions,
    ) -> Result<HealReport, VaultError> {
        let vault = self.without_cache();
        let _lock = vault.lock_for_reading()?;
        let mut report = HealReport::default();
        let sources = Source::open_all(sources, &mut report);
        let index = vault.plan_index(!sources.is_empty(), &options.progress)?;
        report.index_was_wrong = !index.is_right();
        report.packs_gone.clone_from(&index.packs_gone);
        // What healing will make of the index, so that what is only not listed does not look lost.
        let index = match report.index_was_wrong {
            true => index_of_what_is_there(&vault, &options.progress, &mut Vec::new())?,
            false => vault.load_index()?,
        };
        let which = Which::all(options);
        let findings = Findings::look(&vault, index, &sources, &which, options)?;
        findings.tell(&mut report);
        let by_parity = plan_parity(&vault, &findings, options, &mut report)?;
        let healable = |blob: &(_, Id)| {
            by_parity.contains(blob) || sources.iter().any(|s| s.has(blob.0, &blob.1))
        };
        report.blobs_healed = findings.missing.iter().filter(|b| healable(b)).count() as u64;
        points::plan(&vault, &sources, &mut report)?;
        wal::plan(&vault, &sources, options, &mut report)?;
        report.forget_what_parity_has();
        let mut check = CheckReport::default();
        vault.check_snapshots(&findings.index, &findings.bad, &mut check)?;
        report.take(check);
        Ok(report)
    }

    /// Heals what can be healed from what is whole in this vault, and from these vaults. What is found by reading is
    /// looked at once more when nobody else works in the vault.
    ///
    /// # Errors
    /// [`VaultError::Locked`], or as the store failed. Nothing was removed then that was needed and not stored anew.
    pub fn heal(&self, sources: &[Self], options: &HealOptions) -> Result<HealReport, VaultError> {
        let vault = self.without_cache();
        let mut report = HealReport::default();
        let sources = Source::open_all(sources, &mut report);
        parity::files(&vault, &mut report)?;
        let suspects = {
            let _lock = vault.lock_for_reading()?;
            let (index, failed) = vault.load_index_files()?;
            // The index is made right before anything is stored.
            if let Some(error) = failed.into_iter().find(|e| !e.is_damage_or_missing()) {
                return Err(error);
            }
            let which = Which::all(options);
            let found = Findings::look(&vault, index, &sources, &which, options)?;
            let mut suspects = found.suspects;
            suspects.extend(found.packs_gone);
            suspects
        };
        let lock = vault.lock(LockMode::Exclusive)?;
        let aside = SetAside::at(Timestamp::now());
        let damaged_wal = || wal::damaged(&vault, options);
        parity::packs_and_wal(&vault, &lock, &aside, &suspects, damaged_wal, &mut report)?;
        let may_be_empty = !sources.is_empty();
        let index = vault.rebuild_index_under(&lock, may_be_empty, &options.progress)?;
        report.index_was_wrong = !index.plan.is_right();
        report.set_aside.extend(index.set_aside);
        report.left.extend(index.left);
        report.packs_gone.extend(&index.plan.packs_gone);
        // What is in the index since a moment ago was never looked at.
        let mut again = suspects;
        again.extend(index.plan.packs_unlisted);
        again.extend(index.plan.packs_listed_wrongly);
        let index = vault.load_index_files()?.0;
        let run = Bringing {
            vault: &vault,
            lock: &lock,
            sources: &sources,
            options,
            aside: &aside,
        };
        if run.look_and_bring(index, &Which::Only(again), &mut report)? {
            // What was in damaged packs may lie in packs on their way out, which nobody had a reason to look at.
            let index = vault.load_index_files()?.0;
            let which = Which::leaving(&index, options);
            run.look_and_bring(index, &which, &mut report)?;
        }
        points::run(&vault, &sources, &aside, &mut report)?;
        wal::run(&vault, &sources, options, &aside, &mut report)?;
        parity::parity(&vault, &lock, &aside, options, &mut report)?;
        let (index, _) = vault.load_index_files()?;
        let mut check = CheckReport::default();
        vault.check_snapshots(&index, &BadPlaces::default(), &mut check)?;
        report.take(check);
        Ok(report)
    }
}

/// What of the missing is in packs that parity brings back.
fn plan_parity(
    vault: &Vault,
    findings: &Findings,
    options: &HealOptions,
    report: &mut HealReport,
) -> Result<HashSet<(BlobKind, Id)>, VaultError> {
    let Some(healer) = Healer::open(vault)? else {
        return Ok(HashSet::new());
    };
    let mut packs = findings.suspects.clone();
    packs.extend(findings.packs_gone.iter().chain(&report.packs_gone));
    let back = healer.plan_packs(&packs, &mut report.parity)?;
    healer.plan_files(&wal::damaged(vault, options)?, &mut report.parity)?;
    if back.is_empty() {
        return Ok(HashSet::new());
    }
    // Those that are gone were taken out of the findings' index.
    let blobs = vault.load_index_files()?.0.blobs_in(&back);
    let blobs = blobs.into_values().flatten();
    Ok(blobs.map(|blob| (blob.kind, blob.id)).collect())
}

/// Healing, alone in the vault.
struct Bringing<'a> {
    vault: &'a Vault,
    lock: &'a Lock,
    sources: &'a [Source],
    options: &'a HealOptions,
    aside: &'a SetAside,
}

impl Bringing<'_> {
    /// Heals what is found in these packs and below all points. Whether packs were damaged.
    fn look_and_bring(
        &self,
        index: Index,
        which: &Which,
        report: &mut HealReport,
    ) -> Result<bool, VaultError> {
        let Self {
            vault,
            lock,
            sources,
            options,
            aside,
        } = self;
        let findings = Findings::look(vault, index, sources, which, options)?;
        findings.tell(report);
        let had_damaged = !findings.suspects.is_empty();
        bring::run(vault, lock, findings, sources, options, aside, report)?;
        Ok(had_damaged)
    }
}

impl HealReport {
    /// In a plan: what parity brings back is not lost.
    fn forget_what_parity_has(&mut self) {
        let rebuilt = &self.parity.rebuilt;
        let is_rebuilt = |key: &ObjectKey| rebuilt.iter().any(|name| name == key.as_str());
        self.points_lost
            .retain(|id| !is_rebuilt(&ObjectKey::of(FileKind::Snapshot, id)));
        self.wal_lost
            .retain(|file| file.key().is_ok_and(|key| !is_rebuilt(&key)));
    }

    fn take(&mut self, check: CheckReport) {
        self.snapshots = check.snapshots;
        self.hits = check.hits;
        self.whole_snapshots = check.whole_snapshots;
    }
}

/// A failure of the packer, which knows no other vault errors than those of the store.
fn of_packer(error: BackupError) -> VaultError {
    match error {
        BackupError::Vault(error) => error,
        _ => VaultError::Compress("a storing thread ended early; this is a bug"),
    }
}
