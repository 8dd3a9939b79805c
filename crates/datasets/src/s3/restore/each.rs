//! The same for many things, by several threads, until the first failure.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

const AT_ONCE: usize = 8;

/// What was done before a failure counts: it is given back with it. Results are in the order of `items`.
pub fn each<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> (Vec<Option<R>>, Result<(), E>) {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let failure = Mutex::new(None);
    let has_failed = || {
        failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(items.len()) {
            scope.spawn(|| {
                while !has_failed() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else {
                        return;
                    };
                    match work(item) {
                        Ok(result) => done
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((number, result)),
                        Err(error) => {
                            let mut failure =
                                failure.lock().unwrap_or_else(PoisonError::into_inner);
                            failure.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    for (number, result) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
        if let Some(place) = results.get_mut(number) {
            *place = Some(result);
        }
    }
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => (results, Ok(())),
        Some(error) => (results, Err(error)),
    }
}
