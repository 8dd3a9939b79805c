//! What is damaged, and what recovery points miss because of it.

use std::collections::{BTreeSet, HashSet};

use super::{
    HealOptions, HealReport,
    sources::{Source, find_blob},
};
use crate::{
    blob::BlobKind,
    check::{BadPlaces, CheckReport},
    error::VaultError,
    id::Id,
    index::Index,
    pack,
    reindex::pack_sizes,
    tree::{NodeKind, Tree},
    vault::Vault,
};

/// Which packs are read.
pub(super) enum Which {
    /// All.
    All,
    /// These, as far as they are there.
    Only(HashSet<Id>),
}

impl Which {
    pub fn all(options: &HealOptions) -> Self {
        if options.read_data {
            Self::All
        } else {
            Self::Only(HashSet::new())
        }
    }

    /// Packs on their way out that have what no other pack has.
    pub fn leaving(index: &Index, options: &HealOptions) -> Self {
        let packs = index.leaving_by_pack().into_iter();
        let packs = packs.filter(|(_, blobs)| options.read_data && !blobs.is_empty());
        Self::Only(packs.map(|(id, _)| id).collect())
    }
}

/// What a look came to.
pub(super) struct Findings {
    /// What the index says of packs that are there.
    pub index: Index,
    /// Packs that are there and not as they should be.
    pub suspects: HashSet<Id>,
    pub bad: BadPlaces,
    pub packs_gone: Vec<Id>,
    /// What recovery points need and cannot be read in this vault.
    pub missing: BTreeSet<(BlobKind, Id)>,
}

impl Findings {
    /// Looks at packs, and at everything that recovery points need. Damaged listings are read from a source, so that
    /// what is below them is looked at too.
    pub fn look(
        vault: &Vault,
        index: Index,
        sources: &[Source],
        which: &Which,
        options: &HealOptions,
    ) -> Result<Self, VaultError> {
        let sizes = pack_sizes(vault)?;
        let (mut suspects, mut packs_gone, mut to_read) = (HashSet::new(), Vec::new(), Vec::new());
        // Of packs on their way out those count that have something no other pack has.
        let leaving = index.leaving_by_pack().into_iter();
        let leaving = leaving.filter(|(_, blobs)| !blobs.is_empty());
        let leaving = leaving.map(|(id, blobs)| (id, pack::least_bytes(&blobs)));
        for (id, needed) in index.least_pack_bytes().into_iter().chain(leaving) {
            match sizes.get(&id) {
                None => packs_gone.push(id),
                Some(&size) if size < needed => {
                    suspects.insert(id);
                    to_read.push((id, size));
                }
                Some(&size) => {
                    let is_chosen = match which {
                        Which::All => true,
                        Which::Only(some) => some.contains(&id),
                    };
                    to_read.extend(is_chosen.then_some((id, size)));
                }
            }
        }
        index.forget_packs(&packs_gone.iter().copied().collect());
        options
            .progress
            .expect_bytes(to_read.iter().map(|(_, size)| size).sum());
        let ids: Vec<Id> = to_read.iter().map(|(id, _)| *id).collect();
        let mut unused = CheckReport::default();
        let outcomes = vault.read_packs(&index, &ids, &options.progress, &mut unused)?;
        let mut bad = BadPlaces::default();
        bad.add(&outcomes);
        suspects.extend(outcomes.iter().filter_map(|outcome| outcome.id));
        let mut findings = Self {
            index,
            suspects,
            bad,
            packs_gone,
            missing: BTreeSet::new(),
        };
        findings.walk(vault, sources)?;
        Ok(findings)
    }

    pub fn tell(&self, report: &mut HealReport) {
        report.damaged_packs.extend(&self.suspects);
        report.damaged_packs.sort_unstable();
        report.packs_gone.extend(&self.packs_gone);
        report.packs_gone.sort_unstable();
        report.packs_gone.dedup();
        // A second look finds again what the first one could not heal.
        report.blobs_missing = report.blobs_healed + self.missing.len() as u64;
    }

    fn walk(&mut self, vault: &Vault, sources: &[Source]) -> Result<(), VaultError> {
        let mut seen = HashSet::new();
        let mut waiting = super::points::roots(vault, sources)?;
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            let Some(tree) = self.tree(vault, sources, &id)? else {
                continue;
            };
            for node in tree.nodes {
                if node.kind == NodeKind::Dir {
                    waiting.extend(node.subtree);
                }
                for blob in node.content.into_iter().flatten() {
                    if !self.bad.is_fine(&self.index, BlobKind::Data, &blob) {
                        self.missing.insert((BlobKind::Data, blob));
                    }
                }
            }
        }
        Ok(())
    }

    /// A tree, from wherever it can be had.
    fn tree(
        &mut self,
        vault: &Vault,
        sources: &[Source],
        id: &Id,
    ) -> Result<Option<Tree>, VaultError> {
        if self.bad.is_fine(&self.index, BlobKind::Tree, id) {
            match vault.read_tree(&self.index, id) {
                Ok(tree) => return Ok(Some(tree)),
                Err(error) if error.is_damage_or_missing() => {
                    let places = self.index.find_all(BlobKind::Tree, id);
                    self.suspects.extend(places.iter().map(|at| at.pack));
                }
                Err(error) => return Err(error),
            }
        }
        self.missing.insert((BlobKind::Tree, *id));
        let bytes = find_blob(sources, BlobKind::Tree, id);
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}
