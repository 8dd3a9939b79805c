//! WAL streamed from a server into the vault and its copies.
//!
//! ```text
//! server ──▶ receiver (one thread) ──▶ spool's writer ──▶ spool on a local disk
//!                 ▲  what is safe                             │      │
//!                 └───────────────────────────────────────────┤      │
//!                                        lane of the vault ◀──┘      └──▶ one lane for each copy
//! ```
//!
//! Start at [`stream`]. Each vault has a lane: a thread with its own pace, retries and errors. What the server is told to
//! be safe is what the main vault has, or what the spool has while the vault fails (docs/decisions/0012).
//!
//! Absent on purpose: the protocol and the spool (`rekindle_postgres::wal::receive`), and every word that is printed.

mod error;
mod fill;
mod gaps;
mod growing;
mod lane;
mod observe;
mod opened;
mod receiver;
mod record;
mod session;
mod settings;
mod shared;
mod supervise;
mod ticker;

use std::sync::Arc;

use rekindle_stack::Stack;

use crate::RecoveryError;

pub(crate) use observe::receiver_problems;

pub use error::StreamError;
pub use gaps::Gap;
pub use observe::{GapView, PushView, ReceiverView, ServerView, SlotView, WalHealth, wal_status};
pub use record::{LaneRecord, Said, StreamRecord, StreamState};
pub use settings::StreamSettings;
pub use shared::{Notice, NoticeLevel, StopHandle};

/// How to stream.
#[derive(Clone)]
pub struct StreamRequest {
    /// Of which service; needed only if several stream.
    pub service: Option<String>,
    /// End once everything that the server had when it was asked is in the vault.
    pub once: bool,
    /// Take a server that was created anew for what it is: its WAL is another cluster's.
    pub accept_new_server: bool,
    /// Asks the stream to end.
    pub stop: StopHandle,
    /// Is told what changes.
    pub monitor: Arc<dyn Fn(&Notice) + Send + Sync>,
}

/// Streams WAL until it is asked to stop.
///
/// # Errors
/// [`RecoveryError::WalStream`] if the server's WAL must not follow what is archived, if the server cannot be used at the
/// beginning, or if what was received is not in the vault at the end.
pub fn stream(stack: &Stack, request: &StreamRequest) -> Result<(), RecoveryError> {
    let settings = StreamSettings::of(stack, request.service.as_deref())?;
    let service = settings.service.clone();
    supervise::run(settings, request).map_err(|source| RecoveryError::WalStream {
        service,
        source: Box::new(source),
    })
}
