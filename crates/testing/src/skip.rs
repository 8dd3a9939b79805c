//! Skipping a test so that nobody overlooks it.
//!
//! A skip prints a line, and appends it to `target/test-skips.txt`, which `make test` shows at its
//! end. With `REKINDLE_TEST_NO_SKIPS=1` a skip is a failure instead.

#![allow(
    clippy::print_stderr,
    reason = "a skipped test must be seen where it was skipped"
)]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use crate::TestingError;
use crate::process::workspace_target;

/// Says that the current test is skipped, and why.
///
/// # Panics
/// If `REKINDLE_TEST_NO_SKIPS` is set to anything but `0`.
#[track_caller]
pub fn record(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("SKIPPED: {test}: {why}");
    let forbidden = std::env::var_os("REKINDLE_TEST_NO_SKIPS").is_some_and(|value| value != "0");
    assert!(!forbidden, "{line} (and REKINDLE_TEST_NO_SKIPS forbids it)");
    eprintln!("{line}");
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(list())
        .and_then(|mut file| writeln!(file, "{line}"));
    if let Err(error) = written {
        eprintln!(
            "SKIPPED: could not note it in {}: {error}",
            list().display()
        );
    }
}

/// Passes a value through; `None`, after [`record`], if it is merely not available here.
///
/// # Panics
/// On every other error: a server that is there and does not start is a failure.
#[track_caller]
pub fn unless_available<T>(result: Result<T, TestingError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.is_unavailable() => {
            record(&error.to_string());
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Where skips are listed: `$REKINDLE_TEST_SKIPS`, else `target/test-skips.txt`.
pub fn list() -> PathBuf {
    std::env::var_os("REKINDLE_TEST_SKIPS")
        .map_or_else(|| workspace_target().join("test-skips.txt"), PathBuf::from)
}
