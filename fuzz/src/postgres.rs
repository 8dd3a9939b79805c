//! What comes out of PostgreSQL: files of a data directory, WAL, and dumps of others.

use std::{convert::Infallible, path::Path};

use rekindle_postgres::{
    ControlFile,
    dump::foreign,
    layout::{
        BackupLabel, Lsn, SegmentName, SegmentSize, TablespaceMap, Timeline, TimelineHistory,
    },
    wal::{
        Record, TransactionEnd,
        reader::{Reader, Segment},
        scan::{Activity, RestorePoint},
    },
};

const SEGMENT_BYTES: u64 = 1 << 20;
const PAGE_BYTES: usize = 8 << 10;
/// Of PostgreSQL 15.
const PAGE_MAGIC: u16 = 0xD110;
const NAME: &str = "fuzzed";

/// `pg_control`.
pub fn control(bytes: &[u8]) {
    let _ = ControlFile::parse(bytes.to_vec());
}

/// A dump of any form, to its end.
pub fn dump(bytes: &[u8]) {
    let _ = foreign::inspect_content(bytes, Path::new(NAME));
}

/// The table of contents of a custom archive.
pub fn dump_toc(bytes: &[u8]) {
    let _ = foreign::outline(bytes, Path::new(NAME));
}

/// Small text files: the history of a timeline, `backup_label`, `tablespace_map`, names of segments.
pub fn layout(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(timeline) = "10".parse::<Timeline>() {
        let _ = TimelineHistory::parse(timeline, text);
    }
    let _ = BackupLabel::parse(text);
    if let Ok(map) = TablespaceMap::parse(text) {
        assert_eq!(TablespaceMap::parse(&map.to_text()).ok().as_ref(), Some(&map));
    }
    let name = SegmentName::parse(text, segment_size());
    assert!(name.is_err() || name.is_ok_and(|name| name.to_string() == text));
}

/// A segment, as it is.
pub fn wal(bytes: &[u8]) {
    read(bytes.to_vec());
}

/// A record that is sealed rightly around these bytes, on one page.
pub fn wal_record(bytes: &[u8]) {
    let [rmgr, info, body @ ..] = bytes else {
        return;
    };
    let body = &body[..body.len().min(PAGE_BYTES - 40 - 24)];
    let start = first().start().offset();
    let mut page = Vec::with_capacity(PAGE_BYTES);
    page.extend(PAGE_MAGIC.to_le_bytes());
    page.extend(2_u16.to_le_bytes());
    page.extend(1_u32.to_le_bytes());
    page.extend(start.to_le_bytes());
    page.extend(0_u64.to_le_bytes());
    page.extend(42_u64.to_le_bytes());
    page.extend((SEGMENT_BYTES as u32).to_le_bytes());
    page.extend((PAGE_BYTES as u32).to_le_bytes());
    let mut header = Vec::new();
    header.extend((24 + body.len() as u32).to_le_bytes());
    header.extend(7_u32.to_le_bytes());
    header.extend((start - 100).to_le_bytes());
    header.extend([*info, *rmgr, 0, 0]);
    let crc = crc32c::crc32c_append(crc32c::crc32c(body), &header);
    page.extend(header);
    page.extend(crc.to_le_bytes());
    page.extend(body);
    page.resize(2 * PAGE_BYTES, 0);
    read(page);
}

fn segment_size() -> SegmentSize {
    SegmentSize::new(SEGMENT_BYTES).expect("a power of two")
}

fn first() -> SegmentName {
    SegmentName::at(Timeline::FIRST, Lsn::new(3 * SEGMENT_BYTES), segment_size())
}

fn read(bytes: Vec<u8>) {
    let segment = Segment {
        name: first(),
        bytes,
    };
    let mut reader = Reader::new(std::iter::once(Ok::<_, Infallible>(segment)));
    let mut activity = Activity::new();
    while let Ok(Some(record)) = reader.next_record() {
        look_at(&record);
        activity.add(&record);
    }
    assert!(reader.end().is_some(), "it ends with a word");
}

fn look_at(record: &Record<'_>) {
    let _ = (record.blocks().count(), record.main_data());
    let _ = TransactionEnd::of(record);
    let _ = RestorePoint::of(record);
}
