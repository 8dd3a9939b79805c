//! The part of a prune that is done alone in the vault: what is new is looked at, index files are
//! written anew, and only then anything is removed.
//!
//! The order is always: an index file that does not name a pack is durable, the index file that
//! names it is removed, the pack is removed. Whatever interrupts this leaves too much, and never
//! too little.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    mem,
};

use jiff::Timestamp;

use super::{
    Grace, PruneError, PruneOptions, PruneReport,
    ledger::{IndexFile, Ledger, Pack},
    options::Age,
    plan::{Decision, Fate, hold_used},
    survey::{self, UnlistedPack},
    used::{self, Missing},
};
use crate::{
    error::VaultError,
    id::Id,
    index::{StoredIndex, StoredPack},
    lock::Lock,
    pack::PackedBlob,
    store::{FileKind, ObjectKey, StoreErrorKind},
    unpacked,
    vault::Vault,
};

/// An index file is full when it lists so many blobs, as restic's.
const FULL_FILE_BLOBS: usize = 50_000;
/// One with less is merged with others…
const SMALL_FILE_BLOBS: usize = FULL_FILE_BLOBS / 4;
/// …when there are so many of them.
const MANY_SMALL_FILES: usize = 8;
/// Between two looks at the lock at most so many files are removed.
const REMOVED_AT_ONCE: usize = 64;

/// What is done alone.
pub(super) struct Settling<'a> {
    pub vault: &'a Vault,
    pub lock: &'a Lock,
    pub ledger: &'a mut Ledger,
    /// Snapshots whose trees are marked in the ledger.
    pub snapshots: &'a mut HashSet<Id>,
    pub options: &'a PruneOptions,
}

impl Settling<'_> {
    /// Does what was decided, as far as it is still right.
    pub fn run(mut self, decision: Decision, report: &mut PruneReport) -> Result<(), PruneError> {
        let unlisted = self.look_again(&decision)?;
        let now = self.options.time();
        let planned = decision.fates;
        let mut fates = self.fates_now(&planned, now);
        hold_used(self.ledger, &mut fates).map_err(Missing::into_error)?;
        report.count_locked();
        let (mut marked, mut going) = (unlisted, Vec::new());
        if self.options.grace == Grace::None {
            let locked = self.locked(&fates, &marked, now)?;
            locked.values().for_each(|until| report.count_kept(*until));
            self.remove_at_once(&mut fates, &locked);
            let is_locked = |pack: &UnlistedPack| locked.contains_key(&pack.id);
            (marked, going) = marked.into_iter().partition(is_locked);
        }
        let stay_after_all = |(before, after): (&Fate, &Fate)| {
            matches!(before, Fate::Leave | Fate::Repack) && *after == Fate::Stay
        };
        let pairs = planned.iter().zip(&fates);
        report.stayed_packs = pairs.filter(|pair| stay_after_all(*pair)).count() as u64;
        let old = self.files_to_rewrite(&fates, !marked.is_empty());
        report.index_files_written = self.write_index(&old, &fates, &marked, now)?;
        let names = old.iter().map(|&file| self.ledger.files[file as usize].id);
        let names: Vec<Id> = names.collect();
        self.remove(FileKind::Index, &names, &mut 0)?;
        report.count(self.ledger, &fates, self.options.grace, now);
        report.count_unlisted(&marked, &going, self.options.grace, now);
        let is_going = |(pack, fate): (&Pack, &Fate)| {
            (*fate == Fate::Remove && pack.size.is_some()).then_some(pack.id)
        };
        let pairs = self.ledger.packs.iter().zip(&fates);
        let mut packs: Vec<Id> = pairs.filter_map(is_going).collect();
        packs.extend(going.iter().map(|pack| pack.id));
        let needed = self.vault.needed_by_parity(&packs)?;
        packs.retain(|id| !needed.contains(id));
        report.held_for_parity = needed.len() as u64;
        self.remove(FileKind::Pack, &packs, &mut report.removed_packs)
    }

    /// Looks at what has been written since the decision; returns packs that no index file names,
    /// then and now.
    fn look_again(&mut self, decision: &Decision) -> Result<Vec<UnlistedPack>, PruneError> {
        let roots = survey::new_roots(self.vault, self.snapshots)?;
        survey::read_index(self.vault, self.ledger)?;
        let mut unlisted = survey::list_packs(self.vault, self.ledger)?;
        let before: HashSet<Id> = decision.unlisted.iter().map(|pack| pack.id).collect();
        unlisted.retain(|pack| before.contains(&pack.id));
        used::mark(self.vault, self.ledger, &roots)?;
        Ok(unlisted)
    }

    /// What was decided, corrected by what is new.
    fn fates_now(&self, planned: &[Fate], now: Timestamp) -> Vec<Fate> {
        let fate = |(number, pack): (usize, &Pack)| {
            let planned = planned.get(number).copied();
            match (pack.is_listed, pack.size) {
                (_, None) => Fate::Gone,
                // What is listed counts, whoever has marked it, too.
                (true, Some(_)) => match planned {
                    Some(fate @ (Fate::Leave | Fate::Repack)) => fate,
                    _ => Fate::Stay,
                },
                (false, Some(_)) => match self.options.grace.age(pack.mark.flatten(), now) {
                    _ if planned == Some(Fate::Back) => Fate::Back,
                    // Its grace may have ended since the plan was made; then it waits for the next.
                    Age::Due if planned == Some(Fate::Remove) => Fate::Remove,
                    Age::Due | Age::Until(_) => Fate::Wait,
                    Age::Unknown => Fate::WaitAnew,
                },
            }
        };
        self.ledger.packs.iter().enumerate().map(fate).collect()
    }

    /// Packs that leave and that the store keeps beyond `now`, and until when.
    fn locked(
        &self,
        fates: &[Fate],
        unlisted: &[UnlistedPack],
        now: Timestamp,
    ) -> Result<HashMap<Id, Timestamp>, PruneError> {
        let pairs = self.ledger.packs.iter().zip(fates);
        let leaves = pairs.filter(|(pack, fate)| {
            pack.size.is_some() && matches!(fate, Fate::Leave | Fate::Repack)
        });
        let mut packs: Vec<Id> = leaves.map(|(pack, _)| pack.id).collect();
        packs.extend(unlisted.iter().map(|pack| pack.id));
        Ok(self.vault.locked_packs(&packs, now)?)
    }

    /// Without grace, what leaves goes in the same run; what the store keeps is marked, and waits.
    fn remove_at_once(&self, fates: &mut [Fate], locked: &HashMap<Id, Timestamp>) {
        for (pack, fate) in self.ledger.packs.iter().zip(fates) {
            if matches!(fate, Fate::Leave | Fate::Repack) && !locked.contains_key(&pack.id) {
                *fate = Fate::Remove;
            }
        }
    }

    /// Index files that say what is no longer so, and small ones if there are many.
    fn files_to_rewrite(&self, fates: &[Fate], has_more: bool) -> BTreeSet<u32> {
        let mut files = BTreeSet::new();
        for naming in &self.ledger.namings {
            let is_so = match fates[naming.pack as usize] {
                Fate::Stay => !naming.is_mark,
                Fate::Wait => naming.is_mark,
                _ => false,
            };
            if !is_so {
                files.insert(naming.file);
            }
        }
        let all = self.ledger.files.iter().enumerate();
        let small = all.filter(|(_, file)| file.blobs < SMALL_FILE_BLOBS);
        let small: Vec<u32> = small.map(|(number, _)| number as u32).collect();
        if small.len() >= MANY_SMALL_FILES || (has_more && small.len() > 1) {
            files.extend(small);
        }
        files
    }

    /// Writes what `old` files say, as it is now; returns how many files that takes.
    fn write_index(
        &self,
        old: &BTreeSet<u32>,
        fates: &[Fate],
        marked: &[UnlistedPack],
        now: Timestamp,
    ) -> Result<u64, PruneError> {
        let mut writer = IndexWriter::new(self.vault);
        let mut written = vec![0; fates.len()];
        for &file in old {
            let id = self.ledger.files[file as usize].id;
            let stored: StoredIndex =
                unpacked::load(&*self.vault.store, &self.vault.key, FileKind::Index, &id)?;
            for (pack, is_mark) in stored.named_packs() {
                let Some(number) = self.ledger.number_of(&pack.id) else {
                    return Err(PruneError::ChangedMeanwhile);
                };
                let (number, blobs) = (number as usize, pack.blobs.len() + 1);
                // Two files may say the same of a pack.
                if is_mark && fates[number] == Fate::Stay || written[number] >= blobs {
                    continue;
                }
                written[number] = blobs;
                let mark = self.ledger.packs[number].mark.flatten();
                writer.add(pack.clone(), fates[number], mark, now)?;
            }
        }
        for pack in marked {
            let blobs = read_header(self.vault, pack)?;
            let stored = StoredPack::new(pack.id, &blobs).sized(pack.size_bytes);
            writer.add(stored, Fate::Leave, None, now)?;
        }
        let names = old.iter().map(|&file| self.ledger.files[file as usize].id);
        writer.finish(names.collect())
    }

    /// Removes files. The lock is looked at before each step: without it, somebody may have begun
    /// to count on what we remove.
    fn remove(&self, kind: FileKind, ids: &[Id], removed: &mut u64) -> Result<(), PruneError> {
        for some in ids.chunks(REMOVED_AT_ONCE) {
            self.lock.ensure_held()?;
            let remove = |id: &Id| self.vault.store.delete(&ObjectKey::of(kind, id));
            let outcomes = self.vault.each(some, remove);
            for outcome in outcomes {
                match outcome {
                    Err(error) if error.kind != StoreErrorKind::NotFound => {
                        return Err(VaultError::from(error).into());
                    }
                    _ => *removed += 1,
                }
            }
        }
        Ok(())
    }
}

/// Whether there are so many index files that reading them takes longer than it must.
pub(super) fn has_many_files(ledger: &Ledger) -> bool {
    let small = |file: &&IndexFile| file.blobs < SMALL_FILE_BLOBS;
    ledger.files.iter().filter(small).count() >= MANY_SMALL_FILES * MANY_SMALL_FILES
}

/// Fills index files.
struct IndexWriter<'a> {
    vault: &'a Vault,
    next: StoredIndex,
    blobs: usize,
    files: u64,
}

impl<'a> IndexWriter<'a> {
    fn new(vault: &'a Vault) -> Self {
        Self {
            vault,
            next: StoredIndex::default(),
            blobs: 0,
            files: 0,
        }
    }

    fn add(
        &mut self,
        pack: StoredPack,
        fate: Fate,
        mark: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), PruneError> {
        if self.blobs >= FULL_FILE_BLOBS {
            self.write()?;
        }
        let blobs = pack.blobs.len() + 1;
        match fate {
            Fate::Stay => self.next.packs.push(pack),
            Fate::Back => self.next.packs.push(pack.staying()),
            Fate::Leave | Fate::Repack | Fate::WaitAnew => {
                self.next.packs_to_delete.push(pack.leaving(now));
            }
            Fate::Wait => {
                let pack = pack.leaving(mark.unwrap_or(now));
                self.next.packs_to_delete.push(pack);
            }
            Fate::Gone | Fate::Remove => return Ok(()),
        }
        self.blobs += blobs;
        Ok(())
    }

    fn write(&mut self) -> Result<(), PruneError> {
        let stored = mem::take(&mut self.next);
        self.blobs = 0;
        self.files += 1;
        let Vault { store, key, .. } = self.vault;
        unpacked::save(&**store, key, FileKind::Index, &stored)?;
        Ok(())
    }

    /// Only the last file says which ones all of them replace: when it is there, all are.
    fn finish(mut self, supersedes: Vec<Id>) -> Result<u64, PruneError> {
        if self.blobs > 0 {
            self.next.supersedes = supersedes;
            self.write()?;
        }
        Ok(self.files)
    }
}

/// What a pack says is in it; nothing if it is cut or damaged.
fn read_header(vault: &Vault, pack: &UnlistedPack) -> Result<Vec<PackedBlob>, PruneError> {
    let header = vault.read_pack_header(&pack.id, pack.size_bytes);
    match header {
        Ok(blobs) => Ok(blobs),
        Err(error) if error.is_damage_or_missing() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
