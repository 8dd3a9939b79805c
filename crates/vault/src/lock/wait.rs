//! Waiting for a lock, for work that can wait.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Lock, LockMode};
use crate::{error::VaultError, vault::Vault};

/// Between two looks at first…
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// …and later.
const MOST_PAUSE: Duration = Duration::from_secs(2);

impl Vault {
    /// Takes a lock; if somebody is in the way, tries again for as long as `wait`.
    ///
    /// # Errors
    /// [`VaultError::Locked`] if somebody is in the way to the end, or as the store failed.
    pub fn lock_within(&self, mode: LockMode, wait: Duration) -> Result<Lock, VaultError> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.lock(mode) {
                Err(VaultError::Locked(conflict)) => {
                    let left = wait.saturating_sub(started.elapsed());
                    if left.is_zero() {
                        return Err(conflict.into());
                    }
                    if pause == FIRST_PAUSE {
                        tracing::info!(%conflict, "waiting for a lock on the vault");
                    }
                    thread::sleep(pause.min(left));
                    pause = (pause * 2).min(MOST_PAUSE);
                }
                other => return other,
            }
        }
    }
}
