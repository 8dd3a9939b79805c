//! One limit for the bytes that are in memory at once.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

/// So many bytes may be held; who wants more waits until others give some back.
#[derive(Clone)]
pub(crate) struct Budget {
    inner: Arc<Inner>,
}

struct Inner {
    limit: usize,
    held: Mutex<usize>,
    freed: Condvar,
}

/// Bytes that are held until this is dropped.
pub(crate) struct Held {
    inner: Arc<Inner>,
    bytes: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                limit,
                held: Mutex::new(0),
                freed: Condvar::new(),
            }),
        }
    }

    /// Waits until `bytes` more fit; `None` when `is_over` says that waiting is pointless. One
    /// request larger than the whole limit is granted when nothing else is held.
    pub fn hold(&self, bytes: usize, is_over: impl Fn() -> bool) -> Option<Held> {
        let mut held = self.inner.held();
        while *held > 0 && *held + bytes > self.inner.limit {
            if is_over() {
                return None;
            }
            let wait = self
                .inner
                .freed
                .wait_timeout(held, Duration::from_millis(100));
            held = wait.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        *held += bytes;
        Some(Held {
            inner: Arc::clone(&self.inner),
            bytes,
        })
    }
}

impl Inner {
    fn held(&self) -> MutexGuard<'_, usize> {
        self.held
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.inner.held() -= self.bytes;
        self.inner.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn more_than_the_limit_waits_for_what_is_given_back() {
        let budget = Budget::new(100);
        let first = budget.hold(80, || false).unwrap();
        assert!(budget.hold(30, || true).is_none(), "it does not fit");
        let other = budget.clone();
        let waiting = thread::spawn(move || other.hold(30, || false).is_some());
        drop(first);
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn a_request_above_the_limit_is_granted_alone() {
        assert!(Budget::new(10).hold(1000, || false).is_some());
    }
}
