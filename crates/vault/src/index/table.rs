//! The table of all blobs, and how one is found in it.

use std::collections::HashMap;

use super::entry::{Entry, LongBlobs};
use crate::{blob::BlobKind, id::Id};

/// Recent blobs cost about 100 bytes each, so they are merged into the table now and then.
pub(super) const RECENT_MOST: usize = 1 << 16;

#[derive(Default)]
pub(super) struct Table {
    pub packs: Vec<Id>,
    pub pack_numbers: HashMap<Id, u32>,
    pub sorted: Vec<Entry>,
    /// Blobs added since the last sort.
    pub recent: HashMap<(Id, BlobKind), Entry>,
    /// What lies in packs that are on their way out: readers find it, writers do not count on it.
    pub leaving: Vec<Entry>,
    /// The lengths that entries have no room for.
    pub long: LongBlobs,
}

impl Table {
    pub fn pack_number(&mut self, pack: Id) -> u32 {
        let next = self.packs.len() as u32;
        let number = *self.pack_numbers.entry(pack).or_insert(next);
        if number == next {
            self.packs.push(pack);
        }
        number
    }

    pub fn find(&self, kind: BlobKind, id: &Id) -> Option<&Entry> {
        self.find_all(kind, id).next()
    }

    pub fn find_all(&self, kind: BlobKind, id: &Id) -> impl Iterator<Item = &Entry> {
        let recent = self.recent.get(&(*id, kind));
        recent
            .into_iter()
            .chain(find_sorted(&self.sorted, kind, *id))
    }

    /// Sorts by id. What two index files say alike stands once: a pack would look shorter than what is listed in it.
    pub fn sort(&mut self) {
        let place = |entry: &Entry| (entry.flags(), entry.offset(), entry.length);
        self.sorted
            .sort_unstable_by(|a, b| a.id.cmp(&b.id).then_with(|| place(a).cmp(&place(b))));
        self.sorted
            .dedup_by(|a, b| a.id == b.id && place(a) == place(b));
    }

    pub fn sort_recent(&mut self) {
        self.sorted
            .extend(self.recent.drain().map(|(_, entry)| entry));
        self.sort();
    }
}

pub(super) fn find_sorted(
    sorted: &[Entry],
    kind: BlobKind,
    id: Id,
) -> impl Iterator<Item = &Entry> {
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
