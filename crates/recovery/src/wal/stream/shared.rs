//! What the threads of a stream share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rekindle_postgres::{
    Lsn,
    wal::receive::{Held, Place, Spool, Waker},
};
use rekindle_vault::WalArchive;

use super::{StreamError, StreamSettings, StreamState, gaps::Gaps};

/// The reader of the spool that is the main vault.
pub(super) const MAIN: usize = 0;

/// How long the main vault may fail before the server is told that what the spool has is safe.
pub(super) const VAULT_PATIENCE: Duration = Duration::from_secs(30);

/// Samples of when what was received are this far apart at least.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// As many samples are kept; the oldest are thinned out first.
const MOST_SAMPLES: usize = 20_000;

/// Asks a stream to end. Everything received is stored first.
#[derive(Clone, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// A handle of a stream that nobody asked to end yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks it to end. Noticed within a second.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was asked to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeLevel {
    /// How far it is; every few seconds.
    Progress,
    /// The state changed as it should.
    Info,
    /// It goes on, but something is wrong.
    Warning,
    /// Data may be lost; a person must look.
    Error,
}

/// Something that changed.
#[derive(Clone, Debug)]
pub struct Notice {
    /// How much it matters.
    pub level: NoticeLevel,
    /// One line.
    pub text: String,
}

/// What is known of one vault.
#[derive(Default)]
pub(super) struct LaneState {
    /// Whether it was opened and listed.
    pub(super) archive: Option<WalArchive>,
    /// Of which cluster.
    pub(super) system: Option<u64>,
    /// The WAL that it has of the cluster.
    pub(super) held: Held,
    /// The same, without zeros at an end that may be no WAL.
    pub(super) surely_held: Held,
    pub(super) failing_since: Option<Instant>,
    pub(super) last_error: Option<(Timestamp, String)>,
    /// Something was dropped from the spool that it does not have.
    pub(super) needs_filling: bool,
    /// What it lacked when that was last looked at, for people.
    pub(super) lacks: Option<String>,
    pub(super) stored_bytes: u64,
}

impl LaneState {
    pub(super) fn has_failed_for(&self, patience: Duration) -> bool {
        self.failing_since
            .is_some_and(|since| since.elapsed() > patience)
    }
}

/// What the receiver knows.
pub(super) struct Progress {
    pub(super) state: StreamState,
    pub(super) received: Option<Place>,
    pub(super) reported: Lsn,
    pub(super) server_end: Option<Lsn>,
    pub(super) last_error: Option<(Timestamp, String)>,
    samples: VecDeque<(Instant, Place)>,
    is_alive: bool,
}

/// What the threads of a stream share.
pub(super) struct Shared {
    pub(super) settings: StreamSettings,
    pub(super) spool: Arc<Spool>,
    pub(super) waker: Arc<Waker>,
    pub(super) stop: StopHandle,
    pub(super) monitor: Arc<dyn Fn(&Notice) + Send + Sync>,
    pub(super) started: Timestamp,
    lanes: Vec<Mutex<LaneState>>,
    progress: Mutex<Progress>,
    gaps: Mutex<Gaps>,
    fatal: Mutex<Option<StreamError>>,
    is_over: AtomicBool,
    is_ending: AtomicBool,
    pub(super) received_bytes: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        settings: StreamSettings,
        spool: Spool,
        waker: Waker,
        gaps: Gaps,
        request: &super::StreamRequest,
    ) -> Self {
        let lanes = settings.vaults.iter().map(|_| Mutex::default()).collect();
        Self {
            settings,
            spool: Arc::new(spool),
            waker: Arc::new(waker),
            stop: request.stop.clone(),
            monitor: Arc::clone(&request.monitor),
            started: Timestamp::now(),
            lanes,
            progress: Mutex::new(Progress {
                state: StreamState::Connecting,
                received: None,
                reported: Lsn::INVALID,
                server_end: None,
                last_error: None,
                samples: VecDeque::new(),
                is_alive: false,
            }),
            gaps: Mutex::new(gaps),
            fatal: Mutex::new(None),
            is_over: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            received_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn lane(&self, index: usize) -> MutexGuard<'_, LaneState> {
        locked(&self.lanes[index])
    }

    pub(super) fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        locked(&self.progress)
    }

    pub(super) fn gaps(&self) -> MutexGuard<'_, Gaps> {
        locked(&self.gaps)
    }

    /// Nothing more will be received: what is there is stored at once.
    pub(super) fn end_receiving(&self) {
        self.is_ending.store(true, Ordering::Release);
        self.spool.notify();
    }

    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// All threads end.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.spool.notify();
        self.waker.wake();
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Ends the stream for a reason that no retry changes. The first one is told.
    pub(super) fn refuse(&self, error: StreamError) {
        locked(&self.fatal).get_or_insert(error);
        self.waker.wake();
        self.spool.notify();
    }

    pub(super) fn is_refused(&self) -> bool {
        locked(&self.fatal).is_some()
    }

    pub(super) fn take_refusal(&self) -> Option<StreamError> {
        locked(&self.fatal).take()
    }

    /// Whether the receiver shall stop receiving.
    pub(super) fn wants_to_stop(&self) -> bool {
        self.stop.is_stopped() || self.is_refused()
    }

    pub(super) fn notice(&self, level: NoticeLevel, text: impl Into<String>) {
        let notice = Notice {
            level,
            text: text.into(),
        };
        match level {
            NoticeLevel::Progress | NoticeLevel::Info => tracing::info!("{}", notice.text),
            // The monitor's words are on the screen already.
            NoticeLevel::Warning | NoticeLevel::Error => tracing::debug!("{}", notice.text),
        }
        (self.monitor)(&notice);
    }

    /// Whether the main vault was opened and listed for the cluster that is being received.
    pub(super) fn main_is_open(&self) -> bool {
        let system = self.spool.system().map(|(system, _)| system);
        let main = self.lane(MAIN);
        main.archive.is_some() && main.system == system
    }

    /// Everything that is in the main vault or in the spool.
    pub(super) fn held(&self, surely: bool) -> Held {
        let mut held = {
            let main = self.lane(MAIN);
            if surely {
                main.surely_held.clone()
            } else {
                main.held.clone()
            }
        };
        held.merge(&self.spool.held());
        held
    }
}

impl Progress {
    /// The server spoke, and has WAL up to `end`.
    pub(super) fn note_server_end(&mut self, end: Lsn) {
        self.server_end = Some(end);
        self.is_alive = true;
    }

    /// Whether the server spoke since this was last asked.
    pub(super) fn take_sign_of_life(&mut self) -> bool {
        std::mem::take(&mut self.is_alive)
    }

    /// All up to `place` was received now.
    pub(super) fn note_received(&mut self, place: Place) {
        self.received = Some(place);
        let is_due = self
            .samples
            .back()
            .is_none_or(|(at, _)| at.elapsed() >= SAMPLE_EVERY);
        if is_due {
            if self.samples.len() >= MOST_SAMPLES {
                let mut keep = false;
                self.samples.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.samples.push_back((Instant::now(), place));
        } else if let Some(last) = self.samples.back_mut() {
            last.1 = place;
        }
    }

    /// How long the oldest byte after `stored` has been waiting to be stored, as we know it.
    pub(super) fn age_after(&self, stored: Place) -> Duration {
        if self.received.is_none_or(|received| received <= stored) {
            return Duration::ZERO;
        }
        let first = self.samples.iter().find(|(_, place)| *place > stored);
        first.map_or(Duration::ZERO, |(at, _)| at.elapsed())
    }

    /// Forgets samples that nobody waits for.
    pub(super) fn forget_until(&mut self, stored: Place) {
        while self.samples.len() > 1
            && self
                .samples
                .front()
                .is_some_and(|(_, place)| *place <= stored)
        {
            self.samples.pop_front();
        }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
