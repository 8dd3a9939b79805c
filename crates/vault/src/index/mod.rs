//! The index: which blob lies where.
//!
//! In memory a blob costs 46 bytes: an entry of one sorted table, searched by interpolation, because ids are uniform. What
//! is added meanwhile is merged into it now and then.

mod entry;
mod stored;
mod table;

use std::{
    collections::{HashMap, HashSet},
    sync::RwLock,
};

use entry::Entry;
pub(crate) use stored::{StoredIndex, StoredPack};
use table::{RECENT_MOST, Table, find_sorted};

use crate::{
    blob::BlobKind,
    id::Id,
    pack::{self, PackedBlob},
};

/// Where a blob lies: the pack and the place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: Id,
    /// The place.
    pub blob: PackedBlob,
}

/// All blobs of a vault; readers and one kind of writer at a time.
#[derive(Default)]
pub struct Index {
    inner: RwLock<Table>,
}

impl Index {
    /// Whether this blob is stored, to stay: a writer may count on it.
    #[must_use]
    pub fn contains(&self, kind: BlobKind, id: &Id) -> bool {
        self.read().find(kind, id).is_some()
    }

    /// Where this blob lies; if nowhere else, in a pack that is on its way out.
    #[must_use]
    pub fn find(&self, kind: BlobKind, id: &Id) -> Option<Location> {
        let inner = self.read();
        let leaving = || find_sorted(&inner.leaving, kind, *id).next();
        let entry = inner.find(kind, id).or_else(leaving)?;
        let pack = *inner.packs.get(entry.pack() as usize)?;
        Some(Location {
            pack,
            blob: entry.blob(&inner.long),
        })
    }

    /// All places where this blob lies, in no order: two after an interrupted prune, or where it was stored anew because
    /// one is damaged.
    #[must_use]
    pub fn find_all(&self, kind: BlobKind, id: &Id) -> Vec<Location> {
        let inner = self.read();
        let location = |entry: &Entry| {
            let pack = *inner.packs.get(entry.pack() as usize)?;
            let blob = entry.blob(&inner.long);
            Some(Location { pack, blob })
        };
        let leaving = find_sorted(&inner.leaving, kind, *id);
        let all = inner.find_all(kind, id).chain(leaving);
        all.filter_map(location).collect()
    }

    /// What is said to lie in these packs, ordered by place; a pack of which nothing is said is left out. Looks through
    /// the whole index once.
    pub(crate) fn blobs_in(&self, packs: &HashSet<Id>) -> HashMap<Id, Vec<PackedBlob>> {
        let inner = self.read();
        let mut found: HashMap<Id, Vec<PackedBlob>> = HashMap::new();
        let only_leaving = |entry: &&Entry| inner.find(entry.kind(), &entry.id).is_none();
        let leaving = inner.leaving.iter().filter(only_leaving);
        for entry in inner
            .sorted
            .iter()
            .chain(inner.recent.values())
            .chain(leaving)
        {
            if let Some(pack) = inner.packs.get(entry.pack() as usize)
                && packs.contains(pack)
            {
                found
                    .entry(*pack)
                    .or_default()
                    .push(entry.blob(&inner.long));
            }
        }
        for blobs in found.values_mut() {
            blobs.sort_by_key(|blob| blob.offset);
        }
        found
    }

    /// The ids of all trees, each once, in no order.
    pub(crate) fn trees(&self) -> HashSet<Id> {
        let inner = self.read();
        let entries = inner.sorted.iter().chain(inner.recent.values());
        let trees = entries.filter(|entry| entry.kind() == BlobKind::Tree);
        trees.map(|entry| entry.id).collect()
    }

    /// How long each pack is at least, if it holds what is said of it.
    pub(crate) fn least_pack_bytes(&self) -> Vec<(Id, u64)> {
        let inner = self.read();
        let mut packs: Vec<Option<pack::LeastBytes>> = vec![None; inner.packs.len()];
        for entry in inner.sorted.iter().chain(inner.recent.values()) {
            if let Some(pack) = packs.get_mut(entry.pack() as usize) {
                pack.get_or_insert_default().add(&entry.blob(&inner.long));
            }
        }
        let named = inner.packs.iter().zip(packs);
        named
            .filter_map(|(id, least)| Some((*id, least?.bytes())))
            .collect()
    }

    /// Takes in the blobs of a pack that the store has acknowledged.
    pub fn add_pack(&self, pack: Id, blobs: &[PackedBlob]) {
        let mut inner = self.write();
        let number = inner.pack_number(pack);
        let Table { recent, long, .. } = &mut *inner;
        for blob in blobs {
            recent.insert((blob.id, blob.kind), Entry::new(number, blob, long));
        }
        if inner.recent.len() > RECENT_MOST.max(inner.sorted.len() / 4) {
            inner.sort_recent();
        }
    }

    /// Takes in many packs, as when a vault is opened. Nothing is found before [`Index::sort`].
    pub(crate) fn add_unsorted(&self, packs: &[StoredPack]) {
        let mut inner = self.write();
        for pack in packs {
            let number = inner.pack_number(pack.id);
            let Table { sorted, long, .. } = &mut *inner;
            let blobs = pack.blobs.iter();
            sorted.extend(blobs.map(|blob| Entry::new(number, &blob.packed(), long)));
        }
    }

    /// Makes findable what was added without order.
    pub(crate) fn sort(&self) {
        self.write().sort();
    }

    /// The packs that the index has heard of.
    pub(crate) fn packs(&self) -> Vec<Id> {
        self.read().packs.clone()
    }

    /// Takes in packs that are on their way out.
    pub(crate) fn add_leaving(&self, packs: &[StoredPack]) {
        if packs.is_empty() {
            return;
        }
        let mut inner = self.write();
        for pack in packs {
            let number = inner.pack_number(pack.id);
            let Table { leaving, long, .. } = &mut *inner;
            let blobs = pack.blobs.iter();
            leaving.extend(blobs.map(|blob| Entry::new(number, &blob.packed(), long)));
        }
        // What two index files say alike stands once: whoever opens blobs in place would open it twice.
        let place = |entry: &Entry| (entry.id, entry.flags(), entry.offset(), entry.length);
        inner.leaving.sort_unstable_by_key(place);
        inner.leaving.dedup_by(|a, b| place(a) == place(b));
    }

    /// The packs that are on their way out, with what only they have, ordered by place.
    pub(crate) fn leaving_by_pack(&self) -> Vec<(Id, Vec<PackedBlob>)> {
        let inner = self.read();
        let mut packs: HashMap<Id, Vec<PackedBlob>> = HashMap::new();
        for entry in &inner.leaving {
            let Some(pack) = inner.packs.get(entry.pack() as usize) else {
                continue;
            };
            let only_here = inner.find(entry.kind(), &entry.id).is_none();
            let blobs = packs.entry(*pack).or_default();
            blobs.extend(only_here.then(|| entry.blob(&inner.long)));
        }
        let mut packs: Vec<_> = packs.into_iter().collect();
        packs.sort_unstable_by_key(|(id, _)| *id);
        for (_, blobs) in &mut packs {
            blobs.sort_by_key(|blob| blob.offset);
        }
        packs
    }

    /// Drops what is said to lie in these packs.
    pub(crate) fn forget_packs(&self, packs: &HashSet<Id>) {
        let mut inner = self.write();
        let gone: HashSet<u32> = packs
            .iter()
            .filter_map(|id| inner.pack_numbers.get(id).copied())
            .collect();
        let stays = |entry: &Entry| !gone.contains(&entry.pack());
        inner.sorted.retain(stays);
        inner.recent.retain(|_, entry| stays(entry));
        inner.leaving.retain(stays);
    }

    /// How many blobs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let inner = self.read();
        inner.sorted.len() + inner.recent.len()
    }

    /// Bytes of all blobs before compression; one that lies in two places counts twice.
    pub(crate) fn plain_bytes(&self) -> u64 {
        let inner = self.read();
        let entries = inner.sorted.iter().chain(inner.recent.values());
        entries
            .map(|entry| u64::from(entry.lengths(&inner.long).1))
            .sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every pack with the blobs that the index says are in it, ordered by place.
    #[must_use]
    pub fn by_pack(&self) -> Vec<(Id, Vec<PackedBlob>)> {
        let inner = self.read();
        let mut packs: Vec<(Id, Vec<PackedBlob>)> =
            inner.packs.iter().map(|id| (*id, Vec::new())).collect();
        for entry in inner.sorted.iter().chain(inner.recent.values()) {
            if let Some((_, blobs)) = packs.get_mut(entry.pack() as usize) {
                blobs.push(entry.blob(&inner.long));
            }
        }
        packs.retain(|(_, blobs)| !blobs.is_empty());
        for (_, blobs) in &mut packs {
            blobs.sort_by_key(|blob| blob.offset);
        }
        packs
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.inner
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.inner
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{entry::LONG, *};

    fn blob(number: u32, kind: BlobKind) -> PackedBlob {
        let id = Id::of(&number.to_le_bytes());
        PackedBlob {
            id,
            kind,
            offset: number,
            length: 100,
            uncompressed_length: Some(number + 1),
        }
    }

    #[test]
    fn every_blob_is_found_and_no_other() {
        let index = Index::default();
        let old: Vec<_> = (0..5000).map(|n| blob(n, BlobKind::Data)).collect();
        index.add_unsorted(&[StoredPack::new(Id::of(b"old"), &old)]);
        index.sort();
        let new: Vec<_> = (5000..6000).map(|n| blob(n, BlobKind::Data)).collect();
        index.add_pack(Id::of(b"new"), &new);
        for n in 0..6000 {
            let found = index
                .find(BlobKind::Data, &Id::of(&u32::to_le_bytes(n)))
                .unwrap();
            assert_eq!(found.blob, blob(n, BlobKind::Data));
            let pack: &[u8] = if n < 5000 { b"old" } else { b"new" };
            assert_eq!(found.pack, Id::of(pack));
        }
        for n in 6000..12000 {
            assert!(!index.contains(BlobKind::Data, &Id::of(&u32::to_le_bytes(n))));
        }
        assert_eq!(index.len(), 6000);
    }

    #[test]
    fn data_and_tree_of_one_id_are_two_blobs() {
        let index = Index::default();
        let pack = StoredPack::new(Id::of(b"p"), &[blob(1, BlobKind::Data)]);
        index.add_unsorted(&[pack]);
        index.sort();
        let id = Id::of(&1_u32.to_le_bytes());
        assert!(!index.contains(BlobKind::Tree, &id));
        index.add_pack(Id::of(b"q"), &[blob(1, BlobKind::Tree)]);
        assert!(index.contains(BlobKind::Tree, &id) && index.contains(BlobKind::Data, &id));
    }

    #[test]
    fn what_two_index_files_say_alike_counts_once() {
        let index = Index::default();
        let blobs = [blob(1, BlobKind::Data), blob(2, BlobKind::Tree)];
        for _ in 0..2 {
            index.add_unsorted(&[StoredPack::new(Id::of(b"p"), &blobs)]);
        }
        index.sort();
        let least = vec![(Id::of(b"p"), pack::least_bytes(&blobs))];
        assert_eq!(index.least_pack_bytes(), least);
        assert_eq!((index.len(), index.by_pack()[0].1.len()), (2, 2));
    }

    #[test]
    fn every_place_of_a_blob_is_found() {
        let index = Index::default();
        let (one, other) = (blob(1, BlobKind::Data), blob(2, BlobKind::Data));
        let packs = [b"p", b"q"].map(|pack| StoredPack::new(Id::of(pack), &[one, other]));
        index.add_unsorted(&packs);
        index.sort();
        index.add_pack(Id::of(b"r"), &[one]);
        let packs = |blob: &PackedBlob| {
            let places = index.find_all(BlobKind::Data, &blob.id);
            places.iter().map(|at| at.pack).collect::<HashSet<_>>()
        };
        assert_eq!(packs(&one), [b"p", b"q", b"r"].map(|p| Id::of(p)).into());
        assert_eq!(packs(&other), [b"p", b"q"].map(|p| Id::of(p)).into());
        let inside = index.blobs_in(&[Id::of(b"q"), Id::of(b"r"), Id::of(b"s")].into());
        assert_eq!(inside[&Id::of(b"q")], [one, other]);
        assert_eq!(inside[&Id::of(b"r")], [one]);
        assert_eq!(inside.len(), 2);
    }

    #[test]
    fn merging_keeps_every_blob() {
        let index = Index::default();
        for batch in 0..150_u32 {
            let blobs: Vec<_> = (batch * 1000..(batch + 1) * 1000)
                .map(|n| blob(n, BlobKind::Data))
                .collect();
            index.add_pack(Id::of(&batch.to_le_bytes()), &blobs);
        }
        assert_eq!(index.len(), 150_000);
        assert!(
            (0..150_000_u32).all(|n| index.contains(BlobKind::Data, &Id::of(&n.to_le_bytes())))
        );
    }

    #[test]
    fn what_is_on_its_way_out_is_found_and_not_counted_on() {
        let index = Index::default();
        let (old, new) = (blob(1, BlobKind::Data), blob(2, BlobKind::Data));
        index.add_leaving(&[StoredPack::new(Id::of(b"out"), &[old, new])]);
        index.add_leaving(&[StoredPack::new(Id::of(b"out"), &[old, new])]);
        index.add_pack(Id::of(b"in"), &[new]);
        assert!(!index.contains(old.kind, &old.id) && index.contains(new.kind, &new.id));
        let pack = |blob: &PackedBlob| index.find(blob.kind, &blob.id).unwrap().pack;
        assert_eq!((pack(&old), pack(&new)), (Id::of(b"out"), Id::of(b"in")));
        assert_eq!(index.leaving_by_pack(), [(Id::of(b"out"), vec![old])]);
        index.forget_packs(&[Id::of(b"out")].into());
        assert!(index.find(old.kind, &old.id).is_none());
    }

    #[test]
    fn lengths_beyond_three_bytes_are_kept() {
        let index = Index::default();
        let lengths = [LONG - 1, LONG, LONG + 1, u32::MAX];
        let blobs: Vec<_> = (0..)
            .zip(lengths)
            .map(|(n, length)| long_blob(n, length))
            .collect();
        index.add_unsorted(&[StoredPack::new(Id::of(b"p"), &blobs)]);
        index.sort();
        index.add_pack(Id::of(b"q"), &blobs[..1]);
        for blob in &blobs {
            let all = index.find_all(blob.kind, &blob.id);
            assert!(
                !all.is_empty() && all.iter().all(|at| at.blob == *blob),
                "{all:?}"
            );
        }
        let plain = lengths.map(|length| u64::from(length / 2 + 9));
        let twice = plain[0];
        assert_eq!(index.plain_bytes(), plain.iter().sum::<u64>() + twice);
    }

    fn long_blob(number: u32, length: u32) -> PackedBlob {
        let plain = length / 2 + 9;
        PackedBlob {
            length,
            uncompressed_length: Some(plain),
            ..blob(number, BlobKind::Data)
        }
    }
}
