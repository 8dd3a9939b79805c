//! Parsers of stored bytes against mutations of real ones: none panics, and what it reads it writes the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod common;

use std::panic;

use rekindle_testing::data::Random;
use rekindle_vault::fuzzing::{TARGETS, corpus};

/// Mutations of each seed. Random, so another run tries others; the seed of a failure is printed.
const MUTATIONS: usize = 400;

fn mutated(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let length = bytes.len() as u64;
        let at = random.below(length.max(1)) as usize;
        match random.below(7) {
            _ if bytes.is_empty() => bytes = random.bytes(10),
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'\\'][random.below(8) as usize],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(..at)),
            4 => {
                let more = random.bytes(8);
                bytes.splice(at..at, more);
            }
            // A number that lies.
            5 => {
                let end = bytes.len().min(at + 4);
                let lie = [u32::MAX, 0, 1 << 31, 1 << 24][random.below(4) as usize].to_le_bytes();
                bytes[at..end].copy_from_slice(&lie[..end - at]);
            }
            _ => {
                let from = random.below(other.len() as u64 + 1) as usize;
                bytes.splice(at.., other[from..].iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn no_parser_of_stored_bytes_panics_on_mutations_of_real_ones() {
    let mut random = common::random();
    let seeds = corpus().unwrap();
    for (name, parse) in TARGETS {
        let own: Vec<_> = seeds.iter().filter(|(target, _)| target == name).collect();
        assert!(!own.is_empty(), "{name} has no real bytes to begin with");
        for (_, seed) in &own {
            parse(seed);
            for _ in 0..MUTATIONS {
                let other = &own[random.below(own.len() as u64) as usize].1;
                let bytes = mutated(&mut random, seed, other);
                let outcome = panic::catch_unwind(|| parse(&bytes));
                assert!(outcome.is_ok(), "{name} panicked on {}", hex(&bytes));
            }
        }
    }
    for (name, parse) in TARGETS {
        for length in [0, 1, 4, 31, 32, 33, 100] {
            let bytes = random.bytes(length);
            let outcome = panic::catch_unwind(|| parse(&bytes));
            assert!(outcome.is_ok(), "{name} panicked on {}", hex(&bytes));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
