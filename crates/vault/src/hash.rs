//! Hashing many chunks.

use crate::id::Id;

/// The ids of chunks, in order.
pub(crate) fn ids_of<'a>(chunks: impl Iterator<Item = &'a [u8]>, ids: &mut Vec<Id>) {
    ids.clear();
    ids.extend(chunks.map(Id::of));
}
