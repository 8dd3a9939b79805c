//! Segments in, records out.
//!
//! ```
//! # use rekindle_postgres::wal::reader::{Reader, Segment};
//! # fn example(segments: Vec<Segment<Vec<u8>>>) -> Result<(), std::convert::Infallible> {
//! let segments = segments.into_iter().map(Ok::<_, std::convert::Infallible>);
//! let mut reader = Reader::new(segments);
//! while let Some(record) = reader.next_record()? {
//!     println!("{} {} {}", record.start(), record.rmgr(), record.bytes());
//! }
//! println!("{:?}", reader.end());
//! # Ok(())
//! # }
//! ```

mod assembly;
mod current;
mod end;

pub use assembly::WHOLE_RECORD_BYTES;
pub use end::{Damage, End, EndReason};

use std::fmt;

use super::record::{HEADER, Record, RecordHeader};
use super::{Numbers, Rmgr, WalFormat, aligned};
use crate::layout::{Lsn, SegmentName, Timeline};
use assembly::Assembly;
use current::Current;

/// A segment's content: of a whole one, a `.partial` one, or as much of it as there is.
#[derive(Clone, Copy, Debug)]
pub struct Segment<B> {
    /// Which one.
    pub name: SegmentName,
    /// Its bytes, from its beginning on.
    pub bytes: B,
}

/// Reads the records of consecutive segments.
///
/// Every record given out is whole: page headers are in order, it names the record before it, and
/// its CRC-32C holds. Reading begins with the first record that *begins* in the first segment, and
/// ends with the first thing that is not right; [`end`](Self::end) then says which. On a change of
/// timeline the caller gives the descendant's segment, which begins with a copy of its ancestor's.
///
/// Holds one segment and, of a record on several pages, [`WHOLE_RECORD_BYTES`] and its main data.
pub struct Reader<I, B> {
    segments: I,
    current: Option<Current<B>>,
    walk: Walk,
    assembly: Assembly,
    origin: Option<Origin>,
    end: Option<End>,
}

/// What all segments have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    system_identifier: u64,
    format: WalFormat,
}

/// How far the reader is.
#[derive(Clone, Copy, Debug)]
struct Walk {
    task: Task,
    /// The next byte to look at.
    at: u64,
    /// Where the last record ended, or the one being put together begins.
    whole_to: u64,
    /// Where the last record began.
    previous: Option<u64>,
    /// Of the last page.
    timeline: Timeline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Passing over the rest of a record that began before the first segment.
    Skip,
    /// A record is due.
    Record,
    /// A record goes on.
    Continue,
}

/// What one step led to.
enum Step {
    Onward,
    NextSegment,
    Found(Found),
    End(EndReason),
}

/// A record that is whole.
#[derive(Clone, Copy)]
struct Found {
    header: RecordHeader,
    start: u64,
    end: u64,
    /// Where it lies in the current segment; `None` if it was put together.
    within: Option<usize>,
}

/// A record that goes on in a segment that was not given; see [`Reader::resume`].
#[derive(Clone)]
pub struct Unfinished {
    walk: Walk,
    assembly: Assembly,
    origin: Origin,
}

impl Unfinished {
    /// Where the record begins.
    pub const fn start(&self) -> Lsn {
        Lsn::new(self.walk.whole_to)
    }
}

impl fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unfinished")
            .field("start", &self.start())
            .field("found", &self.assembly.found())
            .field("total", &self.assembly.total())
            .finish()
    }
}

impl<I, B, E> Reader<I, B>
where
    I: Iterator<Item = Result<Segment<B>, E>>,
    B: AsRef<[u8]>,
{
    /// Will read the records that begin in these segments.
    pub fn new(segments: I) -> Self {
        Self {
            segments,
            current: None,
            walk: Walk {
                task: Task::Skip,
                at: 0,
                whole_to: 0,
                previous: None,
                timeline: Timeline::FIRST,
            },
            assembly: Assembly::default(),
            origin: None,
            end: None,
        }
    }

    /// Will read from the segment after the one that ended in the middle of a record.
    pub fn resume(unfinished: Unfinished, segments: I) -> Self {
        Self {
            segments,
            current: None,
            walk: unfinished.walk,
            assembly: unfinished.assembly,
            origin: Some(unfinished.origin),
            end: None,
        }
    }

    /// The next record; `None` when [`end`](Self::end) can say why there is none.
    ///
    /// # Errors
    /// What the segments' own iterator fails with.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, E> {
        if self.end.is_some() {
            return Ok(None);
        }
        let found = loop {
            match self.step() {
                Step::Onward => {}
                Step::Found(found) => break found,
                Step::End(reason) => {
                    self.finish(reason);
                    return Ok(None);
                }
                Step::NextSegment => {
                    if let Some(reason) = self.next_segment()? {
                        self.finish(reason);
                        return Ok(None);
                    }
                }
            }
        };
        Ok(self.record(found))
    }

    /// Where the records end and why; `None` while there may be more.
    pub const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The record that the last segment ends in the middle of.
    pub fn into_unfinished(self) -> Option<Unfinished> {
        // Within a segment that is cut short nothing can go on.
        let goes_on = self.walk.task == Task::Continue && self.current.is_none();
        Some(Unfinished {
            walk: self.walk,
            assembly: self.assembly,
            origin: self.origin.filter(|_| goes_on)?,
        })
    }

    /// The cluster that the last segment looked at belongs to, once one was.
    pub fn system_identifier(&self) -> Option<u64> {
        self.origin.map(|origin| origin.system_identifier)
    }

    /// The format of the last segment looked at.
    pub fn format(&self) -> Option<WalFormat> {
        self.origin.map(|origin| origin.format)
    }

    fn finish(&mut self, reason: EndReason) {
        let at = Lsn::new(self.walk.whole_to);
        self.end = Some(End { at, reason });
    }

    /// Takes the next segment; returns why reading ends here, if it does.
    fn next_segment(&mut self) -> Result<Option<EndReason>, E> {
        let Some(segment) = self.segments.next().transpose()? else {
            self.current = None;
            return Ok(Some(match self.walk.task {
                Task::Continue => cut(&self.assembly),
                Task::Skip | Task::Record => EndReason::NoMoreSegments,
            }));
        };
        let start = segment.name.start().offset();
        let is_first = self.current.is_none() && self.walk.task == Task::Skip;
        if is_first {
            self.walk.at = start;
            self.walk.whole_to = start;
        } else if self.walk.at != start {
            return Ok(Some(EndReason::Gap {
                found: segment.name,
            }));
        }
        let current = match Current::open(segment) {
            Ok(current) => current,
            Err(reason) => return Ok(Some(reason)),
        };
        let origin = current.origin();
        if self.origin.is_some_and(|known| known != origin) {
            return Ok(Some(EndReason::Damaged(Damage::Origin)));
        }
        self.origin = Some(origin);
        self.current = Some(current);
        Ok(None)
    }

    fn record(&self, found: Found) -> Option<Record<'_>> {
        let current = self.current.as_ref()?;
        let (head, main) = match found.within {
            Some(from) => (
                current
                    .bytes()
                    .get(from..from + found.header.total as usize)?,
                None,
            ),
            None => (self.assembly.head(), self.assembly.main()),
        };
        Some(Record {
            start: Lsn::new(found.start),
            end: Lsn::new(found.end),
            header: found.header,
            format: current.format,
            head,
            main,
        })
    }

    fn step(&mut self) -> Step {
        let Some(current) = &self.current else {
            return Step::NextSegment;
        };
        if self.walk.at >= current.end() {
            return Step::NextSegment;
        }
        let step = match self.walk.task {
            Task::Skip => self.walk.skip(current),
            Task::Record => self.walk.record(current, &mut self.assembly),
            Task::Continue => self.walk.go_on(current, &mut self.assembly),
        };
        step.unwrap_or_else(Step::End)
    }
}

impl Walk {
    /// Looks at a page that begins with what is left of an earlier record, or with a new one.
    fn skip<B: AsRef<[u8]>>(&mut self, current: &Current<B>) -> Result<Step, EndReason> {
        let page = self.page(current)?;
        let (header, rest) = (page.bytes() as u64, aligned(page.remaining.into()));
        let room = current.page_bytes - header;
        if page.continues() && rest >= room {
            self.at += current.page_bytes;
        } else {
            self.task = Task::Record;
            if page.continues() {
                self.at += header + rest;
            }
        }
        self.whole_to = self.at;
        Ok(Step::Onward)
    }

    /// Reads the record that is due here.
    fn record<B: AsRef<[u8]>>(
        &mut self,
        current: &Current<B>,
        assembly: &mut Assembly,
    ) -> Result<Step, EndReason> {
        let mut at = self.at;
        if at.is_multiple_of(current.page_bytes) {
            let page = self.page(current)?;
            if page.continues() {
                return Err(EndReason::Damaged(Damage::Continuation));
            }
            at += page.bytes() as u64;
        }
        let page_end = at - at % current.page_bytes + current.page_bytes;
        let room = (page_end - at) as usize;
        let from = current.offset_of(at);
        let here = current.bytes().get(from..).unwrap_or_default();
        let here = &here[..here.len().min(room)];
        let total = here.u32_at(0).ok_or(EndReason::CutShort)?;
        if (total as usize) < HEADER {
            return Err(match total {
                0 => current.nothing_at(at),
                _ => EndReason::Damaged(Damage::RecordHeader),
            });
        }
        self.whole_to = at;
        if total as usize > room {
            assembly.begin(total);
            if here.len() < room {
                assembly.add(here, current.format);
                return Err(cut(assembly));
            }
            self.check(RecordHeader::parse(here), at)?;
            assembly.add(here, current.format);
            self.task = Task::Continue;
            self.at = page_end;
            return Ok(Step::Onward);
        }
        let Some(bytes) = here.get(..total as usize) else {
            return Err(EndReason::Unfinished {
                found: here.len() as u64,
                total: total.into(),
            });
        };
        let header = RecordHeader::parse(bytes);
        let header = self.check(header, at)?;
        let header = header.ok_or(EndReason::Damaged(Damage::RecordHeader))?;
        if !header.crc_holds(crc32c::crc32c(&bytes[HEADER..]), bytes) {
            return Err(EndReason::Damaged(Damage::Crc));
        }
        Ok(self.found(current, header, at, at + u64::from(total), Some(from)))
    }

    /// Adds the next page to a record.
    fn go_on<B: AsRef<[u8]>>(
        &mut self,
        current: &Current<B>,
        assembly: &mut Assembly,
    ) -> Result<Step, EndReason> {
        let page = self.page(current).map_err(|reason| match reason {
            EndReason::CutShort => cut(assembly),
            other => other,
        })?;
        if page.overwrites() {
            // Never finished, and replaced by the record that begins this page.
            self.task = Task::Record;
            return Ok(Step::Onward);
        }
        if !page.continues() || page.remaining as usize != assembly.missing() {
            return Err(EndReason::Damaged(Damage::Continuation));
        }
        let header = page.bytes() as u64;
        let room = (current.page_bytes - header) as usize;
        let take = room.min(assembly.missing());
        let from = current.offset_of(self.at + header);
        let here = current.bytes().get(from..).unwrap_or_default();
        if here.len() < take {
            assembly.add(here, current.format);
            return Err(cut(assembly));
        }
        assembly.add(&here[..take], current.format);
        if assembly.missing() > 0 {
            self.at += current.page_bytes;
            return Ok(Step::Onward);
        }
        let start = self.whole_to;
        self.check(RecordHeader::parse(assembly.head()), start)?;
        let verified = assembly.verified();
        let record = verified.ok_or(EndReason::Damaged(Damage::Crc))?;
        let end = self.at + header + take as u64;
        Ok(self.found(current, record, start, end, None))
    }

    /// The header of the page that begins here.
    fn page<B: AsRef<[u8]>>(
        &mut self,
        current: &Current<B>,
    ) -> Result<super::page::PageHeader, EndReason> {
        let page = current.page(self.at)?;
        if page.timeline < self.timeline || page.timeline > current.name.timeline() {
            return Err(EndReason::Damaged(Damage::Timeline));
        }
        self.timeline = page.timeline;
        Ok(page)
    }

    /// Refuses what cannot be the record at `start`, as far as its header is known.
    fn check(
        &self,
        header: Option<RecordHeader>,
        start: u64,
    ) -> Result<Option<RecordHeader>, EndReason> {
        let Some(header) = header else {
            return Ok(None);
        };
        if !header.rmgr.is_possible() {
            return Err(EndReason::Damaged(Damage::RecordHeader));
        }
        let previous = header.previous.offset();
        let follows = match self.previous {
            Some(known) => previous == known,
            None => previous < start,
        };
        match follows {
            true => Ok(Some(header)),
            false => Err(EndReason::Damaged(Damage::Chain)),
        }
    }

    fn found<B: AsRef<[u8]>>(
        &mut self,
        current: &Current<B>,
        header: RecordHeader,
        start: u64,
        end: u64,
        within: Option<usize>,
    ) -> Step {
        const SWITCH: u8 = 0x40;
        let end = match header.rmgr == Rmgr::XLOG && header.info & 0xF0 == SWITCH {
            true => current.end(),
            false => aligned(end),
        };
        self.task = Task::Record;
        self.previous = Some(start);
        self.at = end;
        self.whole_to = end;
        Step::Found(Found {
            header,
            start,
            end,
            within,
        })
    }
}

fn cut(assembly: &Assembly) -> EndReason {
    EndReason::Unfinished {
        found: assembly.found() as u64,
        total: assembly.total().into(),
    }
}
