//! The WAL a base backup needs, streamed while the backup runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use crossbeam_channel::{Receiver, SendTimeoutError, Sender};

use super::base_backup::Place;
use crate::client::{Client, Fields, Frame, StandbyStatus, tag, unexpected, wal_gone};
use crate::error::{Doing, Error};
use crate::layout::{Lsn, SegmentName, SegmentSize, Timeline};
use crate::sink::{PgdataSink, private_file, put_file};

/// How often the server hears from us; it gives up after `wal_sender_timeout`, 60 s by default.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// How long the receiver waits before it looks whether the stop is known by now.
const POLL: Duration = Duration::from_millis(50);

/// Zeros for the rest of the last segment are handed out in pieces of this size.
const ZEROS: usize = 1 << 20;

/// What the backup tells its WAL receiver.
#[derive(Default)]
pub(super) struct Signals {
    /// The offset where the backup stops; 0 as long as it is not known.
    stop: AtomicU64,
    /// Set when there is no point in going on.
    is_over: AtomicBool,
}

impl Signals {
    pub(super) fn stop_at(&self, stop: Lsn) {
        self.stop.store(stop.offset(), Ordering::Release);
    }

    pub(super) fn give_up(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn stop(&self) -> Option<Lsn> {
        Some(self.stop.load(Ordering::Acquire))
            .filter(|stop| *stop != 0)
            .map(Lsn::new)
    }
}

/// A step of writing segments, on its way from the network to the sink.
pub(super) enum Piece {
    /// A small whole file of `pg_wal`.
    File(String, Vec<u8>),
    Begin(SegmentName),
    Data(Bytes),
    End,
}

/// A replication connection that holds WAL back by a temporary slot.
pub(super) struct WalConnection {
    client: Client,
    slot: String,
}

impl WalConnection {
    /// Makes a temporary physical slot, so that the server keeps all WAL from here on. The slot
    /// goes when the connection goes.
    pub(super) fn reserve(mut client: Client) -> Result<Self, Error> {
        let slot = slot_name();
        let command = format!("CREATE_REPLICATION_SLOT {slot} TEMPORARY PHYSICAL RESERVE_WAL");
        client
            .query(&command)
            .doing(|| "create a temporary replication slot".to_owned())?;
        Ok(Self { client, slot })
    }

    /// The history file of `timeline`: name and content.
    pub(super) fn history(&mut self, timeline: Timeline) -> Result<(String, Vec<u8>), Error> {
        let rows = self
            .client
            .query(&format!("TIMELINE_HISTORY {}", timeline.number()))?;
        let row = rows.first()?;
        let content: String = row.at(1)?;
        Ok((timeline.history_file_name(), content.into_bytes()))
    }

    /// Streams WAL into `pieces` until `signals` name a stop and it is reached.
    ///
    /// Returns the names of the segments sent. On success they cover everything from `start` to
    /// the stop without a gap, the last padded with zeros.
    pub(super) fn stream(
        self,
        start: Place,
        size: SegmentSize,
        signals: &Signals,
        pieces: &Sender<Piece>,
    ) -> Result<Vec<String>, Error> {
        let mut streaming = Streaming::begin(self, start, size, signals, pieces)?;
        while !streaming.is_complete() {
            if signals.is_over() {
                return Err(given_up());
            }
            streaming
                .step()
                .doing(|| "stream the WAL of the backup".to_owned())?;
        }
        streaming.finish()
    }
}

/// A stream of WAL in progress.
struct Streaming<'a> {
    client: Client,
    signals: &'a Signals,
    pieces: &'a Sender<Piece>,
    size: SegmentSize,
    timeline: Timeline,
    /// Where the next byte lies.
    position: Lsn,
    open: Option<SegmentName>,
    segments: Vec<String>,
    last_status: Instant,
    last_heard: Instant,
}

impl<'a> Streaming<'a> {
    fn begin(
        connection: WalConnection,
        start: Place,
        size: SegmentSize,
        signals: &'a Signals,
        pieces: &'a Sender<Piece>,
    ) -> Result<Self, Error> {
        let WalConnection { mut client, slot } = connection;
        let position = size.floor(start.lsn);
        let timeline = start.timeline;
        let wait = client.options().read_timeout;
        client.send_query(&format!(
            "START_REPLICATION SLOT {slot} PHYSICAL {position} TIMELINE {timeline}"
        ))?;
        let answer = client
            .next_frame(wait)
            .map_err(wal_gone)
            .doing(|| "begin to stream WAL".to_owned())?;
        if answer.tag != tag::COPY_BOTH {
            return Err(unexpected(answer.tag, "the answer to START_REPLICATION"));
        }
        let now = Instant::now();
        Ok(Self {
            client,
            signals,
            pieces,
            size,
            timeline,
            position,
            open: None,
            segments: Vec::new(),
            last_status: now,
            last_heard: now,
        })
    }

    fn is_complete(&self) -> bool {
        self.signals
            .stop()
            .is_some_and(|stop| self.position >= stop)
    }

    fn step(&mut self) -> Result<(), Error> {
        match self.client.poll_frame(POLL).map_err(wal_gone)? {
            Some(frame) => {
                self.last_heard = Instant::now();
                self.take(frame)?;
            }
            None => self.check_silence()?,
        }
        self.report_if_due()
    }

    fn take(&mut self, Frame { tag, mut body }: Frame) -> Result<(), Error> {
        match tag {
            tag::COPY_DATA => {}
            tag::COPY_DONE => {
                let reason = format!("timeline {} ended while the backup ran", self.timeline);
                return Err(Error::WalMissing { reason });
            }
            other => return Err(unexpected(other, "the WAL stream")),
        }
        let mut fields = Fields(&body);
        match fields.u8()? {
            b'w' => {
                let start = Lsn::new(fields.u64()?);
                // End of WAL on the server and its clock.
                fields.take(16)?;
                body.advance(25);
                self.wal(start, body)
            }
            b'k' => {
                fields.take(16)?;
                match fields.u8()? {
                    0 => Ok(()),
                    _ => self.report(false),
                }
            }
            other => Err(unexpected(other, "the WAL stream")),
        }
    }

    /// Hands WAL on, cut at segment boundaries.
    fn wal(&mut self, start: Lsn, mut bytes: Bytes) -> Result<(), Error> {
        if start != self.position {
            let reason = format!(
                "the server went on at {start} where {} was due",
                self.position
            );
            return Err(Error::WalMissing { reason });
        }
        while !bytes.is_empty() {
            let segment = SegmentName::at(self.timeline, self.position, self.size);
            if self.open != Some(segment) {
                self.send(Piece::Begin(segment))?;
                self.open = Some(segment);
            }
            let room = segment.end().offset() - self.position.offset();
            let take = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            self.position = self.position.plus(take as u64);
            self.send(Piece::Data(bytes.split_to(take)))?;
            if self.position == segment.end() {
                self.close(segment)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, segment: SegmentName) -> Result<(), Error> {
        self.open = None;
        self.segments.push(segment.to_string());
        self.send(Piece::End)
    }

    /// Waits for room without going silent: the sink may take longer than the server's patience.
    fn send(&mut self, piece: Piece) -> Result<(), Error> {
        let mut piece = piece;
        loop {
            match self.pieces.send_timeout(piece, STATUS_INTERVAL) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) => {
                    if self.signals.is_over() {
                        return Err(given_up());
                    }
                    piece = back;
                    self.report_if_due()?;
                }
                Err(SendTimeoutError::Disconnected(_)) => {
                    return Err(Error::WalMissing {
                        reason: "what was received could not be stored".to_owned(),
                    });
                }
            }
        }
    }

    fn report_if_due(&mut self) -> Result<(), Error> {
        match self.last_status.elapsed() >= STATUS_INTERVAL {
            true => self.report(false),
            false => Ok(()),
        }
    }

    /// A server that says nothing is asked; one that does not answer is gone.
    fn check_silence(&mut self) -> Result<(), Error> {
        let silence = self.last_heard.elapsed();
        if silence > self.client.options().read_timeout {
            return Err(Error::TimedOut { waited: silence });
        }
        match silence > STATUS_INTERVAL * 2 && self.last_status.elapsed() >= STATUS_INTERVAL {
            true => self.report(true),
            false => Ok(()),
        }
    }

    /// Tells the server what was written. Nothing is ever reported as flushed: nothing is durable
    /// before the backup is published, and a receiver that reports flushes can be taken for a
    /// synchronous standby, which would make the server promise its clients what we do not keep.
    fn report(&mut self, answer_wanted: bool) -> Result<(), Error> {
        let status = StandbyStatus {
            written: self.position,
            answer_wanted,
            ..StandbyStatus::default()
        };
        self.last_status = Instant::now();
        self.client.send_raw(&status.message())
    }

    /// Fills up the last segment, which the server has not finished.
    fn finish(mut self) -> Result<Vec<String>, Error> {
        if let Some(segment) = self.open {
            let zeros = Bytes::from(vec![0; ZEROS]);
            let mut missing = segment.end().offset() - self.position.offset();
            while missing > 0 {
                let take = missing.min(ZEROS as u64);
                self.send(Piece::Data(zeros.slice(..take as usize)))?;
                missing -= take;
            }
            self.close(segment)?;
        }
        // All that was wanted is here; how the goodbye goes changes nothing.
        if let Err(error) = self.client.end_copy() {
            tracing::debug!(%error, "the WAL stream ended without a goodbye");
            self.client.hang_up_quietly();
        }
        Ok(std::mem::take(&mut self.segments))
    }
}

impl Drop for Streaming<'_> {
    fn drop(&mut self) {
        self.client.hang_up_quietly();
    }
}

/// Writes what the network thread hands over into the sink, until it hangs up.
///
/// The end of the channel proves nothing: only the success of the network thread says that the
/// segments are whole.
pub(super) fn deliver<S: PgdataSink>(
    pieces: &Receiver<Piece>,
    size: SegmentSize,
    sink: &mut S,
) -> Result<(), S::Error> {
    for piece in pieces {
        match piece {
            Piece::Begin(segment) => {
                sink.begin_file(&format!("pg_wal/{segment}"), size.bytes(), &private_file())?;
            }
            Piece::File(name, content) => {
                put_file(sink, &format!("pg_wal/{name}"), content, &private_file())?;
            }
            Piece::Data(bytes) => sink.data(bytes)?,
            Piece::End => sink.end_file()?,
        }
    }
    Ok(())
}

fn given_up() -> Error {
    Error::WalMissing {
        reason: "the backup was given up".to_owned(),
    }
}

/// A name no other run uses at the same time; lower-case letters, digits and `_` only.
pub(crate) fn slot_name() -> String {
    let nanoseconds = jiff::Timestamp::now().as_nanosecond() as u64;
    format!("rekindle_{}_{nanoseconds:x}", std::process::id())
}
