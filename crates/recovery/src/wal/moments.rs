//! What the archive's WAL says about times, names and settings.

use std::{collections::HashMap, sync::Mutex};

use jiff::Timestamp;
use rekindle_postgres::{
    SegmentName, SegmentSize, Timeline,
    layout::{TimelineHistory, WalFileKind},
    wal::{
        TransactionEnd, check_segment_header,
        reader::{Reader, Segment},
        scan::{ParameterChange, RestorePoint, summarize_segment},
    },
};
use rekindle_vault::{Vault, WalArchive, WalFile};

use super::{
    archive::ArchiveView,
    choose::{SegmentTimes, Times},
    fetch::{history_file, wal_file},
    target::RecoveryTarget,
    windows::Moment,
};
use crate::RecoveryError;

/// The vault's archive; `None` if it has none.
pub(crate) fn archive_of(vault: &Vault) -> Result<Option<WalArchive>, RecoveryError> {
    Ok(vault.existing_wal_archive()?)
}

/// What the archive holds of a cluster.
pub(crate) fn view(
    archive: Option<&WalArchive>,
    system: u64,
    size: SegmentSize,
) -> Result<ArchiveView, RecoveryError> {
    let mut view = ArchiveView::empty(size);
    let Some(archive) = archive else {
        return Ok(view);
    };
    let mut histories = Vec::new();
    for listed in archive.list(system)? {
        view.add(&listed.file.name);
        if listed.file.name.parse() == Ok(WalFileKind::History) {
            histories.push(Timeline::new(listed.file.timeline));
        }
    }
    for timeline in histories {
        match history(archive, system, timeline) {
            Ok(history) => view.add_history(history),
            Err(why) => view.add_unreadable_history(timeline, why),
        }
    }
    Ok(view)
}

fn history(
    archive: &WalArchive,
    system: u64,
    timeline: Timeline,
) -> Result<TimelineHistory, String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let content = archive.get(&history_file(system, timeline));
    let content = content.map_err(|error| rekindle_datasets::with_causes(&error))?;
    let content = content.ok_or_else(|| "it is gone".to_owned())?;
    let text = String::from_utf8(content).map_err(|error| words(&error))?;
    TimelineHistory::parse(timeline, &text).map_err(|error| words(&error))
}

/// A file that was listed.
pub(super) fn read_file(archive: &WalArchive, file: &WalFile) -> Result<Vec<u8>, RecoveryError> {
    archive.get(file)?.ok_or_else(|| RecoveryError::Wal {
        file: file.name.clone(),
        reason: "it was listed, and is gone".to_owned(),
    })
}

/// A segment that was listed. An unfinished one may have been finished meanwhile.
pub(super) fn read_segment(
    archive: &WalArchive,
    system: u64,
    segment: SegmentName,
    is_partial: bool,
) -> Result<Vec<u8>, RecoveryError> {
    if is_partial {
        match archive.get(&wal_file(system, segment, true))? {
            Some(content) => return Ok(content),
            None => tracing::debug!(%segment, "finished meanwhile"),
        }
    }
    read_file(archive, &wal_file(system, segment, false))
}

/// Holds a segment against its name.
pub(super) fn check(
    content: &[u8],
    segment: SegmentName,
    size: SegmentSize,
    system: u64,
    is_partial: bool,
) -> Result<(), RecoveryError> {
    let bad = |reason: String| RecoveryError::Wal {
        file: segment.to_string(),
        reason,
    };
    let length = content.len() as u64;
    if length > size.bytes() || (!is_partial && length < size.bytes()) {
        return Err(bad(format!(
            "it has {length} bytes and not {}",
            size.bytes()
        )));
    }
    check_segment_header(content, segment, size, system).map_err(|error| bad(error.to_string()))
}

/// The settings that a recovering server needs as much of, as far as the segment tells.
pub(super) fn raised_settings(content: &[u8], segment: SegmentName) -> Vec<(String, u32)> {
    let named = |change: &ParameterChange| {
        [
            ("max_connections", change.max_connections),
            ("max_worker_processes", change.max_worker_processes),
            ("max_wal_senders", change.max_wal_senders),
            (
                "max_prepared_transactions",
                change.max_prepared_transactions,
            ),
            (
                "max_locks_per_transaction",
                change.max_locks_per_transaction,
            ),
        ]
    };
    summarize_segment(content, segment)
        .parameter_changes
        .iter()
        .flat_map(named)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Asks the archive, and remembers.
pub(crate) struct ArchiveTimes {
    archive: Option<WalArchive>,
    system: u64,
    size: SegmentSize,
    known: Mutex<HashMap<(String, bool), SegmentTimes>>,
}

impl ArchiveTimes {
    pub fn new(archive: Option<WalArchive>, system: u64, size: SegmentSize) -> Self {
        Self {
            archive,
            system,
            size,
            known: Mutex::default(),
        }
    }

    fn read(&self, segment: SegmentName, is_partial: bool) -> Result<Vec<u8>, RecoveryError> {
        let Some(archive) = &self.archive else {
            return Err(RecoveryError::Wal {
                file: segment.to_string(),
                reason: "the vault has no WAL archive".to_owned(),
            });
        };
        let content = read_segment(archive, self.system, segment, is_partial)?;
        check(&content, segment, self.size, self.system, is_partial)?;
        Ok(content)
    }
}

impl Times for ArchiveTimes {
    fn of(&self, segment: SegmentName, is_partial: bool) -> Result<SegmentTimes, RecoveryError> {
        let key = (segment.to_string(), is_partial);
        if let Ok(known) = self.known.lock()
            && let Some(times) = known.get(&key)
        {
            return Ok(*times);
        }
        let summary = summarize_segment(&self.read(segment, is_partial)?, segment);
        let times = SegmentTimes {
            latest: summary.latest,
            last_commit: summary.last_commit.map(|commit| commit.time),
            end: summary.end_of_records,
        };
        if let Ok(mut known) = self.known.lock() {
            known.insert(key, times);
        }
        Ok(times)
    }

    fn find(
        &self,
        wanted: &RecoveryTarget,
        segments: &[SegmentName],
        partial: Option<SegmentName>,
    ) -> Result<Option<Moment>, RecoveryError> {
        let whole = segments.iter().map(|segment| (*segment, false));
        let all = whole.chain(partial.map(|segment| (segment, true)));
        let read = all.map(|(name, is_partial)| {
            let bytes = self.read(name, is_partial)?;
            Ok::<_, RecoveryError>(Segment { name, bytes })
        });
        let mut reader = Reader::new(read);
        while let Some(record) = reader.next_record()? {
            let time: Option<Timestamp> = match wanted {
                RecoveryTarget::Transaction(xid) => TransactionEnd::of(&record)
                    .filter(|end| end.xid == *xid)
                    .map(|end| end.time),
                RecoveryTarget::RestorePoint(name) => RestorePoint::of(&record)
                    .filter(|point| point.name == *name)
                    .map(|point| point.time),
                _ => None,
            };
            if time.is_some() {
                let lsn = record.start();
                return Ok(Some(Moment { lsn, time }));
            }
        }
        Ok(None)
    }
}
