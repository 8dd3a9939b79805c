//! Finds what snapshots need and the other vault lacks.

use std::collections::HashSet;

use super::{BadBlobs, CopyToError, piece::Piece};
use crate::{blob::BlobKind, error::VaultError, id::Id, index::Index, tree::Tree, vault::Vault};

/// So many directories are read at once: over a network each costs a round trip.
const TREES_AT_ONCE: usize = 32;

/// Walks the directories of snapshots, each once.
pub(super) struct Walk<'a> {
    source: &'a Vault,
    index: &'a Index,
    known: &'a Index,
    visited: HashSet<Id>,
}

/// Why a walk ended: whoever takes the pieces failed, or the source did.
pub(super) enum Ended {
    Taker(CopyToError),
    Source(VaultError),
}

impl Ended {
    pub fn unwrap_or_else(self, source: impl Fn(VaultError) -> CopyToError) -> CopyToError {
        match self {
            Self::Taker(error) => error,
            Self::Source(error) => source(error),
        }
    }
}

/// Takes a blob that the other vault lacks.
pub(super) type Take<'a> = dyn FnMut(Piece) -> Result<(), CopyToError> + 'a;

impl<'a> Walk<'a> {
    pub fn new(source: &'a Vault, index: &'a Index, known: &'a Index) -> Self {
        Self {
            source,
            index,
            known,
            visited: HashSet::new(),
        }
    }

    /// Gives every blob at and below a tree that the other vault lacks to `take`, some perhaps more
    /// than once. What the source cannot give is noted in `bad`.
    ///
    /// A tree that the other vault has says nothing of what is below it: a copy may have ended
    /// between the two.
    pub fn collect(
        &mut self,
        root: Id,
        bad: &mut BadBlobs,
        take: &mut Take<'_>,
    ) -> Result<(), Ended> {
        let mut waiting = Vec::new();
        self.visit(root, &mut waiting);
        while !waiting.is_empty() {
            let some = waiting.split_off(waiting.len().saturating_sub(TREES_AT_ONCE));
            let trees = self.source.read_trees(self.index, &some);
            for (id, tree) in some.iter().zip(trees) {
                match tree {
                    Ok(tree) => {
                        self.want(BlobKind::Tree, *id, bad, take)?;
                        self.collect_entries(&tree, &mut waiting, bad, take)?;
                    }
                    Err(error) if error.is_damage_or_missing() => {
                        bad.insert((BlobKind::Tree, *id), error.in_full());
                    }
                    Err(error) => return Err(Ended::Source(error)),
                }
            }
        }
        Ok(())
    }

    fn visit(&mut self, tree: Id, waiting: &mut Vec<Id>) {
        if self.visited.insert(tree) {
            waiting.push(tree);
        }
    }

    fn collect_entries(
        &mut self,
        tree: &Tree,
        waiting: &mut Vec<Id>,
        bad: &mut BadBlobs,
        take: &mut Take<'_>,
    ) -> Result<(), Ended> {
        for node in &tree.nodes {
            if let Some(subtree) = node.subtree {
                self.visit(subtree, waiting);
            }
            for id in node.content.iter().flatten() {
                self.want(BlobKind::Data, *id, bad, take)?;
            }
        }
        Ok(())
    }

    fn want(
        &self,
        kind: BlobKind,
        id: Id,
        bad: &mut BadBlobs,
        take: &mut Take<'_>,
    ) -> Result<(), Ended> {
        if self.known.contains(kind, &id) {
            return Ok(());
        }
        match self.index.find(kind, &id) {
            Some(location) => take(location.into()).map_err(Ended::Taker),
            None => {
                let missing = VaultError::MissingBlob { id };
                bad.insert((kind, id), missing.to_string());
                Ok(())
            }
        }
    }
}
