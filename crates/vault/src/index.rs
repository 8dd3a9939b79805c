//! The index: which blob lies where.
//!
//! In memory a blob costs 46 bytes: an entry of one sorted table, searched by interpolation, because ids are uniform. What
//! is added meanwhile is merged into it now and then.

use std::{
    collections::{HashMap, HashSet},
    sync::RwLock,
};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

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
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    packs: Vec<Id>,
    pack_numbers: HashMap<Id, u32>,
    sorted: Vec<Entry>,
    /// Blobs added since the last sort.
    recent: HashMap<(Id, BlobKind), Entry>,
    /// What lies in packs that are on their way out: readers find it, writers do not count on it.
    leaving: Vec<Entry>,
    /// The lengths that entries have no room for.
    long: LongBlobs,
}

/// One blob, in as few bytes as hold it: there are millions of them. The two highest bits of `pack` tell the kind and whether
/// it is compressed. Lengths take three bytes; one that needs more is in [`Inner::long`].
#[derive(Clone, Copy)]
struct Entry {
    id: Id,
    pack: [u8; 4],
    offset: [u8; 4],
    length: [u8; 3],
    plain_length: [u8; 3],
}

const _: () = assert!(size_of::<Entry>() == 46);
const TREE: u32 = 1 << 31;
const COMPRESSED: u32 = 1 << 30;
const PACK_NUMBER: u32 = COMPRESSED - 1;

/// Stands for a length of 16 MiB and more. No tool makes such blobs (restic's chunks end at 8 MiB), but the format allows
/// them.
const LONG: u32 = (1 << 24) - 1;

/// The lengths of the blobs that are too long for their entries: by pack and offset, stored and plain.
type LongBlobs = HashMap<(u32, u32), (u32, u32)>;

impl Entry {
    fn new(pack: u32, blob: &PackedBlob, long: &mut LongBlobs) -> Self {
        let tree = if blob.kind == BlobKind::Tree { TREE } else { 0 };
        let compressed = if blob.uncompressed_length.is_some() {
            COMPRESSED
        } else {
            0
        };
        let (length, plain_length) = (blob.length, blob.plain_length());
        if length >= LONG || plain_length >= LONG {
            long.insert((pack, blob.offset), (length, plain_length));
        }
        Self {
            id: blob.id,
            pack: (pack | tree | compressed).to_le_bytes(),
            offset: blob.offset.to_le_bytes(),
            length: short(length),
            plain_length: short(plain_length),
        }
    }

    const fn flags(&self) -> u32 {
        u32::from_le_bytes(self.pack)
    }

    const fn pack(&self) -> u32 {
        self.flags() & PACK_NUMBER
    }

    const fn offset(&self) -> u32 {
        u32::from_le_bytes(self.offset)
    }

    const fn kind(&self) -> BlobKind {
        if self.flags() & TREE != 0 {
            BlobKind::Tree
        } else {
            BlobKind::Data
        }
    }

    /// Stored and plain.
    fn lengths(&self, long: &LongBlobs) -> (u32, u32) {
        let (length, plain) = (widen(self.length), widen(self.plain_length));
        if length < LONG && plain < LONG {
            return (length, plain);
        }
        let known = long.get(&(self.pack(), self.offset())).copied();
        known.unwrap_or((length, plain))
    }

    fn blob(&self, long: &LongBlobs) -> PackedBlob {
        let (length, plain_length) = self.lengths(long);
        PackedBlob {
            id: self.id,
            kind: self.kind(),
            offset: self.offset(),
            length,
            uncompressed_length: (self.flags() & COMPRESSED != 0).then_some(plain_length),
        }
    }
}

const fn short(length: u32) -> [u8; 3] {
    let length = if length < LONG { length } else { LONG };
    let [low, middle, high, _] = length.to_le_bytes();
    [low, middle, high]
}

const fn widen([low, middle, high]: [u8; 3]) -> u32 {
    u32::from_le_bytes([low, middle, high, 0])
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
        let Inner { recent, long, .. } = &mut *inner;
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
            let Inner { sorted, long, .. } = &mut *inner;
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
            let Inner { leaving, long, .. } = &mut *inner;
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

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.inner
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inner> {
        self.inner
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Recent blobs cost about 100 bytes each, so they are merged into the table now and then.
const RECENT_MOST: usize = 1 << 16;

impl Inner {
    fn pack_number(&mut self, pack: Id) -> u32 {
        let next = self.packs.len() as u32;
        let number = *self.pack_numbers.entry(pack).or_insert(next);
        if number == next {
            self.packs.push(pack);
        }
        number
    }

    fn find(&self, kind: BlobKind, id: &Id) -> Option<&Entry> {
        self.find_all(kind, id).next()
    }

    fn find_all(&self, kind: BlobKind, id: &Id) -> impl Iterator<Item = &Entry> {
        let recent = self.recent.get(&(*id, kind));
        recent
            .into_iter()
            .chain(find_sorted(&self.sorted, kind, *id))
    }

    /// Sorts by id. What two index files say alike stands once: a pack would look shorter than what is listed in it.
    fn sort(&mut self) {
        let place = |entry: &Entry| (entry.flags(), entry.offset(), entry.length);
        self.sorted
            .sort_unstable_by(|a, b| a.id.cmp(&b.id).then_with(|| place(a).cmp(&place(b))));
        self.sorted
            .dedup_by(|a, b| a.id == b.id && place(a) == place(b));
    }

    fn sort_recent(&mut self) {
        self.sorted
            .extend(self.recent.drain().map(|(_, entry)| entry));
        self.sort();
    }
}

fn find_sorted(sorted: &[Entry], kind: BlobKind, id: Id) -> impl Iterator<Item = &Entry> {
    let near = move || {
        let near = interpolate(sorted, &id)?;
        // A blob may be there as data and as tree, and twice after an interrupted prune.
        let same = move |entry: &&Entry| entry.id == id;
        let after = sorted[near..].iter().take_while(same);
        let before = sorted[..near].iter().rev().take_while(same);
        let all = after.chain(before);
        Some(all.filter(move |entry| entry.kind() == kind))
    };
    std::iter::once_with(near).flatten().flatten()
}

/// A position of `id` in a sorted table: ids are hashes, so the first guess is nearly right.
fn interpolate(sorted: &[Entry], id: &Id) -> Option<usize> {
    let (mut low, mut high) = (0, sorted.len());
    let wanted = prefix(id);
    let mut guesses = 0;
    while low < high {
        let (first, last) = (prefix(&sorted[low].id), prefix(&sorted[high - 1].id));
        if wanted < first || wanted > last {
            return None;
        }
        let span = u128::from(last - first) + 1;
        let share = u128::from(wanted - first) * (high - low) as u128 / span;
        // Someone may have chosen ids to defeat the guess, so after a few it is plain bisection.
        let middle = if guesses < 8 {
            low + share as usize
        } else {
            low + (high - low) / 2
        };
        guesses += 1;
        match sorted[middle].id.cmp(id) {
            std::cmp::Ordering::Equal => return Some(middle),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

fn prefix(id: &Id) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.as_bytes()[..8]);
    u64::from_be_bytes(first)
}

/// An index file. Source: restic's design document, "Indexing"; of packs on their way out, the type
/// `IndexFile` of `rustic_core`. Stock restic passes over fields that it does not know.
#[derive(Serialize, Deserialize, Default)]
pub(crate) struct StoredIndex {
    /// Index files this one replaces; they may still lie there, and say the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<Id>,
    pub packs: Vec<StoredPack>,
    /// Packs on their way out. One that is among `packs`, of this file or another, is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs_to_delete: Vec<StoredPack>,
}

#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct StoredPack {
    pub id: Id,
    pub blobs: Vec<StoredBlob>,
    /// Of a pack on its way out: since when. Text, because a time that somebody else writes
    /// otherwise must not make the index unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// Length of the pack, where its blobs do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct StoredBlob {
    id: Id,
    #[serde(rename = "type")]
    kind: StoredKind,
    offset: u32,
    length: u32,
    #[serde(
        default,
        skip_serializing_if = "is_zero",
        deserialize_with = "null_is_zero"
    )]
    uncompressed_length: u32,
}

/// Of a blob that is not compressed rustic says `null`, where restic says nothing.
fn null_is_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum StoredKind {
    Data,
    Tree,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl StoredPack {
    pub fn new(id: Id, blobs: &[PackedBlob]) -> Self {
        let stored = |blob: &PackedBlob| StoredBlob {
            id: blob.id,
            kind: match blob.kind {
                BlobKind::Data => StoredKind::Data,
                BlobKind::Tree => StoredKind::Tree,
            },
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.uncompressed_length.unwrap_or(0),
        };
        Self {
            id,
            blobs: blobs.iter().map(stored).collect(),
            time: None,
            size: None,
        }
    }

    /// Since when it is on its way out, if that can be read.
    pub fn time(&self) -> Option<Timestamp> {
        self.time.as_ref()?.parse().ok()
    }

    /// The same pack, on its way out since `time`.
    pub fn leaving(mut self, time: Timestamp) -> Self {
        self.time = Some(time.to_string());
        self
    }

    /// The same pack, back for good.
    pub fn staying(mut self) -> Self {
        self.time = None;
        self
    }

    /// The same pack, with its length.
    pub fn sized(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }
}

impl StoredIndex {
    /// All packs it names, and whether each is on its way out.
    pub fn named_packs(&self) -> impl Iterator<Item = (&StoredPack, bool)> {
        let staying = self.packs.iter().map(|pack| (pack, false));
        staying.chain(self.packs_to_delete.iter().map(|pack| (pack, true)))
    }
}

impl StoredIndex {
    /// How many packs it names, those on their way out among them.
    pub fn pack_count(&self) -> usize {
        self.named_packs().count()
    }

    /// Takes these packs out.
    pub fn forget(&mut self, packs: &HashSet<Id>) {
        let stays = |pack: &StoredPack| !packs.contains(&pack.id);
        self.packs.retain(stays);
        self.packs_to_delete.retain(stays);
    }
}

impl StoredBlob {
    pub fn packed(&self) -> PackedBlob {
        PackedBlob {
            id: self.id,
            kind: match self.kind {
                StoredKind::Data => BlobKind::Data,
                StoredKind::Tree => BlobKind::Tree,
            },
            offset: self.offset,
            length: self.length,
            uncompressed_length: (self.uncompressed_length != 0)
                .then_some(self.uncompressed_length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_blob_that_rustic_lists_without_compression_is_read() {
        let id = Id::of(b"x");
        let blob = |length: &str| {
            let text = format!(
                r#"{{"packs":[{{"id":"{id}","blobs":[{{"id":"{id}","type":"data","offset":0,"length":40{length}}}]}}]}}"#
            );
            let stored: StoredIndex = serde_json::from_str(&text).unwrap();
            stored.packs[0].blobs[0].packed().uncompressed_length
        };
        assert_eq!(blob(""), None);
        assert_eq!(blob(r#","uncompressed_length":null"#), None);
        assert_eq!(blob(r#","uncompressed_length":0"#), None);
        assert_eq!(blob(r#","uncompressed_length":9"#), Some(9));
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
    fn an_index_file_reads_as_rustic_writes_it() {
        let json = r#"{"packs":[],"packs_to_delete":[{"id":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "blobs":[],"time":"2026-11-21T08:30:00.5+01:00","size":4711}]}"#;
        let stored: StoredIndex = serde_json::from_str(json).unwrap();
        let time = stored.packs_to_delete[0].time().unwrap();
        assert_eq!(time.to_string(), "2026-11-21T07:30:00.5Z");
        assert!(serde_json::to_string(&stored).unwrap().contains("4711"));
        let odd: StoredIndex = serde_json::from_str(&json.replace("2026", "then")).unwrap();
        assert_eq!(odd.packs_to_delete[0].time(), None);
    }

    #[test]
    fn an_index_file_reads_as_restic_writes_it() {
        let json = r#"{"supersedes":[],"packs":[{"id":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "blobs":[{"id":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","type":"tree",
            "offset":0,"length":38},{"id":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "type":"data","offset":38,"length":112,"uncompressed_length":511}]}]}"#;
        let stored: StoredIndex = serde_json::from_str(json).unwrap();
        let blobs: Vec<_> = stored.packs[0]
            .blobs
            .iter()
            .map(StoredBlob::packed)
            .collect();
        assert_eq!(
            (blobs[0].kind, blobs[0].plain_length()),
            (BlobKind::Tree, 6)
        );
        assert_eq!(
            (blobs[1].kind, blobs[1].plain_length()),
            (BlobKind::Data, 511)
        );
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
