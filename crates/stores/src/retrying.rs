//! Trying again, decided in one place.

use std::{
    io::ErrorKind,
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rekindle_vault::store::{
    Distance, Listed, ObjectKey, ObjectLocks, Store, StoreError, StoreErrorKind,
};

use crate::error::refusal_in;

/// How long and how often a failed operation is tried again.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// No new try begins after this time.
    pub deadline: Duration,
    /// The same, for a store that never answered yet: its address is more likely wrong than its server
    /// down.
    pub deadline_of_strangers: Duration,
    /// The pause before the second try; each later one is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl RetryPolicy {
    /// For `deadline` in all.
    #[must_use]
    pub fn lasting(deadline: Duration) -> Self {
        Self {
            deadline,
            deadline_of_strangers: deadline.min(Duration::from_secs(15)),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(20),
        }
    }

    /// The pause after `failures`, of which `random` (0 to 1) takes up to a half away, so that many
    /// clients do not come back all at once.
    fn pause(&self, failures: u32, random: f64) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        doubled.min(self.longest_pause).mul_f64(1.0 - random / 2.0)
    }
}

/// A store whose passing failures are tried again until they pass or time is up.
///
/// A write whose acknowledgement was lost has happened: the next try finds the name taken. If what lies
/// there is what we wrote, it was us.
pub struct Retrying<S> {
    pub(crate) inner: S,
    tries: Tries,
}

/// Tries again as a policy says; remembers whether the store ever answered.
#[derive(Debug)]
pub(crate) struct Tries {
    policy: RetryPolicy,
    has_answered: AtomicBool,
}

/// A failure that [`Tries`] can judge.
pub(crate) trait Failing: std::error::Error {
    /// The answer of the system or of the store.
    fn answer(&self) -> &std::io::Error;

    /// Whether the failure has a meaning to the caller, as "not there" has. It is not tried again.
    fn is_an_answer(&self) -> bool;
}

impl Failing for StoreError {
    fn answer(&self) -> &std::io::Error {
        &self.source
    }

    fn is_an_answer(&self) -> bool {
        self.kind != StoreErrorKind::Other
    }
}

impl<S: Store> Retrying<S> {
    /// Tries again as `policy` says.
    pub fn new(inner: S, policy: RetryPolicy) -> Self {
        Self {
            inner,
            tries: Tries::new(policy),
        }
    }

    /// The argument of `action` tells whether a try before it failed.
    pub(crate) fn keep_trying<T>(
        &self,
        action: impl FnMut(bool) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.tries.run(action)
    }

    fn is_ours(&self, key: &ObjectKey, content: &[u8]) -> bool {
        self.inner.read(key).is_ok_and(|found| found == content)
    }
}

impl Tries {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            has_answered: AtomicBool::new(false),
        }
    }

    /// The argument of `action` tells whether a try before it failed.
    pub(crate) fn run<T, E: Failing>(
        &self,
        mut action: impl FnMut(bool) -> Result<T, E>,
    ) -> Result<T, E> {
        let start = Instant::now();
        for failures in 1.. {
            let error = match action(failures > 1) {
                Ok(value) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(error) => error,
            };
            self.remember_answer(&error);
            let pause = self.policy.pause(failures, random());
            if !is_passing(&error) || start.elapsed() + pause > self.deadline() {
                return Err(error);
            }
            tracing::warn!(
                %error, cause = %error.answer(), pause_ms = pause.as_millis(), failures,
                "the store failed; trying again"
            );
            sleep(pause);
        }
        unreachable!("the loop has no end")
    }

    /// A refusal is an answer, too.
    fn remember_answer(&self, error: &impl Failing) {
        if error.is_an_answer() || refusal_in(error.answer()).is_some() {
            self.has_answered.store(true, Ordering::Relaxed);
        }
    }

    fn deadline(&self) -> Duration {
        if self.has_answered.load(Ordering::Relaxed) {
            self.policy.deadline
        } else {
            self.policy.deadline_of_strangers
        }
    }
}

/// Whether the same operation may well succeed in a while.
fn is_passing(error: &impl Failing) -> bool {
    if let Some(refusal) = refusal_in(error.answer()) {
        return refusal.is_passing();
    }
    !error.is_an_answer()
        && matches!(
            error.answer().kind(),
            ErrorKind::TimedOut
                | ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::NotConnected
                | ErrorKind::BrokenPipe
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
                | ErrorKind::Interrupted
        )
}

/// From 0 to 1. Without randomness all pauses are of full length.
fn random() -> f64 {
    getrandom::u32().map_or(0.0, |number| f64::from(number) / f64::from(u32::MAX))
}

impl<S: Store> Store for Retrying<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn read(&self, key: &ObjectKey) -> Result<Vec<u8>, StoreError> {
        self.keep_trying(|_| self.inner.read(key))
    }

    fn read_range(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        self.keep_trying(|_| self.inner.read_range(key, offset, buffer))
    }

    fn create(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.keep_trying(|again| match self.inner.create(key, content) {
            Err(error)
                if again
                    && error.kind == StoreErrorKind::AlreadyExists
                    && self.is_ours(key, content) =>
            {
                Ok(())
            }
            outcome => outcome,
        })
    }

    fn replace(&self, key: &ObjectKey, content: &[u8]) -> Result<(), StoreError> {
        self.keep_trying(|_| self.inner.replace(key, content))
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.keep_trying(|again| match self.inner.delete(key) {
            // An earlier try of ours did it, and could not tell.
            Err(error) if again && error.kind == StoreErrorKind::NotFound => Ok(()),
            outcome => outcome,
        })
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.keep_trying(|_| self.inner.list(folder))
    }

    fn object_locks(&self) -> Option<&dyn ObjectLocks> {
        // Through us, so that they are tried again, too.
        self.inner.object_locks().is_some().then_some(self)
    }

    fn written_at(&self, key: &ObjectKey) -> Result<Option<Timestamp>, StoreError> {
        self.keep_trying(|_| self.inner.written_at(key))
    }

    fn distance(&self) -> Distance {
        self.inner.distance()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_are_shortened_by_half_at_most() {
        let policy = RetryPolicy::lasting(Duration::from_secs(60));
        let pauses: Vec<_> = (1..=10).map(|n| policy.pause(n, 0.0).as_millis()).collect();
        let expected = [200, 400, 800, 1600, 3200, 6400, 12800, 20000, 20000, 20000];
        assert_eq!(pauses, expected);
        assert_eq!(policy.pause(1, 1.0), Duration::from_millis(100));
        assert_eq!(policy.pause(u32::MAX, 0.0), policy.longest_pause);
    }
}
