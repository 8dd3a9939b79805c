//! Rebuilds the index from the packs' own headers, when index files are gone, damaged or wrong.
//!
//! Every pack tells at its end what is in it, so the index can be made anew at any time. Index files that are right are
//! left alone. New ones are written first; then those that said something wrong are removed, and damaged ones set aside.

mod headers;
mod plan;

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

pub(crate) use plan::pack_sizes;

use crate::{
    error::VaultError,
    id::Id,
    index::{StoredIndex, StoredPack},
    lock::{Lock, LockMode},
    pack::PackedBlob,
    progress::Progress,
    set_aside::SetAside,
    store::{FileKind, ObjectKey, StoreErrorKind},
    unpacked,
    vault::Vault,
};

/// An index file is written when it lists so many blobs, as restic does.
const INDEX_BLOBS: usize = 50_000;
/// Headers read at a time.
const BATCH: usize = 64;

/// What is wrong with the index, and what would be done about it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReindexPlan {
    /// Packs that are there.
    pub packs: usize,
    /// Blobs in them, as far as their headers or the index tell.
    pub blobs: usize,
    /// Index files that can be read.
    pub index_files: usize,
    /// Index files that cannot, and why.
    pub damaged_index_files: Vec<String>,
    /// Packs that are in no index file that can be read.
    pub packs_unlisted: Vec<Id>,
    /// Packs of which the index says something else than they do themselves.
    pub packs_listed_wrongly: Vec<Id>,
    /// Packs that the index names and that are not there. What lay in them is lost, unless a copy has it.
    pub packs_gone: Vec<Id>,
    /// Packs whose own header is damaged.
    pub unreadable_packs: Vec<UnreadablePack>,
    /// Packs that will be listed anew.
    pub packs_to_list: usize,
    /// Index files that will be removed because they say something wrong.
    pub index_files_to_replace: usize,
}

/// A pack that does not tell what is in it.
#[derive(Clone, Debug, Serialize)]
pub struct UnreadablePack {
    /// The pack.
    pub id: Id,
    /// Its length.
    pub size_bytes: u64,
    /// What is wrong with it.
    pub reason: String,
    /// Blobs that the old index knows in it, and that stay listed: they may be whole. Without them, nothing can be read
    /// from the pack.
    pub known_blobs: usize,
}

/// What was done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReindexReport {
    /// What was wrong.
    pub plan: ReindexPlan,
    /// Index files that were written.
    pub written: Vec<Id>,
    /// Index files that were removed, because new ones say what they said rightly.
    pub removed: Vec<Id>,
    /// Where damaged index files lie now.
    pub set_aside: Vec<String>,
    /// Damaged index files that could not be moved, and why. They are in the way of backups until someone removes them.
    pub left: Vec<String>,
}

/// The files behind the counts of a [`ReindexPlan`].
#[derive(Default)]
struct Files {
    damaged: Vec<Id>,
    superseded: Vec<Id>,
    /// Packs to be listed, with their lengths.
    to_list: Vec<(Id, u64)>,
    /// What the index knows of packs with damaged headers.
    known: HashMap<Id, Vec<PackedBlob>>,
}

impl ReindexPlan {
    /// Whether there is nothing to do. Packs with damaged headers may still be there: no index can help them.
    #[must_use]
    pub const fn is_right(&self) -> bool {
        self.damaged_index_files.is_empty()
            && self.packs_to_list == 0
            && self.index_files_to_replace == 0
    }
}

impl Vault {
    /// Holds the index against the packs. Changes nothing.
    ///
    /// # Errors
    /// [`VaultError::Locked`], or as the store failed.
    pub fn plan_rebuild_index(&self, progress: &Arc<Progress>) -> Result<ReindexPlan, VaultError> {
        let _lock = self.lock_for_reading()?;
        self.plan_index(false, progress)
    }

    /// As [`Vault::plan_rebuild_index`], for who holds a lock; `may_be_empty` if no pack needs to be there.
    pub(crate) fn plan_index(
        &self,
        may_be_empty: bool,
        progress: &Progress,
    ) -> Result<ReindexPlan, VaultError> {
        Ok(plan::make(self, may_be_empty, progress)?.0)
    }

    /// Makes the index right, from the packs' own headers, while nobody else works in the vault.
    ///
    /// # Errors
    /// [`VaultError::Locked`]; [`VaultError::Damaged`] if not one pack is there of those that the index names; or as the
    /// store failed. Nothing was removed then that is not listed anew.
    pub fn rebuild_index(&self, progress: &Arc<Progress>) -> Result<ReindexReport, VaultError> {
        let lock = self.lock(LockMode::Exclusive)?;
        self.rebuild_index_under(&lock, false, progress)
    }

    /// As [`Vault::rebuild_index`], for who holds the lock; `may_be_empty` if no pack needs to be there.
    pub(crate) fn rebuild_index_under(
        &self,
        lock: &Lock,
        may_be_empty: bool,
        progress: &Arc<Progress>,
    ) -> Result<ReindexReport, VaultError> {
        let (plan, files) = plan::make(self, may_be_empty, progress)?;
        let mut report = ReindexReport {
            plan,
            ..ReindexReport::default()
        };
        if report.plan.is_right() {
            return Ok(report);
        }
        report.written = self.list_anew(&files)?;
        lock.ensure_held()?;
        for id in &files.superseded {
            match self.store.delete(&ObjectKey::of(FileKind::Index, id)) {
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                other => other?,
            }
            report.removed.push(*id);
        }
        let aside = SetAside::at(Timestamp::now());
        for id in &files.damaged {
            let object = ObjectKey::of(FileKind::Index, id);
            match aside.take(&*self.store, &object) {
                Ok(to) => report.set_aside.extend(to.map(|key| key.to_string())),
                Err(error) if error.is_damage_or_missing() => {
                    report.left.push(format!("{object}: {}", error.in_full()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// Writes index files of these packs.
    fn list_anew(&self, files: &Files) -> Result<Vec<Id>, VaultError> {
        let mut written = Vec::new();
        let (mut packs, mut blobs) = (Vec::new(), 0);
        for batch in files.to_list.chunks(BATCH) {
            let headers = self.each(batch, |(id, size)| match files.known.get(id) {
                Some(known) => Ok(known.clone()),
                None => self.read_pack_header(id, *size),
            });
            for ((id, _), header) in batch.iter().zip(headers) {
                // It could be read a moment ago; what is wrong now must not be passed over.
                let header = header?;
                blobs += header.len();
                packs.push(StoredPack::new(*id, &header));
                if blobs >= INDEX_BLOBS {
                    written.push(self.write_index(std::mem::take(&mut packs))?);
                    blobs = 0;
                }
            }
        }
        if !packs.is_empty() {
            written.push(self.write_index(packs)?);
        }
        Ok(written)
    }

    /// Writes one index file.
    pub(crate) fn write_index(&self, packs: Vec<StoredPack>) -> Result<Id, VaultError> {
        let stored = StoredIndex {
            packs,
            ..StoredIndex::default()
        };
        unpacked::save(&*self.store, &self.key, FileKind::Index, &stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BackupOptions, BlobKind, Password, SnapshotDraft, store::MemoryStore};

    /// A vault of one point, in which two blobs of a pack are listed at each other's places.
    fn wrongly_listed() -> (Vault, Id) {
        let store = Arc::new(MemoryStore::new());
        let vault = Vault::create(store, &Password::new("x")).unwrap();
        // One worker fills one pack; two may fill one each.
        let options = BackupOptions {
            threads: Some(1),
            ..BackupOptions::default()
        };
        let backup = vault.start_backup(options).unwrap();
        for name in ["a", "b"] {
            let path = crate::TreePath::new(name).unwrap();
            let node = crate::Node::default();
            let mut file = backup.file_writer(path, node, crate::Chunking::ContentDefined);
            std::io::Write::write_all(&mut file, name.repeat(5000).as_bytes()).unwrap();
            file.finish().unwrap();
        }
        let point = backup.finish(SnapshotDraft::default()).unwrap();
        let mut packs = vault.load_index().unwrap().by_pack();
        let pack = packs.iter_mut().find(|(_, blobs)| blobs.len() == 2);
        let blobs = &mut pack.unwrap().1;
        let (a, b) = (blobs[0].id, blobs[1].id);
        (blobs[0].id, blobs[1].id) = (b, a);
        for id in vault.list_ids(FileKind::Index).unwrap() {
            let object = ObjectKey::of(FileKind::Index, &id);
            vault.store.delete(&object).unwrap();
        }
        let stored = packs.iter().map(|(id, blobs)| StoredPack::new(*id, blobs));
        vault.write_index(stored.collect()).unwrap();
        (vault, point.stored.tree)
    }

    #[test]
    fn an_index_that_names_wrong_places_is_replaced() {
        let (vault, root) = wrongly_listed();
        let index = vault.load_index().unwrap();
        let tree = vault.read_tree(&index, &root).unwrap();
        let first = tree.nodes[0].content.as_ref().unwrap()[0];
        vault.read_blob(&index, BlobKind::Data, &first).unwrap_err();
        let report = vault.rebuild_index(&Arc::default()).unwrap();
        assert_eq!(report.plan.packs_listed_wrongly.len(), 1);
        assert_eq!((report.removed.len(), report.written.len()), (1, 1));
        let index = vault.load_index().unwrap();
        let content = vault.read_blob(&index, BlobKind::Data, &first).unwrap();
        assert_eq!(content, b"a".repeat(5000));
    }
}
