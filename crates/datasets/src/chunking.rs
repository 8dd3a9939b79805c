//! How long the chunks of database files are.

/// Chunks of a cluster of ordinary size. Short chunks pay when few pages change: with 1 % of the
/// pages changed at random, 8 % of chunks of 64 KiB are stored again, and 72 % of 1 MiB.
const SHORTEST: u32 = 64 << 10;
const LONGEST: u32 = 1 << 20;
/// A cluster shall not have many more chunks than this, because each costs memory in the index and
/// room in the tree.
const MOST_CHUNKS: u64 = 1 << 20;

/// Bytes of a chunk of relation files of a cluster of this size: a power of two from 64 KiB to
/// 1 MiB. The previous length is kept while it is at most one step off, because another length
/// means that everything is stored once more.
pub fn page_chunk_bytes(cluster_bytes: u64, previous: Option<u32>) -> u32 {
    let wanted = u32::try_from(cluster_bytes.div_ceil(MOST_CHUNKS))
        .ok()
        .and_then(u32::checked_next_power_of_two)
        .map_or(LONGEST, |bytes| bytes.clamp(SHORTEST, LONGEST));
    match previous {
        Some(previous)
            if previous.is_power_of_two()
                && (SHORTEST..=LONGEST).contains(&previous)
                && wanted <= previous * 2
                && previous <= wanted * 2 =>
        {
            previous
        }
        _ => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_clusters_get_longer_chunks_within_bounds() {
        assert_eq!(page_chunk_bytes(0, None), 64 << 10);
        assert_eq!(page_chunk_bytes(64 << 30, None), 64 << 10);
        assert_eq!(page_chunk_bytes(100 << 30, None), 128 << 10);
        assert_eq!(page_chunk_bytes(1 << 40, None), 1 << 20);
        assert_eq!(page_chunk_bytes(1 << 50, None), 1 << 20);
    }

    #[test]
    fn growth_over_a_step_keeps_the_old_length() {
        assert_eq!(page_chunk_bytes(65 << 30, Some(64 << 10)), 64 << 10);
        assert_eq!(page_chunk_bytes(300 << 30, Some(64 << 10)), 512 << 10);
        assert_eq!(page_chunk_bytes(1 << 30, Some(12345)), 64 << 10);
    }
}
