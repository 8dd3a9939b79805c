//! The WAL archive alone, for benchmarks: `wal DIR [SEGMENT…]`.
//!
//! In an empty directory of the disk in question it measures the cipher, the compression of the
//! given segments (else of made-up ones), and how long 32 objects of 4 MiB take until they are
//! durable, one after another and together.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{env, error::Error, fs, path::Path, sync::Arc, time::Instant};

use rekindle_vault::{
    Password, SealedWal, Vault, WalArchive, WalArchiveError, WalEffort, WalFile,
    age::{self, Identity},
    store::LocalStore,
    wal_frame,
};

const SEGMENT: usize = 16 << 20;
/// What a segment of a busy server compresses to.
const COMPRESSED: usize = 4 << 20;
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let dir = arguments.next().ok_or("which directory?")?;
    let segments: Vec<Vec<u8>> = arguments.map(fs::read).collect::<Result<_, _>>()?;
    cipher()?;
    compression(&segments);
    durability(Path::new(&dir))
}

fn cipher() -> Result<(), Box<dyn Error>> {
    let identity = [Identity::random()?];
    let plain = noise(1, COMPRESSED);
    let (mut sealing, mut opening) = (Vec::new(), Vec::new());
    for _ in 0..50 * ROUNDS {
        let mut content = Vec::with_capacity(age::sealed_bytes(1, COMPRESSED));
        content.extend_from_slice(&plain);
        let started = Instant::now();
        let sealed = age::seal(&[identity[0].recipient()], content)?;
        sealing.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let opened = age::open(&identity, sealed)?;
        opening.push(started.elapsed().as_secs_f64());
        assert!(opened == plain);
    }
    let speed = |times: Vec<f64>| COMPRESSED as f64 / 1e9 / best(times);
    println!(
        "age: seal {:.2} GB/s, open {:.2} GB/s",
        speed(sealing),
        speed(opening)
    );
    Ok(())
}

fn compression(segments: &[Vec<u8>]) {
    let made_up = [made_up_segment()];
    let segments = if segments.is_empty() {
        &made_up
    } else {
        segments
    };
    let plain: usize = segments.iter().map(Vec::len).sum();
    for effort in [WalEffort::Fastest, WalEffort::Fast, WalEffort::Default] {
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            bytes = segments
                .iter()
                .map(|plain| wal_frame(plain, effort).len())
                .sum();
            times.push(started.elapsed().as_secs_f64());
        }
        let (share, speed) = (
            100.0 * bytes as f64 / plain as f64,
            plain as f64 / 1e6 / best(times),
        );
        println!("zstd {effort:?}: {share:.1} % at {speed:.0} MB/s");
    }
}

fn durability(dir: &Path) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(LocalStore::new(dir.join("vault")));
    let archive = Vault::create(store, &Password::new("bench"))?.wal_archive()?;
    for (system, kib) in [(1000, 4 << 10), (2000, 64)] {
        let (mut single, mut group) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS as u64 {
            let files = sealed(&archive, system + round * 2, kib << 10)?;
            let started = Instant::now();
            for file in files {
                done(archive.put_all(vec![file]))?;
            }
            single.push(started.elapsed().as_secs_f64());
            let files = sealed(&archive, system + round * 2 + 1, kib << 10)?;
            let started = Instant::now();
            done(archive.put_all(files))?;
            group.push(started.elapsed().as_secs_f64());
        }
        let (single, group) = (median(single) * 1e3, median(group) * 1e3);
        println!("32 objects of {kib} KiB: one by one {single:.0} ms, together {group:.0} ms");
    }
    Ok(fs::remove_dir_all(dir.join("vault"))?)
}

fn sealed(
    archive: &WalArchive,
    system: u64,
    bytes: usize,
) -> Result<Vec<SealedWal>, Box<dyn Error>> {
    (0..32)
        .map(|number: u64| {
            let file = WalFile::named(system, format!("0000000100000000{number:08X}"))?;
            Ok(archive.seal(
                file,
                &noise(system * 32 + number, bytes),
                WalEffort::Fastest,
            )?)
        })
        .collect()
}

fn done<T>(outcomes: Vec<Result<T, WalArchiveError>>) -> Result<(), WalArchiveError> {
    outcomes
        .into_iter()
        .try_for_each(|outcome| outcome.map(drop))
}

/// Rows of counters and texts between pages of noise; real segments say more.
fn made_up_segment() -> Vec<u8> {
    let mut segment = Vec::with_capacity(SEGMENT);
    let mut row = 0_u64;
    while segment.len() < SEGMENT {
        segment.extend_from_slice(&row.to_le_bytes());
        segment.extend_from_slice(b"\x01\x00\x00\x00 a row of some table, number ");
        segment.extend_from_slice(&noise(row, 40));
        row += 1;
    }
    segment.truncate(SEGMENT);
    segment
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(bytes).collect()
}

/// Other work on the machine only ever makes it slower.
fn best(times: Vec<f64>) -> f64 {
    times.into_iter().fold(f64::INFINITY, f64::min)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
