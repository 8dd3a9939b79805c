//! Fetches segments ahead of who reads them: decrypting takes longer than reading.

use std::{collections::VecDeque, thread};

use super::{
    Fetched,
    span::{Run, Span},
};
use crate::RecoveryError;

/// Segments on their way at the same time hold so many bytes at most, and one segment at least.
const AHEAD_BYTES: u64 = 256 << 20;
const MOST_AHEAD: u64 = 8;

/// Calls `read` with the segments of a run, in order.
pub(super) fn segments<T>(
    span: &Span,
    run: &Run,
    read: impl FnOnce(&mut dyn Iterator<Item = Fetched>) -> Result<T, RecoveryError>,
) -> Result<T, RecoveryError> {
    let most = (AHEAD_BYTES / span.size().bytes()).clamp(1, MOST_AHEAD) as usize;
    thread::scope(|scope| {
        let mut wanted = run.files();
        let mut fetching = VecDeque::new();
        let mut ordered = std::iter::from_fn(|| {
            while fetching.len() < most
                && let Some((segment, is_partial)) = wanted.next()
            {
                fetching.push_back(scope.spawn(move || span.fetch(segment, is_partial)));
            }
            let next = fetching.pop_front()?;
            Some(
                next.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        read(&mut ordered)
    })
}
