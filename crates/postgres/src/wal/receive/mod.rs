//! WAL received from a server, as it is written there.
//!
//! [`Source`] is a replication connection that knows whose WAL it is; [`resume`] decides where to go on; [`stream`] takes
//! the WAL and tells the server how far it is safe; a [`Spool`] keeps it on a local disk until everybody who wants it has
//! it. Source of the protocol: PostgreSQL manual, "Streaming Replication Protocol".
//!
//! Absent on purpose: where WAL is archived, and how often something is tried again.

mod held;
mod resume;
mod slot;
mod source;
mod spool;
mod stream;
mod wake;

pub use held::{Held, HeldTimeline};
pub use resume::{Resume, Standing, go_on, resume, standing};
pub use slot::{Slot, SlotName, SlotState, WalStatus, create_slot, drop_slot, inspect_slot};
pub use source::{HistoryFile, Source};
pub use spool::{
    Item, ItemKind, Limits, Place, Reader, Spool, SpoolError, SpoolWriter, Syncing, Work,
};
pub use stream::{Receiver, Report, StreamEnd, stream};
pub use wake::Waker;
