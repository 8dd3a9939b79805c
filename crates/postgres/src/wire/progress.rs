//! How far a backup is.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what a running backup has received. Shared between who takes it and who shows it.
#[derive(Debug, Default)]
pub struct Progress {
    received_bytes: AtomicU64,
    estimated_bytes: AtomicU64,
}

impl Progress {
    /// Bytes received so far, without WAL.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Bytes the server expected to send, 0 while it has not said; what is really sent differs.
    pub fn estimated_bytes(&self) -> u64 {
        self.estimated_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.estimated_bytes.store(bytes, Ordering::Relaxed);
    }
}
