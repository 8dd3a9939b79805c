//! The thread that writes what was received.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use super::files::Directory;
use super::{Place, SharedSpool, SpoolError};
use crate::layout::{SegmentName, SegmentSize};
use crate::wal::receive::{Resume, Waker};

/// How much may wait in memory to be written.
const INBOX_BYTES: usize = 32 << 20;

/// How long to wait before a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How old the answer may be how much of the disk is free.
const LOOK_AT_DISK: Duration = Duration::from_secs(1);

/// When what was received is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncing {
    /// As soon as nothing more waits to be written.
    AtOnce,
    /// At most so long after it was written.
    Within(Duration),
}

/// How much a spool may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of WAL.
    pub bytes: u64,
    /// Part of the disk that stays free, in hundredths.
    pub free_percent: u64,
}

/// Writes received WAL into a spool, on a thread of its own, so that who receives it never waits for a disk.
pub struct SpoolWriter {
    shared: Arc<Shared>,
    limits: Limits,
    disk: Mutex<(Instant, bool)>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    spool: SharedSpool,
    waker: Arc<Waker>,
    syncing: Syncing,
    inbox: Mutex<Inbox>,
    changed: Condvar,
}

#[derive(Default)]
struct Inbox {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Where the next byte will lie; `None` before the first, and after a failure.
    end: Option<Place>,
    is_idle: bool,
    is_closed: bool,
    /// Why nothing can be written now; it is tried again.
    trouble: Option<String>,
    /// Why nothing more is written on this stream.
    failure: Option<SpoolError>,
}

enum Piece {
    Begin(Place, SegmentSize),
    Data(Bytes),
    /// The timeline ended.
    End,
}

/// A part of a large disk would be more than anybody needs to get out of trouble.
const MOST_LEFT_ALONE: u64 = 1 << 30;

impl SpoolWriter {
    /// Starts the thread. `waker` is woken whenever there is room again or something became durable.
    pub fn start(spool: SharedSpool, waker: Arc<Waker>, syncing: Syncing, limits: Limits) -> Self {
        let shared = Arc::new(Shared {
            spool,
            waker,
            syncing,
            inbox: Mutex::new(Inbox::default()),
            changed: Condvar::new(),
        });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || Writing::new(for_thread).run());
        Self {
            shared,
            limits,
            disk: Mutex::new((Instant::now(), true)),
            thread: Some(thread),
        }
    }

    /// From now on bytes arrive from this place on: the start of a segment, or where the last ones ended.
    pub fn begin(&self, at: Resume, size: SegmentSize) {
        let place = Place {
            timeline: at.timeline,
            lsn: at.lsn,
        };
        self.shared
            .push(Piece::Begin(place, size), |inbox| inbox.end = Some(place));
    }

    /// Takes the next bytes.
    pub fn take(&self, bytes: Bytes) {
        let length = bytes.len();
        self.shared.push(Piece::Data(bytes), |inbox| {
            inbox.bytes += length;
            if let Some(end) = &mut inbox.end {
                end.lsn = end.lsn.plus(length as u64);
            }
        });
    }

    /// No more comes of this timeline.
    pub fn end_timeline(&self) {
        self.shared.push(Piece::End, |_| {});
    }

    /// Where the next byte is due; `None` if it has to be found out anew.
    pub fn end(&self) -> Option<Place> {
        self.shared.inbox().end
    }

    /// Whether more can be taken now.
    pub fn has_room(&self) -> bool {
        let is_busy = {
            let inbox = self.shared.inbox();
            inbox.bytes >= INBOX_BYTES || inbox.failure.is_some()
        };
        !is_busy && !self.is_full()
    }

    /// Whether the spool is as large as it may be, or its disk as full.
    pub fn is_full(&self) -> bool {
        let waiting = self.shared.inbox().bytes as u64;
        self.shared.spool.used_bytes() + waiting >= self.limits.bytes || !self.disk_has_room()
    }

    fn disk_has_room(&self) -> bool {
        let mut looked = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.0.elapsed() > LOOK_AT_DISK {
            // A disk that does not answer is noticed when it is written to.
            let has_room = rustix::fs::statvfs(self.shared.spool.root()).map_or(true, |stat| {
                let part = stat.f_blocks.saturating_mul(stat.f_frsize) / 100;
                let left_alone = (part * self.limits.free_percent).min(MOST_LEFT_ALONE);
                stat.f_bavail.saturating_mul(stat.f_frsize) >= left_alone
            });
            *looked = (Instant::now(), has_room);
        }
        looked.1
    }

    /// Why nothing can be written at the moment.
    pub fn trouble(&self) -> Option<String> {
        self.shared.inbox().trouble.clone()
    }

    /// Takes the reason why nothing more is written of this stream. Another stream may begin after that.
    pub fn take_failure(&self) -> Option<SpoolError> {
        self.shared.inbox().failure.take()
    }

    /// Whether [`Self::take_failure`] has something to tell.
    pub fn has_failed(&self) -> bool {
        self.shared.inbox().failure.is_some()
    }

    /// Waits until all that was taken is written and durable; false if it is not within `wait`.
    pub fn settle(&self, wait: Duration) -> bool {
        let inbox = self.shared.inbox();
        let busy = |inbox: &mut Inbox| !(inbox.is_idle && inbox.pieces.is_empty());
        let waited = self.shared.changed.wait_timeout_while(inbox, wait, busy);
        let (inbox, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out() && inbox.failure.is_none()
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        self.shared.inbox().is_closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there is reported by its own message.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, piece: Piece, note: impl FnOnce(&mut Inbox)) {
        let mut inbox = self.inbox();
        if inbox.failure.is_some() {
            return;
        }
        note(&mut inbox);
        inbox.pieces.push_back(piece);
        inbox.is_idle = false;
        drop(inbox);
        self.changed.notify_all();
    }
}

/// The segment that is being written.
struct Open {
    segment: SegmentName,
    file: File,
    written: u64,
    /// Bytes that were there before, and that what comes is held against.
    known: u64,
    was_complete: bool,
    is_dirty: bool,
}

struct Writing {
    shared: Arc<Shared>,
    place: Option<(Place, SegmentSize)>,
    open: Option<Open>,
    last_sync: Instant,
}

impl Writing {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            place: None,
            open: None,
            last_sync: Instant::now(),
        }
    }

    fn run(mut self) {
        while let Some(pieces) = self.next_pieces() {
            for piece in pieces {
                self.write_until_it_works(piece);
            }
            if self.is_sync_due() {
                self.sync_or_fail();
            }
            self.shared.spool.notify();
            self.shared.waker.wake();
        }
        self.sync_or_fail();
    }

    /// What waits to be written; nothing if it is only time to sync. `None` at the end.
    fn next_pieces(&mut self) -> Option<VecDeque<Piece>> {
        let shared = Arc::clone(&self.shared);
        let mut inbox = shared.inbox();
        loop {
            if !inbox.pieces.is_empty() {
                return Some(std::mem::take(&mut inbox.pieces));
            }
            if !self.is_dirty() && !inbox.is_idle {
                inbox.is_idle = true;
                shared.changed.notify_all();
            }
            if inbox.is_closed {
                return None;
            }
            inbox = match self.until_sync() {
                Some(Duration::ZERO) => return Some(VecDeque::new()),
                Some(wait) => {
                    let waited = shared.changed.wait_timeout(inbox, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => shared
                    .changed
                    .wait(inbox)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn is_dirty(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_dirty)
    }

    /// How long until what was written has to be made durable; `None` if all is.
    fn until_sync(&self) -> Option<Duration> {
        self.is_dirty().then(|| match self.shared.syncing {
            Syncing::AtOnce => Duration::ZERO,
            Syncing::Within(interval) => interval.saturating_sub(self.last_sync.elapsed()),
        })
    }

    fn is_sync_due(&self) -> bool {
        self.until_sync() == Some(Duration::ZERO)
    }

    /// A full or failing disk is waited for: the server keeps what was not taken. What a file system reports as
    /// failed to reach the disk cannot be tried again, and ends the stream.
    fn write_until_it_works(&mut self, mut piece: Piece) {
        let length = match &piece {
            Piece::Data(bytes) => bytes.len(),
            _ => 0,
        };
        loop {
            let has_failed = self.shared.inbox().failure.is_some();
            if has_failed {
                break;
            }
            let error = match self.handle(&mut piece) {
                Ok(()) => break,
                Err(Failed::Again(error)) => error,
                Err(Failed::Over(error)) => {
                    self.fail(error);
                    break;
                }
            };
            let shared = Arc::clone(&self.shared);
            let mut inbox = shared.inbox();
            if inbox.trouble.is_none() {
                tracing::error!(error = %with_cause(&error), "the spool cannot be written; it is tried again");
            }
            inbox.trouble = Some(with_cause(&error));
            if inbox.is_closed {
                break;
            }
            let waited = shared.changed.wait_timeout(inbox, RETRY);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        let mut inbox = self.shared.inbox();
        inbox.bytes = inbox.bytes.saturating_sub(length);
        if inbox.failure.is_none() && inbox.trouble.take().is_some() && !inbox.is_closed {
            tracing::info!("the spool can be written again");
        }
    }

    fn fail(&mut self, error: SpoolError) {
        // What the file holds is not known any more, unless it is the server that is not what it was.
        if matches!(error, SpoolError::Io { .. }) {
            self.shared.spool.shelf().discard_growing();
        } else {
            self.shared.spool.shelf().rest();
        }
        (self.open, self.place) = (None, None);
        let mut inbox = self.shared.inbox();
        inbox.end = None;
        inbox.bytes = 0;
        inbox.pieces.clear();
        inbox.failure = Some(error);
    }

    fn handle(&mut self, piece: &mut Piece) -> Result<(), Failed> {
        match piece {
            Piece::Begin(place, size) => self.begin(*place, *size),
            Piece::Data(bytes) => self.write(bytes),
            Piece::End => {
                self.sync()?;
                self.open = None;
                self.shared.spool.shelf().rest();
                Ok(())
            }
        }
    }

    fn begin(&mut self, place: Place, size: SegmentSize) -> Result<(), Failed> {
        if self.place.is_some_and(|(end, _)| end == place) {
            return Ok(());
        }
        self.sync()?;
        self.open = None;
        let mut shelf = self.shared.spool.shelf();
        shelf.rest();
        shelf.begin(place);
        drop(shelf);
        self.place = Some((place, size));
        Ok(())
    }

    /// Writes all of `bytes`, and takes away what is written: a piece that fails halfway is tried again from there.
    fn write(&mut self, bytes: &mut Bytes) -> Result<(), Failed> {
        while !bytes.is_empty() {
            let Some((at, size)) = self.place else {
                return Ok(());
            };
            let segment = SegmentName::at(at.timeline, at.lsn, size);
            let room = segment.end().offset() - at.lsn.offset();
            let now = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            self.open(segment, at)?.write(at, &bytes[..now])?;
            bytes.advance(now);
            let lsn = at.lsn.plus(now as u64);
            self.place = Some((Place { lsn, ..at }, size));
            self.wrote(segment)?;
        }
        Ok(())
    }

    fn open(&mut self, segment: SegmentName, at: Place) -> Result<&mut Open, Failed> {
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.segment != segment)
        {
            let directory = self.shared.spool.shelf().directory().cloned();
            let directory = directory.ok_or_else(|| {
                Failed::Over(SpoolError::Damaged {
                    path: self.shared.spool.root().display().to_string(),
                })
            })?;
            let open = Open::new(&directory, segment, at).map_err(Failed::Again)?;
            let from_start = at.lsn == segment.start();
            self.shared.spool.shelf().grow_from(segment, from_start);
            self.open = Some(open);
        }
        self.open.as_mut().ok_or_else(|| {
            Failed::Over(SpoolError::Damaged {
                path: segment.to_string(),
            })
        })
    }

    fn wrote(&mut self, segment: SegmentName) -> Result<(), Failed> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let (written, was_complete) = (open.written, open.was_complete);
        self.shared.spool.shelf().wrote(segment, written);
        if written < segment.size().bytes() {
            return Ok(());
        }
        self.sync()?;
        self.open = None;
        if !was_complete {
            let directory = self.shared.spool.shelf().directory().cloned();
            if let Some(directory) = directory {
                directory.complete(segment).map_err(Failed::Over)?;
            }
            self.shared.spool.shelf().completed(segment);
        }
        self.shared.spool.notify();
        Ok(())
    }

    fn sync_or_fail(&mut self) {
        if let Err(Failed::Over(error) | Failed::Again(error)) = self.sync() {
            tracing::error!(error = %with_cause(&error), "what was received did not reach the disk");
            self.fail(error);
        }
    }

    fn sync(&mut self) -> Result<(), Failed> {
        if let Some(open) = self.open.as_mut().filter(|open| open.is_dirty) {
            let synced = open.file.sync_data();
            // The kernel may have dropped what it could not write: nothing of it can be relied on.
            synced.map_err(|source| Failed::Over(io_error("sync", open.segment, source)))?;
            open.is_dirty = false;
            let (segment, written) = (open.segment, open.written);
            self.shared.spool.shelf().synced(segment, written);
        }
        self.last_sync = Instant::now();
        Ok(())
    }
}

/// Whether a failure may pass.
enum Failed {
    Again(SpoolError),
    Over(SpoolError),
}

impl Open {
    fn new(directory: &Directory, segment: SegmentName, at: Place) -> Result<Self, SpoolError> {
        let (file, was_complete) = directory.open(segment)?;
        let meta = file.metadata();
        let length = meta
            .map_err(|source| io_error("look at", segment, source))?
            .len();
        let written = at.lsn.offset() - segment.start().offset();
        Ok(Self {
            segment,
            file,
            written,
            known: length,
            was_complete,
            // What an earlier process wrote may not be durable yet.
            is_dirty: length > 0 && !was_complete,
        })
    }

    fn write(&mut self, at: Place, bytes: &[u8]) -> Result<(), Failed> {
        let offset = at.lsn.offset() - self.segment.start().offset();
        let known = self.known.saturating_sub(offset).min(bytes.len() as u64) as usize;
        let same = self.compare(at, offset, &bytes[..known])?;
        let rest = &bytes[same..];
        if !rest.is_empty() {
            let written = self.file.write_all_at(rest, offset + same as u64);
            written.map_err(|source| Failed::Again(io_error("write", self.segment, source)))?;
            self.is_dirty = true;
        }
        self.written = offset + bytes.len() as u64;
        Ok(())
    }

    /// How many of `bytes` are there already. Zeros that a power cut left in place of the end are no contradiction.
    fn compare(&mut self, at: Place, offset: u64, bytes: &[u8]) -> Result<usize, Failed> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut there = vec![0; bytes.len()];
        let read = self.file.read_exact_at(&mut there, offset);
        read.map_err(|source| Failed::Again(io_error("read", self.segment, source)))?;
        let same = bytes
            .iter()
            .zip(&there)
            .take_while(|(new, old)| new == old)
            .count();
        if there[same..].iter().all(|byte| *byte == 0) && !self.was_complete {
            return Ok(same);
        }
        match same == bytes.len() {
            true => Ok(same),
            false => Err(Failed::Over(SpoolError::Diverged {
                timeline: self.segment.timeline(),
                at: at.lsn,
            })),
        }
    }
}

fn io_error(action: &'static str, segment: SegmentName, source: io::Error) -> SpoolError {
    SpoolError::Io {
        action,
        path: format!("{segment} in the spool"),
        source,
    }
}

fn with_cause(error: &SpoolError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
