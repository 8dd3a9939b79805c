//! Snapshots that are written together, when all that they need is stored and listed.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
};

use super::{BadBlobs, CopyOptions, CopyToError, Run, piece::Batch, transfer};
use crate::{
    backup::{
        failure::Failure,
        packer::{Packer, Uploads},
    },
    index::Index,
    progress::Progress,
    snapshot::Snapshot,
    vault::Vault,
};

/// Snapshots in work and the packs they fill.
pub(super) struct Group {
    /// Snapshots all of whose blobs are stored or in the batch.
    pub pending: Vec<Snapshot>,
    /// What is to be copied next.
    pub batch: Batch,
    packer: Packer,
    uploads: Uploads,
    failure: Arc<Failure>,
    target: Vault,
    copied_bytes: u64,
}

/// What was stored.
pub(super) struct Added {
    pub blobs: u64,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
}

impl Group {
    pub fn start(run: &Run<'_>) -> Self {
        let failure = Arc::new(Failure::default());
        let (packer, uploads) = Packer::start(
            run.target.clone(),
            Arc::clone(&run.known),
            Arc::clone(&failure),
            Arc::clone(run.progress),
            run.options.pack_bytes,
            transfer::threads(run.options, run.source),
        );
        Self {
            pending: Vec::new(),
            batch: Batch::default(),
            packer,
            uploads,
            failure,
            target: run.target.clone(),
            copied_bytes: 0,
        }
    }

    /// Stored bytes of what was copied and of what waits.
    pub const fn bytes(&self) -> u64 {
        self.copied_bytes + self.batch.bytes()
    }

    /// Copies what has been collected; returns what could not be read.
    pub fn transfer(
        &mut self,
        (source, index): (&Vault, &Index),
        options: &CopyOptions,
        progress: &Progress,
    ) -> Result<BadBlobs, CopyToError> {
        self.copied_bytes += self.batch.bytes();
        let mut pieces = self.batch.take();
        // What is claimed is on its way already, or stored.
        pieces.retain(|piece| self.packer.claim(piece.blob.kind, &piece.blob.id));
        let sides = transfer::Sides {
            source,
            index,
            target: &self.target,
            packer: &self.packer,
            failure: &self.failure,
        };
        let bad = transfer::run(&sides, &pieces, options, progress)?;
        // The reason comes with the end of the uploads.
        let ended = CopyToError::Panicked;
        (!self.failure.has_happened()).then_some(bad).ok_or(ended)
    }

    /// Waits until everything is stored and listed.
    pub fn finish(mut self, target: &Vault) -> Result<(Vec<Snapshot>, Added), CopyToError> {
        let flushed = self.packer.flush();
        self.packer.close();
        let finished = self.uploads.finish();
        let failed = |error| CopyToError::packing(target, error);
        // The store's own reason comes first; that nothing more could be sent follows from it.
        let finished = finished.map_err(failed)?;
        flushed.map_err(failed)?;
        let added = finished.added();
        let added = Added {
            blobs: added.data_blobs.load(Ordering::Relaxed)
                + added.tree_blobs.load(Ordering::Relaxed),
            plain_bytes: added.plain_bytes.load(Ordering::Relaxed),
            stored_bytes: added.stored_bytes.load(Ordering::Relaxed),
        };
        Ok((mem::take(&mut self.pending), added))
    }

    /// After a failure: what is stored is listed, so that the next run need not store it again.
    pub fn give_up(self, error: CopyToError) -> CopyToError {
        let (target, failure) = (self.target.clone(), Arc::clone(&self.failure));
        match self.finish(&target) {
            // The store's own reason tells more than whoever could not go on because of it.
            Err(reason) if failure.has_happened() => reason,
            _ => error,
        }
    }
}
