//! One vault's way: takes from the spool what it has not yet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rekindle_postgres::{
    SegmentName,
    wal::receive::{Reader, Work},
};
use rekindle_vault::{WalArchiveError, WalEffort};

use super::fill::Filling;
use super::growing::Growing;
use super::opened::Opened;
use super::shared::{MAIN, Shared};
use super::{NoticeLevel, StreamError};

/// The growing segment is stored again at most this often.
const PARTIAL_INTERVAL: Duration = Duration::from_millis(400);

/// How long to wait after the first failure, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// With more segments waiting than this, compression yields to speed.
const FAR_BEHIND: usize = 2;

/// How long nothing is done at most before looking whether something is wanted.
const IDLE: Duration = Duration::from_secs(1);

pub(super) struct Lane {
    index: Reader,
    shared: Arc<Shared>,
    opened: Option<Opened>,
    growing: Option<Growing>,
    filling: Option<Filling>,
    last_partial: Instant,
    failures: u32,
}

impl Lane {
    pub(super) fn new(index: Reader, shared: Arc<Shared>) -> Self {
        Self {
            index,
            shared,
            opened: None,
            growing: None,
            filling: None,
            last_partial: Instant::now() - PARTIAL_INTERVAL,
            failures: 0,
        }
    }

    /// Works until everything is over.
    pub(super) fn run(mut self) {
        while !self.shared.is_over() {
            match self.step() {
                Ok(()) => self.note_success(),
                Err(error) => self.note_failure(error),
            }
        }
    }

    fn name(&self) -> &str {
        &self.shared.settings.vaults[self.index].name
    }

    /// Does one thing, or waits a while if there is nothing to do.
    fn step(&mut self) -> Result<(), StreamError> {
        if !self.is_open_for_system()? {
            self.shared.spool.wait(IDLE);
            return Ok(());
        }
        let Some(opened) = &mut self.opened else {
            return Ok(());
        };
        let spool = Arc::clone(&self.shared.spool);
        match spool.next_work(self.index, Opened::most_together(opened.size)) {
            Some(Work::History(timeline, content)) => {
                opened.put_history(timeline, &content)?;
                spool.history_done(self.index, timeline);
                Ok(())
            }
            Some(Work::Segments(segments)) => self.store_segments(&segments),
            Some(Work::Partial {
                segment,
                written,
                epoch,
                is_resting,
            }) => {
                let since = self.last_partial.elapsed();
                let is_due = since >= PARTIAL_INTERVAL || is_resting || self.shared.is_ending();
                if is_due {
                    return self.store_partial(segment, written, epoch, is_resting);
                }
                spool.wait(PARTIAL_INTERVAL - since);
                Ok(())
            }
            None if self.fill()? => Ok(()),
            None => {
                spool.wait(IDLE);
                Ok(())
            }
        }
    }

    /// Opens the vault if need be; false as long as it is not known whose WAL will come.
    fn is_open_for_system(&mut self) -> Result<bool, StreamError> {
        let Some((system, size)) = self.shared.spool.system() else {
            return Ok(false);
        };
        if self
            .opened
            .as_ref()
            .is_some_and(|opened| opened.system == system)
        {
            return Ok(true);
        }
        let vault = &self.shared.settings.vaults[self.index];
        let (opened, inventory) = Opened::open(vault, system, size)?;
        let mut lane = self.shared.lane(self.index);
        lane.archive = Some(opened.archive.clone());
        lane.system = Some(system);
        (lane.held, lane.surely_held) = (inventory.held, inventory.surely_held);
        lane.stored_bytes = inventory.stored_bytes;
        lane.needs_filling = self.index != MAIN;
        drop(lane);
        (self.growing, self.filling) = (None, None);
        self.opened = Some(opened);
        self.shared.waker.wake();
        self.shared.spool.notify();
        Ok(true)
    }

    fn store_segments(&mut self, segments: &[SegmentName]) -> Result<(), StreamError> {
        let Some(opened) = &mut self.opened else {
            return Ok(());
        };
        let effort = match segments.len() > FAR_BEHIND {
            true => WalEffort::Fastest,
            false => WalEffort::Fast,
        };
        let spool = &self.shared.spool;
        let (stored, error) = opened.put_segments(spool, segments, effort);
        for segment in stored {
            {
                let mut lane = self.shared.lane(self.index);
                lane.held.add(segment);
                lane.surely_held.add(segment);
            }
            spool.done(self.index, segment, segment.size().bytes());
            self.growing = None;
        }
        self.shared.waker.wake();
        error.map_or(Ok(()), Err)
    }

    fn store_partial(
        &mut self,
        segment: SegmentName,
        written: u64,
        epoch: u64,
        is_resting: bool,
    ) -> Result<(), StreamError> {
        let Some(opened) = &mut self.opened else {
            return Ok(());
        };
        if self
            .growing
            .as_ref()
            .is_none_or(|growing| !growing.is(segment, epoch))
        {
            self.growing = Some(Growing::load(opened, segment, epoch)?);
        }
        let spool = &self.shared.spool;
        if let Some(growing) = &mut self.growing {
            growing.store(opened, spool, written)?;
        }
        self.last_partial = Instant::now();
        {
            let mut lane = self.shared.lane(self.index);
            lane.held.add_partial(segment, written);
            lane.surely_held.add_partial(segment, written);
        }
        spool.partial_stored(self.index, segment, written);
        if is_resting {
            spool.done(self.index, segment, written);
        }
        self.shared.waker.wake();
        Ok(())
    }

    /// Brings one file that this copy lacks; false if there is none.
    fn fill(&mut self) -> Result<bool, StreamError> {
        if self.index == MAIN {
            return Ok(false);
        }
        let main = self.shared.lane(MAIN).archive.clone();
        let (Some(main), Some(opened)) = (main, &mut self.opened) else {
            return Ok(false);
        };
        if self.filling.is_none() && self.shared.lane(self.index).needs_filling {
            self.filling = Some(Filling::look(opened, &main)?);
            self.shared.lane(self.index).needs_filling = false;
        }
        let Some(filling) = &mut self.filling else {
            return Ok(false);
        };
        self.shared.lane(self.index).lacks = filling.summary();
        if filling.is_done() {
            self.filling = None;
            return Ok(false);
        }
        filling.step(opened, &main)?;
        Ok(true)
    }

    fn note_success(&mut self) {
        if self.failures == 0 {
            return;
        }
        self.failures = 0;
        let since = self.shared.lane(self.index).failing_since.take();
        let down = since.map_or(0, |since| since.elapsed().as_secs());
        let text = format!("{} can be written again, after {down} s", self.name());
        self.shared.notice(NoticeLevel::Info, text);
    }

    fn note_failure(&mut self, error: StreamError) {
        let text = error.in_full();
        {
            let mut lane = self.shared.lane(self.index);
            lane.failing_since.get_or_insert_with(Instant::now);
            lane.last_error = Some((Timestamp::now(), text.clone()));
        }
        self.failures += 1;
        if self.failures == 1 {
            let text = format!("{} fails: {text}", self.name());
            self.shared.notice(NoticeLevel::Warning, text);
        }
        // Another disk in the same place, or a vault made anew, shows when it is opened again.
        let is_other = matches!(
            &error,
            StreamError::Archive {
                source: WalArchiveError::OtherVault { .. },
                ..
            }
        );
        if is_other {
            self.opened = None;
        }
        self.growing = None;
        if self.index == MAIN && error.is_refusal() {
            self.shared.refuse(error);
        }
        self.shared.waker.wake();
        self.pause();
    }

    fn pause(&self) {
        let (first, most) = BACKOFF;
        let doubled = first.saturating_mul(1 << self.failures.saturating_sub(1).min(10));
        let until = Instant::now() + doubled.min(most);
        while Instant::now() < until && !self.shared.is_over() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
