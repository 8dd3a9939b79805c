//! Whatever bytes the reader of the WAL is given: it ends with a word, and gives out nothing that
//! was not written.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::convert::Infallible;

use common::made_wal::{Made, SIZE, Writer};
use proptest::collection::vec;
use proptest::prelude::*;
use rekindle_postgres::layout::{Lsn, SegmentName, SegmentSize, Timeline};
use rekindle_postgres::wal::TransactionEnd;
use rekindle_postgres::wal::reader::{Damage, End, EndReason, Reader, Segment, WHOLE_RECORD_BYTES};
use rekindle_postgres::wal::scan::summarize_segment;

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    start: Lsn,
    xid: u32,
    blocks: usize,
    main: Option<Vec<u8>>,
}

fn read(segments: Vec<Segment<Vec<u8>>>) -> (Vec<Seen>, End) {
    let mut reader = Reader::new(segments.into_iter().map(Ok::<_, Infallible>));
    let mut seen = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        let _ = TransactionEnd::of(&record);
        seen.push(Seen {
            start: record.start(),
            xid: record.xid(),
            blocks: record.blocks().count(),
            main: record.main_data().map(<[u8]>::to_vec),
        });
    }
    (seen, reader.end().unwrap().clone())
}

fn written(records: &[Made]) -> (Vec<Segment<Vec<u8>>>, Vec<Seen>) {
    let mut writer = Writer::new();
    for made in records {
        writer.write(made);
    }
    let (segments, starts) = writer.finish();
    let seen = records.iter().zip(starts).map(|(made, start)| {
        let is_long = made.main.len() > WHOLE_RECORD_BYTES && made.rmgr != 1;
        Seen {
            start,
            xid: made.xid,
            blocks: usize::from(made.block > 0),
            main: (!is_long).then(|| made.main.clone()),
        }
    });
    (segments, seen.collect())
}

fn a_record() -> impl Strategy<Value = Made> {
    let main = prop_oneof![
        6 => 0..300_usize,
        3 => 300..5000_usize,
        1 => 60_000..300_000_usize,
    ];
    let block = prop_oneof![2 => Just(0_usize), 1 => 1..60_000_usize];
    (any::<u32>(), 0..22_u8, 0..16_u8, block, main, any::<u8>()).prop_map(
        |(xid, rmgr, info, block, main, byte)| Made {
            xid,
            rmgr,
            // Not the switch of segments.
            info: if rmgr == 0 { 0xB0 } else { info << 4 },
            block,
            main: (0..main).map(|at| byte.wrapping_add(at as u8)).collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(records in vec(a_record(), 0..60)) {
        let (segments, expected) = written(&records);
        let (seen, end) = read(segments);
        prop_assert_eq!(seen, expected);
        prop_assert!(end.reason.is_ordinary(), "{:?}", end);
    }

    #[test]
    fn damage_ends_the_records_and_changes_none(
        records in vec(a_record(), 1..40),
        places in vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let (mut segments, expected) = written(&records);
        for (place, change) in places {
            let at = place.index(segments.len() * SIZE as usize);
            segments[at / SIZE as usize].bytes[at % SIZE as usize] ^= change;
        }
        if let Some(cut) = cut {
            let last = segments.len() - 1;
            segments[last].bytes.truncate(cut.index(SIZE as usize));
        }
        for segment in &segments {
            let _ = summarize_segment(&segment.bytes, segment.name);
        }
        let (seen, _) = read(segments);
        prop_assert!(seen.len() <= expected.len());
        for (seen, expected) in seen.iter().zip(&expected) {
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn beginning_later_reads_what_begins_later(
        records in vec(a_record(), 1..60),
        from in any::<prop::sample::Index>(),
    ) {
        let (segments, expected) = written(&records);
        let from = from.index(segments.len());
        let start = segments[from].name.start();
        let later: Vec<_> = expected.into_iter().filter(|seen| seen.start >= start).collect();
        prop_assert_eq!(read(segments[from..].to_vec()).0, later);
    }

    #[test]
    fn any_bytes_end_without_a_panic(
        mut bytes in vec(any::<u8>(), 0..20_000),
        has_header in any::<bool>(),
    ) {
        let (segments, _) = written(&[]);
        let name = SegmentName::at(Timeline::FIRST, Lsn::new(3 * SIZE), SegmentSize::new(SIZE).unwrap());
        prop_assert!(segments.is_empty());
        if has_header && bytes.len() > 40 {
            let (real, _) = written(&[Made { xid: 1, rmgr: 1, info: 0, block: 0, main: vec![0; 8] }]);
            bytes[..40].copy_from_slice(&real[0].bytes[..40]);
        }
        let summary = summarize_segment(&bytes, name);
        prop_assert_eq!(summary.records, 0);
    }
}

fn some(count: u32) -> Vec<Made> {
    let one = |xid| Made {
        xid,
        rmgr: 10,
        info: 0,
        block: 100,
        main: vec![1; 30],
    };
    (0..count).map(one).collect()
}

#[test]
fn the_end_says_what_is_there_instead() {
    let (segments, seen) = written(&some(3));
    let whole = read(segments.clone()).1;
    assert_eq!(whole.reason, EndReason::Zeros);

    // An old page behind the last: a file that the server used again.
    let mut recycled = segments.clone();
    let old = recycled[0].bytes[..1024].to_vec();
    recycled[0].bytes[5 * 1024..6 * 1024].copy_from_slice(&old);
    let end = read(recycled).1;
    assert_eq!(
        (end.at, end.reason),
        (
            whole.at,
            EndReason::Recycled {
                found: Lsn::new(3 * SIZE)
            }
        )
    );

    let mut flipped = segments.clone();
    let second = (seen[1].start.offset() - 3 * SIZE) as usize;
    flipped[0].bytes[second + 40] ^= 1;
    let end = read(flipped).1;
    assert_eq!(
        (end.at, end.reason),
        (seen[1].start, EndReason::Damaged(Damage::Crc))
    );

    let mut cut = segments.clone();
    cut[0].bytes.truncate(second + 30);
    let end = read(cut).1;
    assert!(
        matches!(end.reason, EndReason::Unfinished { found: 30, .. }),
        "{end:?}"
    );
    assert_eq!(end.at, seen[1].start);

    let mut zeroed = segments;
    zeroed[0].bytes[second..second + 8].fill(0);
    let end = read(zeroed).1;
    assert_eq!(
        (end.at, end.reason),
        (seen[1].start, EndReason::Damaged(Damage::Hole))
    );
}

#[test]
fn a_segment_that_is_missing_is_a_gap_and_another_clusters_is_refused() {
    let (segments, _) = written(&some(20_000));
    assert!(segments.len() > 3);
    let mut gap = segments.clone();
    gap.remove(1);
    assert_eq!(
        read(gap).1.reason,
        EndReason::Gap {
            found: segments[2].name
        }
    );
    let mut foreign = segments;
    foreign[1].bytes[24] ^= 1;
    assert_eq!(read(foreign).1.reason, EndReason::Damaged(Damage::Origin));
}

#[test]
fn a_record_that_a_crash_cut_off_is_passed_over_where_the_server_gave_it_up() {
    let records = some(6);
    let mut writer = Writer::new();
    records[..3].iter().for_each(|made| writer.write(made));
    writer.abandon();
    records[3..].iter().for_each(|made| writer.write(made));
    let (segments, starts) = writer.finish();
    let (seen, end) = read(segments);
    let found: Vec<Lsn> = seen.iter().map(|seen| seen.start).collect();
    assert_eq!(found, starts);
    assert_eq!(seen.last().unwrap().xid, 5);
    assert_eq!(end.reason, EndReason::Zeros);
}
