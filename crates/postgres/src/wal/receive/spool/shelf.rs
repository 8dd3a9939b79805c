//! What lies in the spool, and who still wants it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::files::{Directory, Found};
use super::{Place, Reader, SpoolError};
use crate::layout::{SegmentName, Timeline};

/// A set of readers, one bit for each.
type Readers = u64;

/// What state a segment is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// All of it is here, durably.
    Complete,
    /// It is being received.
    Growing,
    /// Its timeline ended in it, or the receiver did; it may begin to grow again.
    Resting,
}

/// A segment in the spool.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Which.
    pub segment: SegmentName,
    /// Its state.
    pub kind: ItemKind,
    /// How many bytes of it are here, from its start.
    pub written: u64,
    /// How many of those are durable.
    durable: u64,
    /// Raised when it begins to be received again from its start.
    epoch: u64,
    wanted_by: Readers,
}

/// What a reader has to do next.
#[derive(Clone, Debug)]
pub enum Work {
    /// Store this history file.
    History(Timeline, Arc<[u8]>),
    /// Store these complete segments, in this order.
    Segments(Vec<SegmentName>),
    /// Store the beginning of a segment.
    Partial {
        /// Which.
        segment: SegmentName,
        /// How many bytes of it are here, from its start.
        written: u64,
        /// Differs from the last time if it is being received again from its start.
        epoch: u64,
        /// Whether it is not growing: once it is stored, it is done.
        is_resting: bool,
    },
}

struct History {
    content: Arc<[u8]>,
    wanted_by: Readers,
}

#[derive(Default)]
struct ReaderState {
    /// The growing segment of which a beginning is stored, and how much.
    partial: Option<(SegmentName, u64)>,
}

pub(in super::super) struct Shelf {
    directory: Option<Directory>,
    histories: BTreeMap<Timeline, History>,
    items: BTreeMap<SegmentName, Item>,
    readers: Vec<ReaderState>,
    /// Where the next byte will lie, once something is received.
    end: Option<Place>,
    epochs: u64,
}

impl Shelf {
    pub(super) fn new(readers: usize) -> Self {
        Self {
            directory: None,
            histories: BTreeMap::new(),
            items: BTreeMap::new(),
            readers: (0..readers.min(64))
                .map(|_| ReaderState::default())
                .collect(),
            end: None,
            epochs: 0,
        }
    }

    pub(super) fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    fn everybody(&self) -> Readers {
        match self.readers.len() {
            64.. => Readers::MAX,
            count => (1 << count) - 1,
        }
    }

    /// Begins with what lies in `directory`.
    pub(super) fn adopt(&mut self, directory: Directory) -> Result<(), SpoolError> {
        self.histories.clear();
        self.items.clear();
        self.end = None;
        let (_, size) = directory.system();
        for found in directory.scan()? {
            match found {
                Found::Complete(segment) => self.put(segment, ItemKind::Complete, size.bytes()),
                // A file that was made and not written to.
                Found::Partial(segment, 0) => directory.remove(segment),
                Found::Partial(segment, written) => {
                    let written = written.min(size.bytes());
                    if !self.items.contains_key(&segment) {
                        self.put(segment, ItemKind::Resting, written);
                    }
                }
                Found::History(timeline, content) => self.put_history(timeline, &content),
            }
        }
        self.directory = Some(directory);
        Ok(())
    }

    fn put(&mut self, segment: SegmentName, kind: ItemKind, written: u64) {
        self.epochs += 1;
        let item = Item {
            segment,
            kind,
            written,
            durable: written,
            epoch: self.epochs,
            wanted_by: self.everybody(),
        };
        self.items.insert(segment, item);
    }

    fn put_history(&mut self, timeline: Timeline, content: &[u8]) {
        let history = History {
            content: content.into(),
            wanted_by: self.everybody(),
        };
        self.histories.insert(timeline, history);
    }

    pub(super) fn keep_history(
        &mut self,
        timeline: Timeline,
        content: &[u8],
    ) -> Result<(), SpoolError> {
        match self.histories.get(&timeline) {
            Some(kept) if *kept.content == *content => return Ok(()),
            Some(_) => return Err(SpoolError::OtherHistory { timeline }),
            None => {}
        }
        if let Some(directory) = &self.directory {
            directory.write_history(timeline, content)?;
        }
        self.put_history(timeline, content);
        Ok(())
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.values()
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.items.values().map(|item| item.written).sum()
    }

    pub(super) fn waiting_bytes(&self, reader: Reader) -> u64 {
        let wanted = self.wanted(reader);
        wanted
            .map(|item| item.written - self.partial_of(reader, item))
            .sum()
    }

    fn wanted(&self, reader: Reader) -> impl Iterator<Item = &Item> {
        self.items
            .values()
            .filter(move |item| item.wanted_by & bit(reader) != 0)
    }

    fn partial_of(&self, reader: Reader, item: &Item) -> u64 {
        match self.readers.get(reader).and_then(|state| state.partial) {
            Some((segment, bytes)) if segment == item.segment => bytes.min(item.written),
            _ => 0,
        }
    }

    pub(super) fn next_work(&self, reader: Reader, most: usize) -> Option<Work> {
        let wanted = |history: &&History| history.wanted_by & bit(reader) != 0;
        if let Some((timeline, history)) = self.histories.iter().find(|(_, h)| wanted(h)) {
            return Some(Work::History(*timeline, Arc::clone(&history.content)));
        }
        let first = self.wanted(reader).next()?;
        if first.kind == ItemKind::Complete {
            let complete = self
                .wanted(reader)
                .take_while(|item| item.kind == ItemKind::Complete);
            let segments = complete.take(most.max(1)).map(|item| item.segment);
            return Some(Work::Segments(segments.collect()));
        }
        let is_resting = first.kind == ItemKind::Resting;
        let is_new = first.written > self.partial_of(reader, first);
        (is_resting || is_new).then_some(Work::Partial {
            segment: first.segment,
            written: first.written,
            epoch: first.epoch,
            is_resting,
        })
    }

    pub(super) fn history_done(&mut self, reader: Reader, timeline: Timeline) {
        if let Some(history) = self.histories.get_mut(&timeline) {
            history.wanted_by &= !bit(reader);
        }
    }

    pub(super) fn done(&mut self, reader: Reader, segment: SegmentName, bytes: u64) {
        let Some(item) = self.items.get_mut(&segment) else {
            return;
        };
        // It may have begun to grow again while it was stored, or have grown.
        if item.kind == ItemKind::Growing || item.written > bytes {
            return;
        }
        item.wanted_by &= !bit(reader);
        if item.wanted_by == 0 {
            self.remove(segment);
        }
    }

    fn remove(&mut self, segment: SegmentName) {
        self.items.remove(&segment);
        if let Some(directory) = &self.directory {
            directory.remove(segment);
        }
    }

    pub(super) fn partial_stored(&mut self, reader: Reader, segment: SegmentName, bytes: u64) {
        if let Some(state) = self.readers.get_mut(reader) {
            state.partial = Some((segment, bytes));
        }
    }

    pub(super) fn stored(&self, reader: Reader) -> Option<Place> {
        match self.wanted(reader).next() {
            None => self.end,
            Some(item) => Some(Place {
                timeline: item.segment.timeline(),
                lsn: item.segment.start().plus(self.partial_of(reader, item)),
            }),
        }
    }

    /// Up to where what was received is durable: the growing segment decides.
    pub(super) fn durable(&self) -> Option<Place> {
        let end = self.end?;
        let growing = self
            .items
            .values()
            .find(|item| item.kind == ItemKind::Growing);
        Some(match growing {
            Some(item) => Place {
                timeline: item.segment.timeline(),
                lsn: item.segment.start().plus(item.durable),
            },
            None => end,
        })
    }

    pub(super) fn give_up_on(&mut self, reader: Reader) -> Option<(SegmentName, SegmentName)> {
        let only = bit(reader);
        let dropped = |item: &&Item| item.kind == ItemKind::Complete && item.wanted_by == only;
        let segments: Vec<SegmentName> = self
            .items
            .values()
            .filter(dropped)
            .map(|item| item.segment)
            .collect();
        segments.iter().for_each(|segment| self.remove(*segment));
        Some((*segments.first()?, *segments.last()?))
    }

    /// From now on bytes arrive from `place` on.
    pub(super) fn begin(&mut self, place: Place) {
        self.end = Some(place);
    }

    /// A segment begins to be received, from its start if `from_start`.
    pub(super) fn grow_from(&mut self, segment: SegmentName, from_start: bool) {
        self.rest();
        self.epochs += 1;
        let (epoch, wanted_by) = (self.epochs, self.everybody());
        let item = self.items.entry(segment).or_insert(Item {
            segment,
            kind: ItemKind::Growing,
            written: 0,
            durable: 0,
            epoch,
            wanted_by,
        });
        if item.kind == ItemKind::Complete {
            return;
        }
        item.kind = ItemKind::Growing;
        if from_start {
            (item.epoch, item.written, item.durable) = (epoch, 0, 0);
            item.wanted_by = wanted_by;
            for reader in &mut self.readers {
                // Whether that is the beginning of what comes now has yet to be seen.
                reader.partial = reader.partial.filter(|(stored, _)| *stored != segment);
            }
        }
    }

    /// Nothing grows for now.
    pub(super) fn rest(&mut self) {
        for item in self
            .items
            .values_mut()
            .filter(|item| item.kind == ItemKind::Growing)
        {
            item.kind = ItemKind::Resting;
        }
    }

    pub(super) fn wrote(&mut self, segment: SegmentName, written: u64) {
        if let Some(item) = self.items.get_mut(&segment)
            && item.kind == ItemKind::Growing
        {
            item.written = written;
        }
        self.end = Some(Place {
            timeline: segment.timeline(),
            lsn: segment.start().plus(written),
        });
    }

    pub(super) fn synced(&mut self, segment: SegmentName, bytes: u64) {
        if let Some(item) = self.items.get_mut(&segment) {
            item.durable = item.durable.max(bytes);
        }
    }

    pub(super) fn completed(&mut self, segment: SegmentName) {
        if let Some(item) = self.items.get_mut(&segment) {
            item.kind = ItemKind::Complete;
            (item.written, item.durable) = (segment.size().bytes(), segment.size().bytes());
        }
    }

    /// Throws the growing segment away: what its file holds is not known any more.
    pub(super) fn discard_growing(&mut self) {
        let growing = self
            .items
            .values()
            .filter(|item| item.kind == ItemKind::Growing);
        let segments: Vec<SegmentName> = growing.map(|item| item.segment).collect();
        segments
            .into_iter()
            .for_each(|segment| self.remove(segment));
        self.end = None;
    }
}

const fn bit(reader: Reader) -> Readers {
    1 << (reader & 63)
}
