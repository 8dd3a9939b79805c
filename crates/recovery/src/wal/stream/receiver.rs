//! What becomes of bytes that arrive, and what the server is told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rekindle_postgres::{
    Lsn, Timeline,
    wal::receive::{Place, Receiver, Report, Resume, SpoolWriter},
};

use super::shared::{MAIN, Shared, VAULT_PATIENCE};
use super::{NoticeLevel, StreamState};

/// How long the vault may fail before a stream with a goal gives up.
const GOAL_PATIENCE: Duration = Duration::from_secs(10);

/// Takes what one connection brings.
pub(super) struct Receiving<'a> {
    shared: &'a Shared,
    writer: &'a SpoolWriter,
    timeline: Timeline,
    /// Never goes back on one connection: what was safe stays safe.
    flushed: Lsn,
    waits_for_room: bool,
    /// End when the vault has this, or has been failing.
    until: Option<Place>,
    /// End when the vault can be read.
    is_preliminary: bool,
}

impl<'a> Receiving<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        writer: &'a SpoolWriter,
        from: Resume,
        until: Option<Place>,
        is_preliminary: bool,
    ) -> Self {
        shared.progress().state = StreamState::Streaming;
        Self {
            shared,
            writer,
            timeline: from.timeline,
            flushed: Lsn::INVALID,
            waits_for_room: false,
            until,
            is_preliminary,
        }
    }

    fn here(&self, place: Option<Place>) -> Lsn {
        let place = place.filter(|place| place.timeline == self.timeline);
        place.map_or(Lsn::INVALID, |place| place.lsn)
    }

    /// In the vault; or in the spool, if the server waits for that, or the vault fails for long.
    fn safe(&self) -> Lsn {
        let durable = || self.here(self.shared.spool.durable());
        if self.shared.settings.synchronous {
            return durable();
        }
        let stored = self.here(self.shared.spool.stored(MAIN));
        match self.shared.lane(MAIN).has_failed_for(VAULT_PATIENCE) {
            true => stored.max(durable()),
            false => stored,
        }
    }

    fn has_reached_goal(&self) -> bool {
        let Some(goal) = self.until else {
            return false;
        };
        let stored = self.shared.spool.stored(MAIN);
        stored.is_some_and(|stored| stored >= goal)
            || self.shared.lane(MAIN).has_failed_for(GOAL_PATIENCE)
    }

    fn has_found_the_vault(&self) -> bool {
        self.is_preliminary && self.shared.main_is_open()
    }
}

impl Receiver for Receiving<'_> {
    fn take(&mut self, at: Lsn, bytes: Bytes) {
        let length = bytes.len() as u64;
        self.writer.take(bytes);
        self.shared
            .received_bytes
            .fetch_add(length, Ordering::Relaxed);
        self.shared.progress().note_received(Place {
            timeline: self.timeline,
            lsn: at.plus(length),
        });
    }

    fn has_room(&mut self) -> bool {
        let has_room = self.writer.has_room();
        // A writer that is busy for a moment is no state to tell of.
        let waits = !has_room && (self.writer.is_full() || self.writer.trouble().is_some());
        if waits != self.waits_for_room {
            self.waits_for_room = waits;
            self.shared.progress().state = match waits {
                true => StreamState::WaitingForRoom,
                false => StreamState::Streaming,
            };
        }
        has_room
    }

    fn report(&mut self) -> Report {
        let safe = self.safe();
        if safe > self.flushed {
            self.flushed = safe;
            self.shared.progress().reported = safe;
        }
        Report {
            flushed: self.flushed,
            applied: match self.shared.settings.synchronous {
                true => self.flushed,
                false => Lsn::INVALID,
            },
        }
    }

    fn server_end(&mut self, end: Lsn) {
        self.shared.progress().note_server_end(end);
    }

    fn wants_to_stop(&mut self) -> bool {
        self.shared.wants_to_stop()
            || self.writer.has_failed()
            || self.has_reached_goal()
            || self.has_found_the_vault()
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.shared.progress().state = StreamState::Connecting;
        if self.waits_for_room {
            let text = "the stream ended while there was no room in the spool";
            self.shared.notice(NoticeLevel::Info, text);
        }
    }
}
