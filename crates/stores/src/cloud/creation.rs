//! Whether a store keeps its word when told to write only what is not there yet.

use std::sync::atomic::{AtomicU8, Ordering};

use object_store::PutMode;
use rekindle_vault::store::ObjectKey;

use super::{CloudStore, Failure};

/// What is known of a store's conditional writes.
pub(super) struct Creation(AtomicU8);

const UNKNOWN: u8 = 0;
const KEPT: u8 = 1;
const IGNORED: u8 = 2;

/// Written once, never changed, and always the same: so that it does not matter who writes it, or how
/// often.
const PROBE: &str = "rekindle/probe";
const PROBE_CONTENT: &[u8] = b"Written twice to see whether the store refuses the second time.\n";

impl Creation {
    /// The store's documentation promises it.
    pub(super) const fn promised() -> Self {
        Self(AtomicU8::new(KEPT))
    }

    /// Many stores that speak S3 take the condition and do not look at it.
    pub(super) const fn to_be_tried() -> Self {
        Self(AtomicU8::new(UNKNOWN))
    }
}

impl CloudStore {
    /// Whether the store refuses to replace when asked to. Tried once, at the first write.
    pub(super) async fn has_conditions(&self) -> Result<bool, Failure> {
        match self.creation.0.load(Ordering::Relaxed) {
            KEPT => return Ok(true),
            IGNORED => return Ok(false),
            _ => {}
        }
        let kept = self.refuses_the_probe().await?;
        if !kept {
            tracing::info!(
                store = %self.location,
                "the store has no conditional writes: each write looks first whether the name is free"
            );
        }
        let state = if kept { KEPT } else { IGNORED };
        self.creation.0.store(state, Ordering::Relaxed);
        Ok(kept)
    }

    /// One request where the probe lies there already, two in a new vault.
    async fn refuses_the_probe(&self) -> Result<bool, Failure> {
        let Some(key) = ObjectKey::parse(PROBE) else {
            return Ok(false);
        };
        for _ in 0..2 {
            match self.put(&key, PROBE_CONTENT, PutMode::Create).await {
                Ok(()) => {}
                Err(failure) if failure.is_already_there() => return Ok(true),
                Err(failure) if failure.is_not_implemented() => return Ok(false),
                Err(failure) => return Err(failure),
            }
        }
        Ok(false)
    }
}
