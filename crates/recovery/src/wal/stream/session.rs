//! One connection: who is there, where to go on, what is missing.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rekindle_postgres::{
    self as pg, Lsn, SegmentSize,
    wal::receive::{
        Place, Resume, Slot, SlotState, Source, SpoolError, SpoolWriter, Standing, StreamEnd,
        go_on, resume, standing, stream,
    },
};

use super::receiver::Receiving;
use super::shared::{MAIN, Shared};
use super::{Gap, NoticeLevel, StreamError};
use crate::{RecoveryError, open_vault, wal::bases::Bases};

/// How long the vault is waited for before the connection is tried anew.
const VAULT_WAIT: Duration = Duration::from_secs(20);

/// What is carried from one connection to the next.
pub(super) struct Session<'a> {
    pub(super) shared: &'a Shared,
    pub(super) writer: &'a SpoolWriter,
    pub(super) accept_new_server: bool,
    pub(super) once: bool,
    /// With `once`: what shall be in the vault at the end.
    goal: Option<Place>,
    /// Where to go on after a gap.
    skip_to: Option<Resume>,
    /// It was decided without the vault where to go on: to be decided again when it can be read.
    is_preliminary: bool,
    was_preliminary: bool,
}

/// How a connection ended.
pub(super) enum Ended {
    Stopped,
    /// At once again: the timeline ended, a gap was noted, or the vault can be read now.
    Again,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        writer: &'a SpoolWriter,
        accept_new_server: bool,
        once: bool,
    ) -> Self {
        Self {
            shared,
            writer,
            accept_new_server,
            once,
            goal: None,
            skip_to: None,
            is_preliminary: false,
            was_preliminary: false,
        }
    }

    /// Connects, and streams until something ends it.
    pub(super) fn run(&mut self) -> Result<Ended, StreamError> {
        let settings = &self.shared.settings;
        let mut source = Source::connect(&settings.options, &settings.slot)?;
        self.check_system(&source)?;
        self.keep_histories(&source)?;
        let kept_from = self.prepare_slot(&mut source)?;
        self.await_vault(kept_from)?;
        if self.shared.wants_to_stop() {
            return Ok(Ended::Stopped);
        }
        self.check_standing(&source)?;
        if self.once && self.goal.is_none() {
            self.goal = Some(Place {
                timeline: source.identity().timeline,
                lsn: source.flushed(),
            });
        }
        let from = self.starting_point(&source, kept_from);
        self.writer.begin(from, source.segment_size());
        self.tell_start(&source, from);
        let is_preliminary = self.is_preliminary;
        let mut receiver =
            Receiving::new(self.shared, self.writer, from, self.goal, is_preliminary);
        let ended = stream(&mut source, from, &mut receiver, &self.shared.waker);
        drop(receiver);
        match ended {
            Ok(StreamEnd::TimelineEnded { next }) => {
                self.writer.end_timeline();
                self.tell_switch(from, next);
                Ok(Ended::Again)
            }
            Ok(StreamEnd::Stopped) => self.stopped(),
            Err(error) if matches!(error.root(), pg::Error::WalMissing { .. }) => {
                self.note_gap(&source, from, kept_from, &error)?;
                Ok(Ended::Again)
            }
            Err(error) => self.refused(&mut source, error),
        }
    }

    fn stopped(&mut self) -> Result<Ended, StreamError> {
        if let Some(failure) = self.writer.take_failure() {
            return Err(match failure {
                SpoolError::Diverged { timeline, at } => StreamError::Diverged {
                    vault: "the spool".to_owned(),
                    segment: format!("{at} on timeline {timeline}"),
                },
                other => StreamError::Spool(other),
            });
        }
        if self.is_preliminary && self.shared.main_is_open() && !self.shared.wants_to_stop() {
            return Ok(Ended::Again);
        }
        Ok(Ended::Stopped)
    }

    /// What the server's refusal to stream has to do with the slot.
    fn refused(&self, source: &mut Source, error: pg::Error) -> Result<Ended, StreamError> {
        let state = error.server_error().map(|server| server.sqlstate.as_str());
        match state {
            // undefined_object: it was dropped, or could not be looked for.
            Some("42704") => self
                .create_slot(source, "was missing")
                .map(|()| Ended::Again),
            // object_in_use
            Some("55006") => Err(self.slot_taken(pid_in(&error))),
            // object_not_in_prerequisite_state: since 18, a slot that was invalidated says so.
            Some("55000") if error.to_string().contains("slot") || is_about_slot(&error) => {
                self.replace_slot(source).map(|()| Ended::Again)
            }
            _ => Err(error.into()),
        }
    }

    fn check_system(&self, source: &Source) -> Result<(), StreamError> {
        let (server, size) = (source.identity().system_identifier, source.segment_size());
        let archived = match self.shared.spool.system() {
            Some(known) if known == (server, size) => return Ok(()),
            Some((known, _)) => Some(known),
            None => self.archived_system()?,
        };
        if let Some(archived) = archived
            && archived != server
        {
            if !self.accept_new_server {
                return Err(StreamError::OtherSystem { archived, server });
            }
            self.store_rest_of_old_server()?;
            let text = format!(
                "from now on the WAL of cluster {server} is archived, instead of {archived}"
            );
            self.shared.notice(NoticeLevel::Warning, text);
        }
        Ok(self.shared.spool.adopt(server, size)?)
    }

    /// Whose base backup the newest recovery point of the service is.
    fn archived_system(&self) -> Result<Option<u64>, StreamError> {
        let main = &self.shared.settings.vaults[MAIN];
        let failed = |source: RecoveryError| StreamError::Open {
            vault: main.name.clone(),
            source: Box::new(source),
        };
        let vault = open_vault(&main.settings).map_err(failed)?;
        let bases = Bases::read(&vault, &self.shared.settings.service).map_err(failed)?;
        Ok(bases.newest_system())
    }

    /// What the spool has of another cluster is stored first.
    fn store_rest_of_old_server(&self) -> Result<(), StreamError> {
        let deadline = Instant::now() + VAULT_WAIT;
        loop {
            let bytes = self.shared.spool.waiting_bytes(MAIN);
            if bytes == 0 {
                return Ok(());
            }
            if Instant::now() > deadline || self.shared.wants_to_stop() {
                let reason = self.vault_reason();
                return Err(StreamError::NotInVault { bytes, reason });
            }
            self.shared.spool.wait(Duration::from_millis(200));
        }
    }

    fn keep_histories(&self, source: &Source) -> Result<(), StreamError> {
        for file in source.histories() {
            match self.shared.spool.keep_history(file.timeline, &file.content) {
                Err(SpoolError::OtherHistory { timeline }) => {
                    return Err(StreamError::TimelineTaken {
                        timeline,
                        place: "the spool".to_owned(),
                    });
                }
                kept => kept?,
            }
        }
        for timeline in source.missing_histories() {
            let text = format!("the server has lost the history file of timeline {timeline}");
            self.shared.notice(NoticeLevel::Info, text);
        }
        Ok(())
    }

    /// Sees to it that the slot is there and ours; returns from where on it keeps WAL, if that is known.
    fn prepare_slot(&self, source: &mut Source) -> Result<Option<Lsn>, StreamError> {
        let slot = match source.slot_state()? {
            None => return Ok(None),
            Some(SlotState::Present(slot)) => self.usable(source, slot)?,
            Some(SlotState::Missing) => {
                let why = match self.shared.held(false).is_empty() {
                    true => "is new",
                    false => "was missing",
                };
                self.create_slot(source, why)?;
                None
            }
        };
        if let Some(slot) = slot {
            return Ok(slot.restart_lsn);
        }
        Ok(match source.slot_state()? {
            Some(SlotState::Present(slot)) => slot.restart_lsn,
            _ => None,
        })
    }

    fn usable(&self, source: &mut Source, slot: Slot) -> Result<Option<Slot>, StreamError> {
        if !slot.is_physical {
            let slot = self.shared.settings.slot.to_string();
            return Err(StreamError::SlotLogical { slot });
        }
        if let Some(pid) = slot.active_pid {
            return Err(self.slot_taken(pid.to_string()));
        }
        if slot.is_lost() {
            self.replace_slot(source)?;
            return Ok(None);
        }
        Ok(Some(slot))
    }

    fn slot_taken(&self, pid: String) -> StreamError {
        let slot = self.shared.settings.slot.to_string();
        StreamError::SlotTaken { slot, pid }
    }

    fn create_slot(&self, source: &mut Source, why: &str) -> Result<(), StreamError> {
        source.create_slot()?;
        let slot = &self.shared.settings.slot;
        let (level, then) = match why {
            "is new" => (NoticeLevel::Info, ""),
            _ => (
                NoticeLevel::Warning,
                "; WAL that the server removed in the meantime will be named",
            ),
        };
        self.shared.notice(
            level,
            format!("the replication slot `{slot}` {why}: created{then}"),
        );
        Ok(())
    }

    fn replace_slot(&self, source: &mut Source) -> Result<(), StreamError> {
        let slot = &self.shared.settings.slot;
        let text = format!(
            "the server gave up the replication slot `{slot}` (max_slot_wal_keep_size): it is dropped and created anew; \
             WAL that was removed will be named"
        );
        self.shared.notice(NoticeLevel::Error, text);
        source.drop_slot()?;
        Ok(source.create_slot()?)
    }

    fn vault_reason(&self) -> String {
        let said = self.shared.lane(MAIN).last_error.clone();
        said.map_or_else(String::new, |(_, text)| format!(": {text}"))
    }

    /// Waits for the vault's listing, which says where to go on. Without it the spool can say so, or the slot.
    fn await_vault(&mut self, kept_from: Option<Lsn>) -> Result<(), StreamError> {
        let deadline = Instant::now() + VAULT_WAIT;
        self.was_preliminary = self.is_preliminary;
        self.is_preliminary = false;
        while !self.shared.main_is_open() && !self.shared.wants_to_stop() {
            let has_failed = self.shared.lane(MAIN).last_error.is_some();
            let is_known = !self.shared.spool.held().is_empty() || kept_from.is_some();
            if has_failed && is_known && !self.once {
                self.is_preliminary = true;
                return Ok(());
            }
            if Instant::now() > deadline || (has_failed && self.once) {
                let reason = self.vault_reason();
                return Err(StreamError::VaultNotReady { reason });
            }
            self.shared.spool.wait(Duration::from_millis(200));
        }
        Ok(())
    }

    fn check_standing(&self, source: &Source) -> Result<(), StreamError> {
        let held = self.shared.held(true);
        let (timeline, flushed) = (source.identity().timeline, source.flushed());
        match standing(&held, source.history(), flushed, source.segment_size()) {
            Standing::Continues => Ok(()),
            Standing::Behind { held, .. } if source.identity().is_standby => {
                Err(StreamError::StandbyBehind { held, flushed })
            }
            Standing::Behind { timeline, held } => Err(StreamError::Behind {
                timeline,
                held,
                flushed,
            }),
            Standing::Abandoned { .. } if self.accept_new_server => Ok(()),
            Standing::Abandoned { newest } => Err(StreamError::Abandoned { newest, timeline }),
        }
    }

    fn starting_point(&mut self, source: &Source, kept_from: Option<Lsn>) -> Resume {
        let (history, size) = (source.history(), source.segment_size());
        let received = self.writer.end().filter(|_| !self.was_preliminary);
        let received = received.and_then(|place| go_on(place, history, size));
        let found = received.or_else(|| resume(&self.shared.held(false), history, kept_from, size));
        let first = || {
            let lsn = kept_from.unwrap_or(source.flushed());
            Resume {
                timeline: history.timeline_at(lsn),
                lsn: size.floor(lsn),
            }
        };
        let from = found.unwrap_or_else(first);
        let key = |at: Resume| (at.timeline, at.lsn);
        match self.skip_to.take() {
            Some(skip) if key(skip) > key(from) => skip,
            _ => from,
        }
    }

    /// The server has no longer what is wanted: notes what is missing, before anything later is received.
    fn note_gap(
        &mut self,
        source: &Source,
        from: Resume,
        kept_from: Option<Lsn>,
        error: &pg::Error,
    ) -> Result<(), StreamError> {
        let here = self
            .writer
            .end()
            .filter(|end| end.timeline == from.timeline);
        let wanted = here.map_or(from.lsn, |end| end.lsn.max(from.lsn));
        let wanted = wanted.max(self.archived_in(from, wanted, source.segment_size()));
        let to = self.after_gap(source, from, wanted, kept_from)?;
        let gap = Gap {
            system: source.identity().system_identifier.to_string(),
            timeline: from.timeline,
            from: wanted,
            to: to.lsn.max(wanted),
            noticed: Timestamp::now(),
            reason: error.root().to_string(),
        };
        let text = format!(
            "WAL is missing: the server has removed {} to {} of timeline {} before it was received; moments between the \
             last archived one and the next base backup cannot be restored: make a base backup now",
            gap.from, gap.to, gap.timeline
        );
        let noted = self.shared.gaps().add(gap);
        noted.map_err(|source| {
            StreamError::Spool(SpoolError::Io {
                action: "write",
                path: "gaps.json".to_owned(),
                source,
            })
        })?;
        tracing::error!("{text}");
        self.shared.notice(NoticeLevel::Error, text);
        self.skip_to = Some(to);
        Ok(())
    }

    /// Where what is archived of the segment at `wanted` ends, complete or not.
    fn archived_in(&self, from: Resume, wanted: Lsn, size: SegmentSize) -> Lsn {
        let held = self.shared.held(false);
        let number = size.number_of(wanted);
        let partial = held
            .of(from.timeline)
            .and_then(|there| there.partial.get(&number));
        partial.map_or(wanted, |bytes| size.start_of(number).plus(*bytes))
    }

    /// The oldest place after `wanted` that can be had.
    fn after_gap(
        &self,
        source: &Source,
        from: Resume,
        wanted: Lsn,
        kept_from: Option<Lsn>,
    ) -> Result<Resume, StreamError> {
        let (history, size) = (source.history(), source.segment_size());
        let timeline = from.timeline;
        let here = |lsn: Lsn| Resume { timeline, lsn };
        let oldest = source
            .oldest_segment(timeline)
            .filter(|oldest| *oldest > wanted);
        if let Some(oldest) = oldest {
            return Ok(here(oldest));
        }
        if let Some(end) = history.end_of(timeline) {
            return Ok(Resume {
                timeline: history.timeline_at(end),
                lsn: size.floor(end),
            });
        }
        let kept = kept_from
            .into_iter()
            .chain([source.flushed()])
            .map(|lsn| size.floor(lsn));
        let later = kept.filter(|lsn| *lsn > wanted).min();
        later
            .map(here)
            .ok_or(StreamError::NothingLeft { from: wanted })
    }

    fn tell_start(&self, source: &Source, from: Resume) {
        let text = format!(
            "streaming from {} on timeline {}, PostgreSQL {}{}",
            from.lsn,
            from.timeline,
            source.identity().version,
            match self.is_preliminary {
                true => "; the vault cannot be read yet",
                false => "",
            }
        );
        self.shared.notice(NoticeLevel::Info, text);
    }

    fn tell_switch(&self, from: Resume, next: Option<(pg::Timeline, Lsn)>) {
        let on = next.map_or_else(String::new, |(timeline, lsn)| {
            format!("; it goes on with timeline {timeline} at {lsn}")
        });
        let text = format!("timeline {} has ended{on}", from.timeline);
        self.shared.notice(NoticeLevel::Info, text);
    }
}

fn is_about_slot(error: &pg::Error) -> bool {
    error
        .server_error()
        .is_some_and(|server| server.message.contains("slot"))
}

/// The process number in `replication slot "x" is active for PID 123`.
fn pid_in(error: &pg::Error) -> String {
    let message = error
        .server_error()
        .map_or("", |server| server.message.as_str());
    let last = message.rsplit(' ').next().unwrap_or_default();
    last.chars().filter(char::is_ascii_digit).collect()
}
