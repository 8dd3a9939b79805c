//! What every receiver of WAL says and hears.

use bytes::Bytes;

use super::copy_data;
use crate::error::Error;
use crate::layout::Lsn;

/// How far a receiver is. Zero claims nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StandbyStatus {
    /// Received up to here.
    pub written: Lsn,
    /// Safe up to here: the server need not keep it, and a commit that waits for us may return.
    pub flushed: Lsn,
    /// Replayed up to here.
    pub applied: Lsn,
    /// Whether the server shall answer at once.
    pub answer_wanted: bool,
}

impl StandbyStatus {
    /// The message. Source: PostgreSQL manual, "Streaming Replication Protocol", "Standby status
    /// update".
    pub fn message(&self) -> Bytes {
        let mut message = Vec::with_capacity(34);
        message.push(b'r');
        for lsn in [self.written, self.flushed, self.applied] {
            message.extend_from_slice(&lsn.offset().to_be_bytes());
        }
        message.extend_from_slice(&postgres_clock().to_be_bytes());
        message.push(u8::from(self.answer_wanted));
        copy_data(&message)
    }
}

/// `undefined_file` here means a segment that was recycled before it was sent.
pub(crate) fn wal_gone(error: Error) -> Error {
    match error.server_error() {
        Some(server) if server.sqlstate == "58P01" => Error::WalMissing {
            reason: server.message.clone(),
        },
        _ => error,
    }
}

/// Microseconds since 2000, as replication messages count.
fn postgres_clock() -> i64 {
    const SECONDS_FROM_1970_TO_2000: i64 = 946_684_800;
    jiff::Timestamp::now().as_microsecond() - SECONDS_FROM_1970_TO_2000 * 1_000_000
}
