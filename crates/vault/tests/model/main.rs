//! Random sequences of backup, forget, prune, copy, rebuilding of the index, check and crash, by several
//! writers with and without locks, whose clocks differ, with virtual time; others' deeds fall into the
//! middle of an operation. Held against a map of points, files and bytes.
//!
//! `REKINDLE_TEST_SEED` repeats one sequence, `REKINDLE_MODEL_SEQUENCES` says how many there are.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, show their seed, and write files that need not survive"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/hooked.rs"]
mod hooked;
#[path = "../common/world.rs"]
mod world;

mod meanwhile;
mod referee;
mod side;
mod steps;

use std::{
    env,
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use steps::Model;

/// In ordinary runs; CI plays thousands, some 40 each second on two cores.
const SEQUENCES: u64 = 400;
const STEPS: u64 = 14;

/// Plays a sequence; a failure tells what led to it.
fn play(seed: u64) {
    let mut model = Model::new(seed);
    let played = panic::catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..STEPS {
            model.step();
        }
        model.end();
    }));
    if let Err(panicked) = played {
        let story = model.story.join("\n");
        eprintln!("REKINDLE_TEST_SEED={seed}\n{story}");
        panic::resume_unwind(panicked);
    }
}

#[test]
fn whatever_happens_every_listed_point_holds_what_was_backed_up() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = number("REKINDLE_TEST_SEED") {
        return play(seed);
    }
    let first = common::random().below(1 << 40) << 20;
    let count = number("REKINDLE_MODEL_SEQUENCES").unwrap_or(SEQUENCES);
    let (next, started) = (AtomicU64::new(0), Instant::now());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    play(first + number);
                }
            });
        }
    });
    eprintln!("{count} sequences in {:?}", started.elapsed());
}
