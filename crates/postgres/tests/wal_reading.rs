//! Our reader of the WAL, held against `pg_waldump` of each version over the WAL of real servers.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::convert::Infallible;

use common::wal::{Line, builder, segments, waldump};
use rekindle_postgres::ControlFile;
use rekindle_postgres::layout::Fork;
use rekindle_postgres::wal::reader::{End, EndReason, Reader, Segment};
use rekindle_postgres::wal::scan::{WalLevel, summarize_segment, summarize_segment_after};
use rekindle_postgres::wal::{Ending, Record, TransactionEnd};
use rekindle_testing::postgres::{Major, Postgres};

/// All kinds of work that leave their own kinds of records.
const WORK: &str = "
create table t (id int primary key, pad text);
insert into t select i, repeat('x', i % 50) from generate_series(1, 3000) i;
checkpoint;
update t set pad = repeat('y', 400) where id % 7 = 0;
delete from t where id % 11 = 0;
begin; insert into t values (-1); savepoint a; insert into t values (-2); savepoint b;
insert into t values (-3); rollback to b; release a; commit;
begin; insert into t values (-10); rollback;
begin; insert into t values (-20); prepare transaction 'it''s; a name'; commit prepared 'it''s; a name';
begin; insert into t values (-21); prepare transaction 'b'; rollback prepared 'b';
select pg_create_restore_point('before the great change');
create index on t using gin (to_tsvector('simple', pad));
create index on t using brin (id);
create sequence s; select nextval('s') from generate_series(1, 100);
truncate t;
create table u as select i, md5(i::text) from generate_series(1, 2000) i;
vacuum full u;
drop table u;
vacuum freeze t;
select pg_logical_emit_message(true, 'big', repeat('m', 3000000)) is null;
";

fn read(segments: &[Segment<Vec<u8>>]) -> (Vec<Line>, End) {
    let borrowed = segments.iter().map(|segment| {
        Ok::<_, Infallible>(Segment {
            name: segment.name,
            bytes: segment.bytes.as_slice(),
        })
    });
    let mut reader = Reader::new(borrowed);
    let mut lines = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        lines.push(line(&record));
    }
    (lines, reader.end().unwrap().clone())
}

fn line(record: &Record<'_>) -> Line {
    let blocks = record.blocks().map(|block| {
        let fork = match block.fork.unwrap() {
            Fork::Main => "",
            Fork::FreeSpaceMap => " fork fsm",
            Fork::VisibilityMap => " fork vm",
            Fork::Init => " fork init",
        };
        format!("{}{fork} blk {}", block.relation, block.block)
    });
    let end = TransactionEnd::of(record);
    Line {
        lsn: record.start(),
        previous: record.previous(),
        rmgr: record.rmgr().to_string(),
        xid: record.xid(),
        bytes: record.bytes(),
        blocks: blocks.collect(),
        time: end.map(|end| end.time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()),
    }
}

/// Works on a server of each version; gives the segments and the stopped server.
fn worked(
    settings: &[(&str, &str)],
    segment_mib: u32,
    each: impl Fn(&Postgres, &[Segment<Vec<u8>>]),
) {
    for major in Major::available() {
        let is_modern = settings
            .iter()
            .any(|(_, value)| ["lz4", "zstd"].contains(value));
        if is_modern && ![Major::V15, Major::V17].contains(&major) {
            continue;
        }
        let mut server = builder(major, segment_mib);
        for (name, value) in settings {
            server = server.conf(name, value);
        }
        let Some(mut server) = server.start_or_skip() else {
            continue;
        };
        server.psql(WORK);
        let segments = segments(&mut server, segment_mib);
        each(&server, &segments);
    }
}

fn assert_same_as_waldump(server: &Postgres, segments: &[Segment<Vec<u8>>]) {
    let (ours, end) = read(segments);
    let theirs = waldump(server, segments);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
    assert!(end.reason.is_ordinary(), "{end:?}");
    assert!(ours.iter().filter(|line| line.time.is_some()).count() > 15);
}

#[test]
fn records_are_those_that_pg_waldump_reads() {
    worked(&[], 1, |server, segments| {
        assert!(segments.len() > 4, "{}", segments.len());
        assert_same_as_waldump(server, segments);
        // Beginning in the middle, also in the middle of a long record.
        for from in 1..segments.len().min(6) {
            let (ours, _) = read(&segments[from..]);
            let Some(first) = ours.first() else { continue };
            let theirs = waldump(server, &segments[from..]);
            assert_eq!(Some(first), theirs.first());
            assert_eq!(ours.len(), theirs.len());
        }
    });
}

#[test]
fn compressed_page_images_and_logical_wal_read_as_well() {
    let logical = ("wal_level", "logical");
    worked(
        &[logical, ("wal_compression", "pglz")],
        16,
        assert_same_as_waldump,
    );
    // Not every build knows the others.
    worked(
        &[logical, ("wal_compression", "lz4")],
        16,
        assert_same_as_waldump,
    );
    worked(
        &[logical, ("wal_compression", "zstd")],
        16,
        assert_same_as_waldump,
    );
}

#[test]
fn a_segment_alone_tells_its_first_and_last_commit() {
    worked(&[], 1, |server, segments| {
        let theirs = waldump(server, segments);
        let mut restore_points = Vec::new();
        let mut unfinished = None;
        let mut commits = 0;
        for segment in segments {
            let alone = summarize_segment(&segment.bytes, segment.name);
            let within = |line: &&Line| {
                line.time.is_some()
                    && (segment.name.start()..segment.name.end()).contains(&line.lsn)
            };
            let ends: Vec<&Line> = theirs.iter().filter(within).collect();
            let told = |commit: Option<rekindle_postgres::wal::scan::Commit>| {
                commit.map(|commit| {
                    let time = commit.time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string();
                    (commit.lsn, Some(time))
                })
            };
            let line = |line: Option<&&Line>| line.map(|line| (line.lsn, line.time.clone()));
            assert_eq!(told(alone.first_ending), line(ends.first()));
            assert_eq!(told(alone.last_ending), line(ends.last()));
            if let Some(commit) = alone.last_commit {
                assert_eq!(commit.ending, Ending::Committed);
                assert!(commit.lsn_end > commit.lsn);
            }
            restore_points.extend(alone.restore_points.clone());

            // With what the one before left unfinished every record is read exactly once.
            let chained = match unfinished.take() {
                Some(unfinished) => {
                    summarize_segment_after(unfinished, &segment.bytes, segment.name)
                }
                None => alone,
            };
            commits += chained.records;
            if chained.is_full() {
                assert!(chained.end_of_records <= segment.name.end());
            } else {
                assert!(chained.end.is_ordinary(), "{:?}", chained.end);
            }
            unfinished = chained.unfinished;
        }
        assert_eq!(commits, theirs.len() as u64);
        let names: Vec<&str> = restore_points
            .iter()
            .map(|point| point.name.as_str())
            .collect();
        assert_eq!(names, ["before the great change"]);
    });
}

#[test]
fn the_end_of_the_wal_is_where_the_server_says() {
    for major in Major::available() {
        let Some(mut server) = builder(major, 16)
            .conf("max_connections", 42)
            .start_or_skip()
        else {
            continue;
        };
        server.psql("create table t as select generate_series(1, 10)");
        server.psql("select pg_switch_wal()");
        server.psql("insert into t values (1)");
        server.psql("checkpoint");
        let segments = segments(&mut server, 16);
        // The shutdown's checkpoint is the last record.
        let control = ControlFile::read(server.data_dir()).unwrap();
        let with_records: Vec<_> = segments
            .iter()
            .map(|segment| summarize_segment(&segment.bytes, segment.name))
            .filter(|summary| summary.records > 0)
            .collect();
        let summary = with_records.last().unwrap();
        let checkpoint = summary.checkpoints.last().unwrap();
        assert_eq!(
            (checkpoint.lsn, checkpoint.is_shutdown),
            (control.checkpoint, true)
        );
        assert!(summary.end_of_records > checkpoint.lsn);
        assert!(summary.ends_in_zeros(), "{:?}", summary.end);
        assert!(!summary.is_full());
        assert_eq!(summary.system_identifier, Some(control.system_identifier));
        assert_eq!(summary.major, Some(major.number()));
        let age = summary
            .last_commit
            .unwrap()
            .time
            .until(jiff::Timestamp::now())
            .unwrap();
        assert!((0..600).contains(&age.get_seconds()), "{age:?}");

        // After a switch of segments the rest of the first is skipped.
        let before = &with_records[with_records.len() - 2];
        assert_eq!(before.end, EndReason::NoMoreSegments);
        assert!(before.is_full());
        let changes: Vec<_> = with_records
            .iter()
            .flat_map(|all| &all.parameter_changes)
            .collect();
        assert_eq!(changes.last().unwrap().max_connections, 42);
        assert_eq!(changes.last().unwrap().wal_level, Some(WalLevel::Replica));
    }
}
