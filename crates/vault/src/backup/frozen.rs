//! A directory of a running backup that is complete: kept as the blobs it will be, and not as entries.
//!
//! Entries take some 700 bytes each, their compressed listing a small part of that, and one that the vault has already takes
//! its name alone. What still asks for the entries (comparing, a late entry) reads the listing again.

use std::collections::BTreeMap;

use super::{
    failure::BackupError,
    packer::{Packer, Tools, length_of},
    tree_builder::{Totals, TreeBuilder, made_up_directory},
};
use crate::{
    blob::{self, BlobKind, Compressor},
    error::VaultError,
    id::Id,
    path::TreePath,
    tree::{Node, NodeKind, Tree},
};

/// A complete directory with all that is below it.
pub(super) struct Frozen {
    /// The name of its listing.
    pub id: Id,
    /// Of everything below it.
    pub totals: Totals,
    /// Regular files that lie in it directly, and their bytes.
    pub files: (u64, u64),
    /// The directories in it, sorted by name.
    pub below: Vec<(Vec<u8>, Frozen)>,
    listing: Listing,
}

enum Listing {
    /// The vault has it.
    Stored,
    /// As it will be stored; with its length before, if it is compressed.
    Here {
        body: Box<[u8]>,
        plain_length: Option<u32>,
    },
}

impl Frozen {
    /// The directory of these entries.
    ///
    /// # Errors
    /// [`BackupError::Duplicate`] if a file and a directory have one name.
    pub fn of(
        mut nodes: BTreeMap<Vec<u8>, Node>,
        directories: BTreeMap<Vec<u8>, TreeBuilder>,
        packer: &Packer,
        compressor: &mut Compressor,
    ) -> Result<Self, BackupError> {
        let mut totals = Totals::default();
        let mut files = (0, 0);
        for node in nodes.values() {
            totals.count(node);
            if node.kind == NodeKind::File {
                files = (files.0 + 1, files.1 + node.size);
            }
        }
        let mut below = Vec::with_capacity(directories.len());
        for (name, mut directory) in directories {
            let mut node = directory.node.take().unwrap_or_else(made_up_directory);
            let frozen = match directory.frozen.take() {
                Some(frozen) => *frozen,
                None => Self::of(directory.others, directory.directories, packer, compressor)?,
            };
            totals.add_directory(frozen.totals);
            node.name.clone_from(&name);
            node.subtree = Some(frozen.id);
            if nodes.insert(name.clone(), node).is_some() {
                return Err(BackupError::Duplicate(TreePath::new(&name)?));
            }
            below.push((name, frozen));
        }
        let nodes = nodes.into_values().collect();
        let bytes = Tree { nodes }.to_bytes().map_err(VaultError::from)?;
        let id = Id::of(&bytes);
        let listing = if packer.has_listing(&id) {
            Listing::Stored
        } else {
            Listing::here(&bytes, compressor)?
        };
        Ok(Self {
            id,
            totals,
            files,
            below,
            listing,
        })
    }

    /// The entries of the directory.
    ///
    /// # Errors
    /// As the vault failed.
    pub fn listing(&self, packer: &Packer) -> Result<Tree, VaultError> {
        let (body, plain_length) = match &self.listing {
            Listing::Stored => return packer.read_listing(&self.id),
            Listing::Here { body, plain_length } => (body, plain_length),
        };
        let Some(length) = plain_length else {
            return Ok(serde_json::from_slice(body)?);
        };
        let mut plain = Vec::new();
        blob::decompress(body, *length as usize, &mut plain)
            .map_err(|_| VaultError::Compress("a listing in memory does not decompress"))?;
        Ok(serde_json::from_slice(&plain)?)
    }

    /// Stores what the vault has not, leaves first; returns the name of the listing.
    ///
    /// # Errors
    /// The first failure of the backup.
    pub fn store(self, packer: &Packer, tools: &mut Tools) -> Result<Id, BackupError> {
        for (_, below) in self.below {
            below.store(packer, tools)?;
        }
        if let Listing::Here { body, plain_length } = self.listing
            && packer.claim(BlobKind::Tree, &self.id)
        {
            packer.store_made((BlobKind::Tree, self.id), &body, plain_length, tools)?;
        }
        Ok(self.id)
    }
}

impl Listing {
    fn here(bytes: &[u8], compressor: &mut Compressor) -> Result<Self, VaultError> {
        let length = length_of(bytes)?;
        let compressed = compressor.compress(bytes)?;
        Ok(Self::Here {
            plain_length: compressed.map(|_| length),
            body: compressed.unwrap_or(bytes).into(),
        })
    }
}
