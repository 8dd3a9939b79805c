//! What is done every second: the status file, room in the spool, the wish to stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rekindle_postgres::wal::receive::SpoolWriter;

use super::record::StreamRecord;
use super::shared::{MAIN, Shared};
use super::{NoticeLevel, StreamState};

/// How soon a wish to stop is noticed.
const TICK: Duration = Duration::from_millis(200);

/// How often a line of progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Ticker {
    shared: Arc<Shared>,
    writer: Arc<SpoolWriter>,
    last_record: Option<Instant>,
    last_progress: Instant,
    last_bytes: u64,
    is_full: bool,
    cannot_write: bool,
}

impl Ticker {
    pub(super) fn new(shared: Arc<Shared>, writer: Arc<SpoolWriter>) -> Self {
        Self {
            shared,
            writer,
            last_record: None,
            last_progress: Instant::now(),
            last_bytes: 0,
            is_full: false,
            cannot_write: false,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.is_over() {
            self.tick();
            std::thread::sleep(TICK);
        }
    }

    fn tick(&mut self) {
        if self.shared.wants_to_stop() {
            self.shared.waker.wake();
        }
        self.look_at_room();
        if self
            .last_record
            .is_none_or(|last| last.elapsed() >= Duration::from_secs(1))
        {
            self.last_record = Some(Instant::now());
            self.write_record();
        }
        if self.last_progress.elapsed() >= PROGRESS_EVERY {
            self.tell_progress();
            self.last_progress = Instant::now();
        }
    }

    /// A copy never keeps the main vault from receiving: with a full spool, what only copies want is dropped, and they
    /// get it from the main vault later.
    fn look_at_room(&mut self) {
        let is_full = self.writer.is_full();
        if !is_full && self.writer.trouble().is_none() {
            if std::mem::take(&mut self.is_full) {
                self.shared
                    .notice(NoticeLevel::Info, "the spool has room again");
            }
            return;
        }
        for copy in (0..self.shared.lane_count()).filter(|index| is_full && *index != MAIN) {
            if let Some((first, last)) = self.shared.spool.give_up_on(copy) {
                self.shared.lane(copy).needs_filling = true;
                let name = &self.shared.settings.vaults[copy].name;
                let text = format!(
                    "the spool is full: {name} lacks {first} to {last} until it gets them from the main vault"
                );
                self.shared.notice(NoticeLevel::Warning, text);
            }
        }
        self.shared.waker.wake();
        let is_waiting = self.shared.progress().state == StreamState::WaitingForRoom;
        if is_waiting && !self.is_full {
            self.is_full = true;
            let text = match self.writer.trouble() {
                Some(trouble) => format!("receiving pauses: {trouble}"),
                None => format!(
                    "receiving pauses: the spool holds {} bytes, or its disk is nearly full; the server keeps its WAL",
                    self.shared.spool.used_bytes()
                ),
            };
            self.shared.notice(NoticeLevel::Warning, text);
        }
    }

    fn write_record(&mut self) {
        let record = StreamRecord::of(&self.shared);
        let written = record.write(self.shared.spool.root());
        if let Err(error) = &written
            && !self.cannot_write
        {
            tracing::warn!(%error, "the status file cannot be written");
        }
        self.cannot_write = written.is_err();
    }

    fn tell_progress(&mut self) {
        let bytes = self.shared.received_bytes.load(Ordering::Relaxed);
        let rate = (bytes - self.last_bytes) / PROGRESS_EVERY.as_secs();
        self.last_bytes = bytes;
        let record = StreamRecord::of(&self.shared);
        let lag = record
            .main()
            .map_or((0, 0.0), |main| (main.lag_bytes, main.lag_seconds));
        let received = record.received.unwrap_or_default();
        let text = format!(
            "received up to {received}, {rate} bytes/s; the vault is {} bytes and {:.1} s behind",
            lag.0, lag.1
        );
        self.shared.notice(NoticeLevel::Progress, text);
    }
}
