//! One segment in a few words.

use std::convert::Infallible;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::milestones::{Checkpoint, Milestone, ParameterChange, RestorePoint};
use crate::layout::{Lsn, SegmentName};
use crate::wal::reader::{EndReason, Reader, Segment, Unfinished};
use crate::wal::{Ending, Record, TransactionEnd};

/// The end of a transaction: a commit, or where it says so an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The transaction.
    pub xid: u32,
    /// Where the record begins: exclusive as a target, it leaves the transaction out.
    pub lsn: Lsn,
    /// Where the record ends: exclusive as a target, it takes the transaction in, and nothing after.
    pub lsn_end: Lsn,
    /// When, by the server's clock.
    pub time: Timestamp,
    /// How it ended.
    pub ending: Ending,
}

/// What a segment holds, as far as recovery windows and targets need to know.
#[derive(Clone, Debug)]
pub struct SegmentSummary {
    /// Which segment.
    pub segment: SegmentName,
    /// The major version of PostgreSQL that wrote it; `None` if it is no WAL of a known one.
    pub major: Option<u32>,
    /// The cluster in its header.
    pub system_identifier: Option<u64>,
    /// Where the first record begins that is read here.
    pub first_record: Option<Lsn>,
    /// How many records are read here.
    pub records: u64,
    /// The first commit.
    pub first_commit: Option<Commit>,
    /// The last commit.
    pub last_commit: Option<Commit>,
    /// The first commit or abort. The server compares a target time with both.
    pub first_ending: Option<Commit>,
    /// The last commit or abort.
    pub last_ending: Option<Commit>,
    /// The earliest time of a commit or abort. Records lie nearly, not strictly, in order of time.
    pub earliest: Option<Timestamp>,
    /// The latest time of a commit or abort. A target time is reached where one is later than it.
    pub latest: Option<Timestamp>,
    /// Named places, in order.
    pub restore_points: Vec<RestorePoint>,
    /// Checkpoints, in order: the only clock where nothing is committed.
    pub checkpoints: Vec<Checkpoint>,
    /// Changes of settings that a recovering server must follow.
    pub parameter_changes: Vec<ParameterChange>,
    /// Where the last whole record ends, or where one begins that goes on in the next segment.
    pub end_of_records: Lsn,
    /// Why they end there. [`EndReason::NoMoreSegments`] and [`EndReason::Unfinished`] when the
    /// segment is full.
    pub end: EndReason,
    /// The record that goes on in the next segment; [`summarize_segment_after`] takes it there.
    pub unfinished: Option<Unfinished>,
}

impl SegmentSummary {
    /// Whether the rest of the segment was never written: zeros.
    pub fn ends_in_zeros(&self) -> bool {
        self.end == EndReason::Zeros
    }

    /// Whether its records reach its end, so that the next segment goes on where this one stops.
    pub fn is_full(&self) -> bool {
        match self.end {
            EndReason::NoMoreSegments => self.end_of_records == self.segment.end(),
            EndReason::Unfinished { .. } => self.unfinished.is_some(),
            _ => false,
        }
    }

    fn add(&mut self, record: &Record<'_>) {
        self.records += 1;
        self.first_record.get_or_insert(record.start());
        if let Some(milestone) = Milestone::of(record) {
            match milestone {
                Milestone::RestorePoint(point) => self.restore_points.push(point),
                Milestone::Checkpoint(checkpoint) => self.checkpoints.push(checkpoint),
                Milestone::Parameters(change) => self.parameter_changes.push(change),
            }
        } else if let Some(commit) = commit(record) {
            self.add_commit(commit);
        }
    }

    fn add_commit(&mut self, commit: Commit) {
        self.first_ending.get_or_insert(commit);
        self.last_ending = Some(commit);
        if commit.ending == Ending::Committed {
            self.first_commit.get_or_insert(commit);
            self.last_commit = Some(commit);
        }
        let earliest = self.earliest.get_or_insert(commit.time);
        *earliest = (*earliest).min(commit.time);
        let latest = self.latest.get_or_insert(commit.time);
        *latest = (*latest).max(commit.time);
    }
}

pub(super) fn commit(record: &Record<'_>) -> Option<Commit> {
    let (ending, time, xid) = TransactionEnd::glance(record)?;
    Some(Commit {
        xid,
        lsn: record.start(),
        lsn_end: record.end(),
        time,
        ending,
    })
}

/// Reads one segment alone. It usually begins in the middle of a record, which belongs to the
/// segment before; a record that goes on in the next one is not read here.
pub fn summarize_segment(bytes: &[u8], segment: SegmentName) -> SegmentSummary {
    summarize(Reader::new(one(bytes, segment)), segment)
}

/// Reads the segment after one that ended with `unfinished`, the record they share included.
pub fn summarize_segment_after(
    unfinished: Unfinished,
    bytes: &[u8],
    segment: SegmentName,
) -> SegmentSummary {
    summarize(Reader::resume(unfinished, one(bytes, segment)), segment)
}

type One<'a> = std::iter::Once<Result<Segment<&'a [u8]>, Infallible>>;

fn one(bytes: &[u8], name: SegmentName) -> One<'_> {
    std::iter::once(Ok(Segment { name, bytes }))
}

fn summarize<'a>(mut reader: Reader<One<'a>, &'a [u8]>, segment: SegmentName) -> SegmentSummary {
    let mut summary = SegmentSummary {
        segment,
        major: None,
        system_identifier: None,
        first_record: None,
        records: 0,
        first_commit: None,
        last_commit: None,
        first_ending: None,
        last_ending: None,
        earliest: None,
        latest: None,
        restore_points: Vec::new(),
        checkpoints: Vec::new(),
        parameter_changes: Vec::new(),
        end_of_records: segment.start(),
        end: EndReason::NoMoreSegments,
        unfinished: None,
    };
    while let Ok(Some(record)) = reader.next_record() {
        summary.add(&record);
    }
    summary.major = reader.format().map(crate::wal::WalFormat::major);
    summary.system_identifier = reader.system_identifier();
    if let Some(end) = reader.end() {
        summary.end_of_records = end.at;
        summary.end = end.reason.clone();
    }
    summary.unfinished = reader.into_unfinished();
    summary
}
