//! The WAL of a real server, and what `pg_waldump` says about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rekindle_postgres::layout::{Lsn, SegmentName, SegmentSize, WalFileKind};
use rekindle_postgres::wal::reader::Segment;
use rekindle_testing::postgres::{Major, Mode, Postgres, PostgresBuilder};

/// A server whose segments all stay in `pg_wal`.
pub fn builder(major: Major, segment_mib: u32) -> PostgresBuilder {
    Postgres::builder(major)
        .checksums(true)
        .wal_segment_size(segment_mib)
        .conf("wal_keep_size", "10GB")
        .conf("max_prepared_transactions", 5)
        .conf("autovacuum", "off")
}

/// The segments in a stopped server's `pg_wal`, in order; the files made ahead are among them.
pub fn segments(server: &mut Postgres, segment_mib: u32) -> Vec<Segment<Vec<u8>>> {
    if server.pid().is_some() {
        server.stop(Mode::Fast).unwrap();
    }
    let directory = server.data_dir().join("pg_wal");
    let size = SegmentSize::new(u64::from(segment_mib) << 20).unwrap();
    let entries = fs::read_dir(&directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.parse() == Ok(WalFileKind::Segment))
        .collect();
    names.sort();
    let read = |name: &String| Segment {
        name: SegmentName::parse(name, size).unwrap(),
        bytes: fs::read(directory.join(name)).unwrap(),
    };
    names.iter().map(read).collect()
}

/// A record as `pg_waldump` prints it, or as we would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub lsn: Lsn,
    pub previous: Lsn,
    pub rmgr: String,
    pub xid: u32,
    pub bytes: u32,
    /// `1663/5/16384 blk 0`, `1663/5/16384 fork fsm blk 0`
    pub blocks: Vec<String>,
    /// Of a commit or abort, in the server's own words.
    pub time: Option<String>,
}

/// What `pg_waldump` says about the segments from the first to the last of these.
pub fn waldump(server: &Postgres, segments: &[Segment<Vec<u8>>]) -> Vec<Line> {
    let names: Vec<String> = segments
        .iter()
        .map(|segment| segment.name.to_string())
        .collect();
    let output = Command::new(waldump_program(server))
        .env("TZ", "UTC")
        .arg("-p")
        .arg(server.data_dir().join("pg_wal"))
        .args([&names[0], &names[names.len() - 1]])
        .output()
        .unwrap();
    // It ends with an error where the WAL ends.
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter(|line| line.starts_with("rmgr: "))
        .map(|line| parse(line).unwrap_or_else(|| panic!("{line}")))
        .collect()
}

fn waldump_program(server: &Postgres) -> PathBuf {
    Path::new(server.bin_dir()).join("pg_waldump")
}

fn parse(line: &str) -> Option<Line> {
    let field = |name: &str| {
        let (_, rest) = line.split_once(name)?;
        Some(rest.trim_start().split([' ', ',']).next()?.to_owned())
    };
    let lengths = line.split_once("len (rec/tot):")?.1;
    let total = lengths.split_once('/')?.1.split_once(',')?.0;
    let description = line.split_once("desc: ")?.1;
    let blocks = description.split("blkref #").skip(1).map(|block| {
        let words: Vec<&str> = block
            .split_once("rel ")
            .map_or("", |(_, rest)| rest)
            .split([' ', ',', ';'])
            .collect();
        match words.get(1) {
            Some(&"fork") => format!("{} fork {} blk {}", words[0], words[2], words[4]),
            _ => format!("{} blk {}", words[0], words[2]),
        }
    });
    Some(Line {
        lsn: field("lsn: ")?.parse().ok()?,
        previous: field("prev ")?.parse().ok()?,
        rmgr: field("rmgr: ")?,
        xid: field("tx: ")?.parse().ok()?,
        bytes: total.trim().parse().ok()?,
        blocks: blocks.collect(),
        time: ending_time(line, description),
    })
}

/// `COMMIT 2026-11-21 09:00:00.123456 UTC; inval msgs: …`, `COMMIT_PREPARED gid: 2026-… UTC`.
fn ending_time(line: &str, description: &str) -> Option<String> {
    let is_end = ["COMMIT", "ABORT"]
        .iter()
        .any(|word| description.starts_with(word));
    if !line.starts_with("rmgr: Transaction") || !is_end {
        return None;
    }
    let (before, _) = description.split_once(" UTC")?;
    let words: Vec<&str> = before.rsplitn(3, ' ').collect();
    Some(format!("{} {}", words[1], words[0]))
}
