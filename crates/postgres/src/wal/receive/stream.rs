//! WAL off the network, and word of what is safe.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use super::resume::Resume;
use super::source::Source;
use super::wake::Waker;
use crate::client::{Client, Fields, Frame, StandbyStatus, copy_done, tag, unexpected, wal_gone};
use crate::error::{Doing, Error};
use crate::layout::{Lsn, Timeline};

/// How often the server hears from us at least, if it is patient; a quarter of its patience otherwise.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// A server that did not answer for so many intervals is gone.
const SILENT_INTERVALS: u32 = 6;

/// How many messages are taken before word is sent of what became of them.
const BATCH: usize = 64;

/// How long a receiver without room keeps the connection. A server that shuts down waits for its walsenders, so that one
/// that never takes its WAL would keep it from ever stopping.
const PATIENCE_WITHOUT_ROOM: Duration = Duration::from_secs(60);

/// What the server is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All up to here is safe: the server need not keep it.
    pub flushed: Lsn,
    /// All up to here counts as replayed; zero if nothing is claimed.
    pub applied: Lsn,
}

/// Who takes the WAL. None of its methods may wait for a disk or a network.
pub trait Receiver {
    /// Takes the bytes from `at` on, which follow those taken before.
    fn take(&mut self, at: Lsn, bytes: Bytes);

    /// Whether more can be taken now. As long as not, the server is kept waiting, and alive.
    fn has_room(&mut self) -> bool;

    /// What is safe by now, on the timeline that is being streamed.
    fn report(&mut self) -> Report;

    /// The server has WAL up to here.
    fn server_end(&mut self, end: Lsn);

    /// Whether to take no more.
    fn wants_to_stop(&mut self) -> bool;
}

/// How a stream ended, if nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// As the receiver wished.
    Stopped,
    /// The server left this timeline.
    TimelineEnded {
        /// Where it went on, if it said so.
        next: Option<(Timeline, Lsn)>,
    },
}

/// Streams WAL from `from` on until the receiver stops it, the timeline ends, or something goes wrong. `from` may lie
/// anywhere within a segment. Whoever wakes `waker` has room again, something new to report, or wishes to stop.
///
/// # Errors
/// [`Error::WalMissing`] if the server no longer has what was asked for; otherwise what the server refuses, the loss of the
/// connection. The source can be used again only after [`StreamEnd::TimelineEnded`].
pub fn stream(
    source: &mut Source,
    from: Resume,
    receiver: &mut dyn Receiver,
    waker: &Waker,
) -> Result<StreamEnd, Error> {
    let mut streaming = Streaming::begin(source, from, receiver)?;
    streaming
        .run(waker)
        .doing(|| format!("stream WAL of timeline {}", from.timeline))
}

struct Streaming<'a> {
    client: &'a mut Client,
    receiver: &'a mut dyn Receiver,
    /// Where the next byte lies.
    position: Lsn,
    interval: Duration,
    told: Report,
    last_status: Instant,
    last_heard: Instant,
    /// Since when nothing could be taken.
    full_since: Option<Instant>,
}

impl<'a> Streaming<'a> {
    fn begin(
        source: &'a mut Source,
        from: Resume,
        receiver: &'a mut dyn Receiver,
    ) -> Result<Self, Error> {
        let command = format!(
            "START_REPLICATION SLOT \"{}\" PHYSICAL {} TIMELINE {}",
            source.slot(),
            from.lsn,
            from.timeline
        );
        let interval = source.sender_timeout().map(|patience| patience / 4);
        let interval = interval.map_or(STATUS_INTERVAL, |quarter| quarter.min(STATUS_INTERVAL));
        let client = source.client();
        let wait = client.options().read_timeout;
        client.send_query(&command)?;
        let answer = client.next_frame(wait).map_err(wal_gone);
        let answer = answer.doing(|| format!("begin to stream WAL at {}", from.lsn))?;
        if answer.tag != tag::COPY_BOTH {
            return Err(unexpected(answer.tag, "the answer to START_REPLICATION"));
        }
        let now = Instant::now();
        Ok(Self {
            client,
            receiver,
            position: from.lsn,
            interval,
            told: Report::default(),
            last_status: now,
            last_heard: now,
            full_since: None,
        })
    }

    fn run(&mut self, waker: &Waker) -> Result<StreamEnd, Error> {
        loop {
            if self.receiver.wants_to_stop() {
                self.say_goodbye();
                return Ok(StreamEnd::Stopped);
            }
            let has_room = self.receiver.has_room();
            self.note_room(has_room)?;
            let wait = self.interval.saturating_sub(self.last_status.elapsed());
            let input = self
                .client
                .wait_or_wake(waker.descriptor(), has_room, wait)?;
            waker.settle();
            if input && !has_room {
                return Err(hung_up());
            }
            if input && let Some(end) = self.take_batch()? {
                return Ok(end);
            }
            if !input && has_room {
                self.check_silence()?;
            }
            self.report_if_due()?;
        }
    }

    fn note_room(&mut self, has_room: bool) -> Result<(), Error> {
        if has_room {
            self.full_since = None;
            return Ok(());
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        match since.elapsed() > PATIENCE_WITHOUT_ROOM {
            true => Err(Error::NoRoom),
            false => Ok(()),
        }
    }

    /// Takes what has arrived, up to a bound.
    fn take_batch(&mut self) -> Result<Option<StreamEnd>, Error> {
        // Reads from the socket once; after that only whole messages are taken.
        let mut wait = Duration::from_millis(1);
        for _ in 0..BATCH {
            let Some(frame) = self.client.poll_frame(wait).map_err(wal_gone)? else {
                break;
            };
            wait = Duration::ZERO;
            self.last_heard = Instant::now();
            if frame.tag == tag::COPY_DONE {
                return self.leave_timeline().map(Some);
            }
            self.take(frame)?;
            if !self.receiver.has_room() {
                break;
            }
        }
        Ok(None)
    }

    fn take(&mut self, Frame { tag, mut body }: Frame) -> Result<(), Error> {
        match tag {
            tag::COPY_DATA => {}
            // A walsender of a server that shuts down ends the command before it goes.
            tag::COMMAND_COMPLETE => return Err(hung_up()),
            other => return Err(unexpected(other, "the WAL stream")),
        }
        let mut fields = Fields(&body);
        match fields.u8()? {
            b'w' => {
                let start = Lsn::new(fields.u64()?);
                let server_end = Lsn::new(fields.u64()?);
                // The server's clock: nothing here depends on it.
                fields.take(8)?;
                body.advance(25);
                self.wal(start, server_end, body)
            }
            b'k' => {
                self.receiver.server_end(Lsn::new(fields.u64()?));
                fields.take(8)?;
                match fields.u8()? {
                    0 => Ok(()),
                    _ => self.report(false),
                }
            }
            other => Err(unexpected(other, "the WAL stream")),
        }
    }

    fn wal(&mut self, start: Lsn, server_end: Lsn, bytes: Bytes) -> Result<(), Error> {
        if start != self.position {
            let due = self.position;
            return Err(Error::protocol(format!(
                "the server went on at {start} where {due} was due"
            )));
        }
        self.position = start.plus(bytes.len() as u64);
        self.receiver.server_end(server_end.max(self.position));
        self.receiver.take(start, bytes);
        Ok(())
    }

    /// Ends the copy from our side too, and hears where the server went on.
    fn leave_timeline(&mut self) -> Result<StreamEnd, Error> {
        self.client.send_raw(&copy_done())?;
        let wait = self.client.options().read_timeout;
        let rows = self.client.rest_of_answer(wait)?;
        let next = match rows.iter().next() {
            Some(row) => Some((row.at(0)?, row.at(1)?)),
            None => None,
        };
        Ok(StreamEnd::TimelineEnded { next })
    }

    fn report_if_due(&mut self) -> Result<(), Error> {
        let is_news = self.receiver.report() != self.told;
        match is_news || self.last_status.elapsed() >= self.interval {
            true => self.report(false),
            false => Ok(()),
        }
    }

    /// A server that says nothing is asked; one that does not answer is gone.
    fn check_silence(&mut self) -> Result<(), Error> {
        let silence = self.last_heard.elapsed();
        if silence > self.interval * SILENT_INTERVALS {
            return Err(Error::TimedOut { waited: silence });
        }
        match silence > self.interval * 2 && self.last_status.elapsed() >= self.interval {
            true => self.report(true),
            false => Ok(()),
        }
    }

    fn report(&mut self, answer_wanted: bool) -> Result<(), Error> {
        let report = self.receiver.report();
        let status = StandbyStatus {
            written: self.position,
            flushed: report.flushed,
            applied: report.applied,
            answer_wanted,
        };
        self.last_status = Instant::now();
        self.told = report;
        self.client.send_raw(&status.message())
    }

    /// Tells what is safe one last time, so that the next stream begins there, and leaves in good order.
    fn say_goodbye(&mut self) {
        let said = self.report(false).and_then(|()| self.client.end_copy());
        if let Err(error) = said {
            tracing::debug!(%error, "the WAL stream ended without a goodbye");
        }
    }
}

impl Drop for Streaming<'_> {
    fn drop(&mut self) {
        self.client.hang_up_quietly();
    }
}

fn hung_up() -> Error {
    Error::ConnectionLost {
        source: std::io::ErrorKind::UnexpectedEof.into(),
    }
}
