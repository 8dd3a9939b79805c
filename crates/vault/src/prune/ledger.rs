//! The ledger of a prune: every entry of every index file, whether a recovery point uses it, and
//! which packs there are.
//!
//! An entry takes 48 bytes, and whether its blob is used is a bit in it, so that a vault of any
//! size is pruned in the room that opening it takes.

use std::{
    collections::HashMap,
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

use jiff::Timestamp;

use crate::{
    blob::BlobKind,
    id::Id,
    index::{StoredIndex, StoredPack},
    pack::{self, PackedBlob},
};

/// One place of a blob.
pub(crate) struct Entry {
    pub id: Id,
    /// Number of the pack; the three highest bits tell tree, compressed and used.
    place: AtomicU32,
    offset: u32,
    length: u32,
    plain_length: u32,
}

const _: () = assert!(size_of::<Entry>() == 48);
const TREE: u32 = 1 << 31;
const COMPRESSED: u32 = 1 << 30;
const USED: u32 = 1 << 29;
const PACK_NUMBER: u32 = USED - 1;

/// What is known of a pack.
#[derive(Debug)]
pub(crate) struct Pack {
    pub id: Id,
    /// Length of its file, if there is one.
    pub size: Option<u64>,
    /// How long the file is at least, by what the index says is in it.
    pub least_bytes: u64,
    /// Whether an index file lists it among `packs`.
    pub is_listed: bool,
    /// Whether an index file names it as on its way out, and the latest time said there.
    pub mark: Option<Option<Timestamp>>,
    /// Blobs that the index says are in it.
    pub blobs: u32,
}

impl Pack {
    /// Whether its file is there and not cut.
    pub fn is_there(&self) -> bool {
        self.size.is_some_and(|size| size >= self.least_bytes)
    }

    /// Whether it is there and counts, for readers and writers.
    pub fn is_live(&self) -> bool {
        self.is_listed && self.is_there()
    }

    /// Whether it is there and on its way out.
    pub fn is_leaving(&self) -> bool {
        !self.is_listed && self.mark.is_some() && self.is_there()
    }
}

/// An index file that was read.
pub(crate) struct IndexFile {
    pub id: Id,
    /// How many blobs it lists.
    pub blobs: usize,
}

/// That a file names a pack.
#[derive(Clone, Copy)]
pub(crate) struct Naming {
    pub file: u32,
    pub pack: u32,
    /// As on its way out.
    pub is_mark: bool,
}

/// Everything that index files say, and what of it is used.
#[derive(Default)]
pub(crate) struct Ledger {
    pub packs: Vec<Pack>,
    pub files: Vec<IndexFile>,
    pub namings: Vec<Naming>,
    numbers: HashMap<Id, u32>,
    entries: Vec<Entry>,
    /// Where the entries begin whose ids begin with the bits of the position.
    starts: Vec<u32>,
    /// By how many bits an id's first 64 bits are shifted to give a position in `starts`.
    shift: u32,
}

impl Entry {
    fn new(pack: u32, blob: &PackedBlob) -> Self {
        let tree = if blob.kind == BlobKind::Tree { TREE } else { 0 };
        let is_compressed = blob.uncompressed_length.is_some();
        let compressed = if is_compressed { COMPRESSED } else { 0 };
        Self {
            id: blob.id,
            place: AtomicU32::new(pack | tree | compressed),
            offset: blob.offset,
            length: blob.length,
            plain_length: blob.plain_length(),
        }
    }

    fn place(&self) -> u32 {
        self.place.load(Ordering::Relaxed)
    }

    pub fn pack(&self) -> u32 {
        self.place() & PACK_NUMBER
    }

    pub fn is_used(&self) -> bool {
        self.place() & USED != 0
    }

    pub fn kind(&self) -> BlobKind {
        if self.place() & TREE != 0 {
            BlobKind::Tree
        } else {
            BlobKind::Data
        }
    }

    /// Stored bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.length)
    }

    pub fn blob(&self) -> PackedBlob {
        PackedBlob {
            id: self.id,
            kind: self.kind(),
            offset: self.offset,
            length: self.length,
            uncompressed_length: (self.place() & COMPRESSED != 0).then_some(self.plain_length),
        }
    }

    fn is_same_blob(&self, other: &Self) -> bool {
        self.id == other.id && self.kind() == other.kind()
    }

    fn is_same_place(&self, other: &Self) -> bool {
        self.is_same_blob(other) && self.pack() == other.pack() && self.offset == other.offset
    }

    fn order(&self) -> (Id, bool, u32, u32) {
        let is_tree = self.kind() == BlobKind::Tree;
        (self.id, is_tree, self.pack(), self.offset)
    }
}

impl Ledger {
    /// Takes in an index file; nothing is found before [`Ledger::sort`].
    pub fn add_file(&mut self, id: Id, stored: &StoredIndex) {
        let file = self.files.len() as u32;
        let mut blobs = 0;
        for (pack, is_mark) in stored.named_packs() {
            let number = self.add_pack(pack, is_mark);
            self.namings.push(Naming {
                file,
                pack: number,
                is_mark,
            });
            blobs += pack.blobs.len();
        }
        self.files.push(IndexFile { id, blobs });
    }

    fn add_pack(&mut self, stored: &StoredPack, is_mark: bool) -> u32 {
        let number = self.number(stored.id);
        let blobs: Vec<_> = stored.blobs.iter().map(|blob| blob.packed()).collect();
        self.entries
            .extend(blobs.iter().map(|blob| Entry::new(number, blob)));
        let pack = &mut self.packs[number as usize];
        pack.least_bytes = pack.least_bytes.max(pack::least_bytes(&blobs));
        pack.blobs = pack.blobs.max(blobs.len() as u32);
        if is_mark {
            // The later of two: whoever counted on the pack in between has its full time.
            pack.mark = pack.mark.max(Some(stored.time()));
        } else {
            pack.is_listed = true;
        }
        number
    }

    fn number(&mut self, id: Id) -> u32 {
        let next = self.packs.len() as u32;
        let number = *self.numbers.entry(id).or_insert(next);
        if number == next {
            self.packs.push(Pack {
                id,
                size: None,
                least_bytes: 0,
                is_listed: false,
                mark: None,
                blobs: 0,
            });
        }
        number
    }

    /// The number of a pack that some index file names.
    pub fn number_of(&self, id: &Id) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    pub fn pack_of(&self, entry: &Entry) -> &Pack {
        &self.packs[entry.pack() as usize]
    }

    /// Makes findable what was added. What was used stays so, in all places.
    pub fn sort(&mut self) {
        self.entries.sort_unstable_by_key(Entry::order);
        let mut from = 0;
        while from < self.entries.len() {
            let run = self.run_at(from);
            from = run.end;
            if self.entries[run.clone()].iter().any(Entry::is_used) {
                self.entries[run].iter().for_each(|entry| {
                    entry.place.fetch_or(USED, Ordering::Relaxed);
                });
            }
        }
        // After two files have said the same of a pack.
        self.entries.dedup_by(|a, b| a.is_same_place(b));
        self.find_starts();
    }

    /// About eight entries share a beginning.
    fn find_starts(&mut self) {
        let bits = (usize::BITS - self.entries.len().leading_zeros())
            .saturating_sub(3)
            .clamp(1, 24);
        self.shift = u64::BITS - bits;
        self.starts = vec![0; (1 << bits) + 1];
        for entry in &self.entries {
            self.starts[beginning(&entry.id, self.shift) + 1] += 1;
        }
        for at in 1..self.starts.len() {
            self.starts[at] += self.starts[at - 1];
        }
    }

    /// All places of a blob.
    pub fn find(&self, kind: BlobKind, id: &Id) -> Range<usize> {
        let at = beginning(id, self.shift);
        let (Some(&start), Some(&end)) = (self.starts.get(at), self.starts.get(at + 1)) else {
            return 0..0;
        };
        let wanted = (*id, kind == BlobKind::Tree);
        let near = &self.entries[start as usize..end as usize];
        let is_before = |entry: &Entry| (entry.id, entry.kind() == BlobKind::Tree) < wanted;
        let first = start as usize + near.partition_point(is_before);
        let is_same = |entry: &&Entry| entry.id == *id && entry.kind() == kind;
        let count = self.entries[first..].iter().take_while(is_same).count();
        first..first + count
    }

    /// The entries of a place that [`Ledger::find`] gave.
    pub fn entries(&self, places: Range<usize>) -> &[Entry] {
        &self.entries[places]
    }

    /// All places of the blob whose first place this is.
    pub fn run_at(&self, first: usize) -> Range<usize> {
        let of_same = |entry: &&Entry| entry.is_same_blob(&self.entries[first]);
        first..first + self.entries[first..].iter().take_while(of_same).count()
    }

    /// Notes that a blob is used; whether that is new.
    pub fn mark_used(&self, places: Range<usize>) -> bool {
        let mut before = USED;
        // Backwards: whoever sees the first place as new is the one who marked it.
        for entry in self.entries[places].iter().rev() {
            before = entry.place.fetch_or(USED, Ordering::Relaxed);
        }
        before & USED == 0
    }

    /// Every blob with all its places.
    pub fn blobs(&self) -> impl Iterator<Item = &[Entry]> {
        self.entries.chunk_by(Entry::is_same_blob)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

fn beginning(id: &Id, shift: u32) -> usize {
    let mut first = [0; 8];
    first.copy_from_slice(&id.as_bytes()[..8]);
    (u64::from_be_bytes(first) >> shift) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(number: u32, kind: BlobKind) -> PackedBlob {
        PackedBlob {
            id: Id::of(&number.to_le_bytes()),
            kind,
            offset: number,
            length: 100,
            uncompressed_length: Some(number + 1),
        }
    }

    fn file(pack: &[u8], blobs: &[PackedBlob]) -> StoredIndex {
        StoredIndex {
            packs: vec![StoredPack::new(Id::of(pack), blobs)],
            ..StoredIndex::default()
        }
    }

    #[test]
    fn every_place_of_a_blob_is_found_and_no_other() {
        let mut ledger = Ledger::default();
        ledger.sort();
        assert!(ledger.find(BlobKind::Data, &Id::of(b"x")).is_empty());
        let blobs: Vec<_> = (0..3000).map(|n| blob(n, BlobKind::Data)).collect();
        ledger.add_file(Id::of(b"1"), &file(b"one", &blobs));
        ledger.add_file(Id::of(b"2"), &file(b"two", &blobs[..1000]));
        ledger.add_file(Id::of(b"3"), &file(b"two", &blobs[..1000]));
        ledger.add_file(Id::of(b"4"), &file(b"three", &[blob(5, BlobKind::Tree)]));
        ledger.sort();
        assert_eq!(ledger.len(), 4001);
        for n in 0..3000 {
            let places = ledger.find(BlobKind::Data, &Id::of(&u32::to_le_bytes(n)));
            assert_eq!(places.len(), if n < 1000 { 2 } else { 1 }, "{n}");
            for entry in ledger.entries(places) {
                assert_eq!(entry.blob(), blob(n, BlobKind::Data));
            }
        }
        let tree = ledger.find(BlobKind::Tree, &Id::of(&5_u32.to_le_bytes()));
        assert_eq!(tree.len(), 1);
        let none = Id::of(&3001_u32.to_le_bytes());
        assert!(ledger.find(BlobKind::Data, &none).is_empty());
    }

    #[test]
    fn what_is_used_stays_so_when_another_place_is_found() {
        let mut ledger = Ledger::default();
        let one = blob(1, BlobKind::Data);
        ledger.add_file(Id::of(b"1"), &file(b"one", &[one]));
        ledger.sort();
        let places = ledger.find(one.kind, &one.id);
        assert!(ledger.mark_used(places.clone()));
        assert!(!ledger.mark_used(places));
        for pack in 0..20_u8 {
            ledger.add_file(Id::of(&[pack, 1]), &file(&[pack], &[one]));
        }
        ledger.sort();
        let places = ledger.find(one.kind, &one.id);
        assert_eq!(places.len(), 21);
        assert!(ledger.entries(places.clone()).iter().all(Entry::is_used));
        assert!(!ledger.mark_used(places));
    }
}
