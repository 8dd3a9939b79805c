//! How far away a store is, and so how many requests are under way at once.

/// How far away a store is. What a disk does in microseconds takes a server tens of milliseconds
/// before the first byte, and one connection rarely fills the line: there the way to be fast is to
/// ask for much at once, as far as memory allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distance {
    /// A disk of this machine: a few requests keep it busy, more disturb each other.
    #[default]
    Near,
    /// A server behind a network.
    Far,
}

/// Bytes of packs that may be on their way to or from a far store, each whole in memory.
const FAR_PACK_BYTES: usize = 96 << 20;
/// A store that limits its clients begins to refuse beyond this.
const MOST_FAR_PACKS: usize = 8;
/// The local disk is busy with two.
const NEAR_UPLOADS: usize = 2;
/// Stretches of packs that are read from a far store at once; each has up to 8 MiB in memory, twice
/// while it arrives.
const FAR_STRETCHES: usize = 8;

impl Distance {
    /// How many packs of so many bytes may be on their way to the store.
    pub(crate) const fn uploads(self, pack_bytes: usize) -> usize {
        match self {
            Self::Near => NEAR_UPLOADS,
            Self::Far => far_packs(pack_bytes),
        }
    }

    /// How many threads read whole packs of at most so many bytes, where a near store has `near`.
    pub(crate) fn pack_readers(self, near: usize, pack_bytes: usize) -> usize {
        match self {
            Self::Near => near,
            Self::Far => near.max(far_packs(pack_bytes)),
        }
    }

    /// How many threads read stretches of packs, where a near store has `near`.
    pub(crate) fn stretch_readers(self, near: usize) -> usize {
        match self {
            Self::Near => near,
            Self::Far => near.max(FAR_STRETCHES),
        }
    }

    /// How many index files are fetched at once; each takes a few MiB.
    pub(crate) const fn index_files(self) -> usize {
        match self {
            Self::Near => 4,
            Self::Far => 16,
        }
    }

    /// How many listings of directories are read ahead, each as large as its directory.
    pub(crate) const fn listings_ahead(self) -> usize {
        match self {
            Self::Near => 1,
            Self::Far => 32,
        }
    }

    /// How many objects of at most so many bytes are written together.
    pub(crate) fn writes_together(self, largest_bytes: usize) -> usize {
        let fit = FAR_PACK_BYTES / largest_bytes.max(1);
        match self {
            Self::Near => self.small_requests(),
            Self::Far => fit.clamp(NEAR_UPLOADS, self.small_requests()),
        }
    }

    /// How many requests for small objects are under way: trees, snapshots, removals.
    pub(crate) const fn small_requests(self) -> usize {
        match self {
            Self::Near => 8,
            Self::Far => 32,
        }
    }
}

const fn far_packs(pack_bytes: usize) -> usize {
    let fit = FAR_PACK_BYTES / if pack_bytes == 0 { 1 } else { pack_bytes };
    if fit > MOST_FAR_PACKS {
        MOST_FAR_PACKS
    } else if fit < NEAR_UPLOADS {
        NEAR_UPLOADS
    } else {
        fit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_on_their_way_to_a_far_store_fit_into_memory() {
        for (pack_bytes, uploads) in [(1, 8), (4 << 20, 8), (16 << 20, 6), (128 << 20, 2)] {
            assert_eq!(Distance::Far.uploads(pack_bytes), uploads);
            assert_eq!(Distance::Near.uploads(pack_bytes), 2);
        }
        assert_eq!(Distance::Far.uploads(0), 8);
        for (largest, writes) in [(0, 32), (1000, 32), (16 << 20, 6), (1 << 30, 2)] {
            assert_eq!(Distance::Far.writes_together(largest), writes);
            assert_eq!(Distance::Near.writes_together(largest), 8);
        }
    }

    #[test]
    fn a_far_store_is_never_asked_for_less_at_once() {
        for near in [1, 4, 64] {
            assert!(Distance::Far.stretch_readers(near) >= near.max(8));
            assert!(Distance::Far.pack_readers(near, 16 << 20) >= near.max(6));
            assert_eq!(Distance::Near.stretch_readers(near), near);
            assert_eq!(Distance::Near.pack_readers(near, 1), near);
        }
    }
}
