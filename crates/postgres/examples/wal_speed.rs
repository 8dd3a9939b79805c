//! How fast WAL is read: `cargo run --release -p rekindle-postgres --example wal_speed -- PG_WAL [SEGMENT_MIB]`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement by hand"
)]

use std::convert::Infallible;
use std::path::Path;
use std::time::Instant;

use rekindle_postgres::layout::{SegmentName, SegmentSize, WalFileKind};
use rekindle_postgres::wal::reader::{Reader, Segment};
use rekindle_postgres::wal::scan::{Activity, summarize_segment};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap();
    let mib: u64 = arguments.next().map_or(16, |mib| mib.parse().unwrap());
    let size = SegmentSize::new(mib << 20).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.parse() == Ok(WalFileKind::Segment))
        .collect();
    names.sort();
    let segments: Vec<(SegmentName, Vec<u8>)> = names
        .iter()
        .map(|name| {
            let bytes = std::fs::read(Path::new(&directory).join(name)).unwrap();
            (SegmentName::parse(name, size).unwrap(), bytes)
        })
        .collect();
    let gigabytes = (segments.len() as u64 * size.bytes()) as f64 / 1e9;
    for _ in 0..3 {
        let begun = Instant::now();
        let summaries: Vec<_> = segments
            .iter()
            .map(|(name, bytes)| summarize_segment(bytes, *name))
            .collect();
        let took = begun.elapsed().as_secs_f64();
        let records: u64 = summaries.iter().map(|summary| summary.records).sum();
        println!("summaries: {records} records, {:.2} GB/s", gigabytes / took);

        let begun = Instant::now();
        let borrowed = segments.iter().map(|(name, bytes)| Segment {
            name: *name,
            bytes: bytes.as_slice(),
        });
        let mut reader = Reader::new(borrowed.map(Ok::<_, Infallible>));
        let (mut activity, mut transactions) = (Activity::new(), 0);
        while let Some(record) = reader.next_record().unwrap() {
            transactions += u64::from(activity.add(&record).is_some());
        }
        let took = begun.elapsed().as_secs_f64();
        println!(
            "activity: {transactions} transactions, {:.2} GB/s; {:?}",
            gigabytes / took,
            reader.end()
        );
    }
}
