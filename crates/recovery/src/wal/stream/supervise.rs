//! Starts the threads, keeps a connection up, and ends in good order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle_postgres::wal::receive::{Limits, Spool, SpoolError, SpoolWriter, Syncing, Waker};

use super::lane::Lane;
use super::record::{StreamRecord, StreamState};
use super::session::{Ended, Session};
use super::shared::{MAIN, Shared};
use super::ticker::Ticker;
use super::{NoticeLevel, StreamError, StreamRequest, StreamSettings, gaps::Gaps};

/// How long received WAL stays in memory of the system only.
const SYNC_WITHIN: Duration = Duration::from_millis(200);

/// This part of the spool's disk stays free.
const FREE_PERCENT: u64 = 10;

/// How long to wait after the first failed connection, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// A server that stays away is told of again this often.
const REMIND_EVERY: Duration = Duration::from_secs(60);

/// How long the slot of a killed predecessor is waited for: the server notices its end within `wal_sender_timeout`, a
/// minute by default.
const SLOT_PATIENCE: Duration = Duration::from_secs(65);

/// How long storing what was received may take at the end without any progress.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// Streams until asked to stop, or until only a person can decide.
pub(super) fn run(settings: StreamSettings, request: &StreamRequest) -> Result<(), StreamError> {
    let spool = Spool::open(&settings.spool, settings.vaults.len())?;
    let io = |source| {
        StreamError::Spool(SpoolError::Io {
            action: "read",
            path: "gaps.json".to_owned(),
            source,
        })
    };
    let gaps = Gaps::open(&settings.spool).map_err(io)?;
    let waker = Waker::new().map_err(|source| SpoolError::Io {
        action: "make",
        path: "an event descriptor".to_owned(),
        source,
    })?;
    let shared = Arc::new(Shared::new(settings, spool, waker, gaps, request));
    let threads = Threads::start(&shared);
    let outcome = Supervisor::new(&shared, &threads.writer, request).run();
    let stored = finish(&shared, &threads.writer, &outcome);
    threads.end(&shared, outcome.is_ok() && stored.is_ok());
    outcome.and(stored)
}

struct Threads {
    writer: Arc<SpoolWriter>,
    others: Vec<std::thread::JoinHandle<()>>,
}

impl Threads {
    fn start(shared: &Arc<Shared>) -> Self {
        let syncing = match shared.settings.synchronous {
            true => Syncing::AtOnce,
            false => Syncing::Within(SYNC_WITHIN),
        };
        let limits = Limits {
            bytes: shared.settings.spool_limit,
            free_percent: FREE_PERCENT,
        };
        let (spool, waker) = (Arc::clone(&shared.spool), Arc::clone(&shared.waker));
        let writer = Arc::new(SpoolWriter::start(spool, waker, syncing, limits));
        let lanes = (0..shared.lane_count()).map(|index| Lane::new(index, Arc::clone(shared)));
        let mut others: Vec<_> = lanes
            .map(|lane| std::thread::spawn(move || lane.run()))
            .collect();
        let ticker = Ticker::new(Arc::clone(shared), Arc::clone(&writer));
        others.push(std::thread::spawn(move || ticker.run()));
        Self { writer, others }
    }

    fn end(self, shared: &Shared, is_well: bool) {
        shared.end();
        for thread in self.others {
            // A panic there is reported by its own message.
            let _ = thread.join();
        }
        drop(self.writer);
        shared.progress().state = match is_well {
            true => StreamState::Stopped,
            false => StreamState::Failed,
        };
        if let Err(error) = StreamRecord::of(shared).write(shared.spool.root()) {
            tracing::warn!(%error, "the status file cannot be written");
        }
    }
}

/// Keeps a connection up.
struct Supervisor<'a> {
    shared: &'a Shared,
    session: Session<'a>,
    once: bool,
    failures: u32,
    failing_since: Option<Instant>,
    last_told: Instant,
    slot_taken_since: Option<Instant>,
}

impl<'a> Supervisor<'a> {
    fn new(shared: &'a Shared, writer: &'a SpoolWriter, request: &StreamRequest) -> Self {
        Self {
            shared,
            session: Session::new(shared, writer, request.accept_new_server, request.once),
            once: request.once,
            failures: 0,
            failing_since: None,
            last_told: Instant::now(),
            slot_taken_since: None,
        }
    }

    fn run(&mut self) -> Result<(), StreamError> {
        loop {
            let ended = self.session.run();
            if let Some(refusal) = self.shared.take_refusal() {
                return Err(refusal);
            }
            if self.has_worked_since() {
                (self.failures, self.failing_since, self.slot_taken_since) = (0, None, None);
            }
            match ended {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::Again) => {}
                Err(_) if self.shared.wants_to_stop() => return Ok(()),
                Err(error) => self.after_failure(error)?,
            }
            if self.shared.wants_to_stop() {
                return self.shared.take_refusal().map_or(Ok(()), Err);
            }
        }
    }

    /// Whether WAL or a sign of life arrived on the connection that ended now.
    fn has_worked_since(&self) -> bool {
        self.shared.progress().take_sign_of_life()
    }

    fn has_worked(&self) -> bool {
        self.shared.progress().server_end.is_some()
    }

    /// Waits before the next attempt, or gives up.
    fn after_failure(&mut self, error: StreamError) -> Result<(), StreamError> {
        let is_slot_taken = matches!(error, StreamError::SlotTaken { .. });
        if is_slot_taken {
            let since = *self.slot_taken_since.get_or_insert_with(Instant::now);
            let is_patient = since.elapsed() < SLOT_PATIENCE;
            if !is_patient && (self.once || !self.has_worked()) {
                return Err(error);
            }
        } else if error.is_refusal() {
            return Err(error);
        } else {
            let may_pass = error.may_pass() || self.has_worked();
            if !may_pass || self.once {
                return Err(error);
            }
        }
        self.tell(&error);
        self.failures += 1;
        let (first, most) = BACKOFF;
        let doubled = first.saturating_mul(1 << self.failures.min(10));
        self.wait(match is_slot_taken {
            true => Duration::from_secs(1),
            false => doubled.min(most),
        });
        Ok(())
    }

    fn tell(&mut self, error: &StreamError) {
        let text = error.in_full();
        self.shared.progress().last_error = Some((jiff::Timestamp::now(), text.clone()));
        let is_first = self.failing_since.is_none();
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if is_first || self.last_told.elapsed() >= REMIND_EVERY {
            self.last_told = Instant::now();
            let text = match is_first {
                true => format!("not streaming: {text}; trying again"),
                false => format!("not streaming for {} s: {text}", since.elapsed().as_secs()),
            };
            self.shared.notice(NoticeLevel::Warning, text);
        }
    }

    fn wait(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.shared.wants_to_stop() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Makes what was received durable in the vaults. What fails stays in the spool, and is told.
fn finish(
    shared: &Shared,
    writer: &SpoolWriter,
    outcome: &Result<(), StreamError>,
) -> Result<(), StreamError> {
    writer.settle(END_PATIENCE);
    shared.progress().state = StreamState::Ending;
    shared.end_receiving();
    if outcome.as_ref().is_err_and(StreamError::is_refusal) {
        return Ok(());
    }
    let mut last = (u64::MAX, Instant::now());
    loop {
        let waiting = |index| shared.spool.waiting_bytes(index);
        let all: u64 = (0..shared.lane_count())
            .filter(|index| *index == MAIN || shared.lane(*index).failing_since.is_none())
            .map(waiting)
            .sum();
        if all == 0 {
            return Ok(());
        }
        if all < last.0 {
            last = (all, Instant::now());
        }
        let fails = shared.lane(MAIN).has_failed_for(Duration::from_secs(5));
        if fails || last.1.elapsed() > END_PATIENCE || shared.is_refused() {
            let bytes = waiting(MAIN);
            let reason = shared.lane(MAIN).last_error.clone();
            let reason = reason.map_or_else(String::new, |(_, text)| format!(": {text}"));
            return match (shared.take_refusal(), bytes) {
                (Some(refusal), _) => Err(refusal),
                (None, 0) => Ok(()),
                _ => Err(StreamError::NotInVault { bytes, reason }),
            };
        }
        shared.spool.wait(Duration::from_millis(50));
    }
}
