//! Reading the log of a service.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use jiff::Timestamp;

use super::supervisor::{MARK, old};
use crate::LogRequest;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How much is read at once, from the end.
const BLOCK: u64 = 64 * 1024;

/// Writes what a request asks for. `goes_on` tells whether more can be expected.
///
/// # Errors
/// As the log cannot be read, or `out` does not take it.
pub(super) fn write(
    path: &Path,
    request: &LogRequest,
    out: &mut dyn Write,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<()> {
    let files = files(path)?;
    let start = match (request.since, request.tail) {
        (Some(since), tail) => later(start_of(&files, since)?, tail, &files)?,
        (None, Some(tail)) => last_lines(&files, tail)?,
        (None, None) => Start { file: 0, at: 0 },
    };
    let end = copy(&files, start, out)?;
    out.flush()?;
    if request.follow {
        follow(path, end, out, goes_on)?;
    }
    Ok(())
}

/// Where reading begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Start {
    /// Index into the files, oldest first.
    file: usize,
    at: u64,
}

/// The log's files, oldest first.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = (1..=3).rev().map(|number| old(path, number)).collect();
    all.push(path.to_owned());
    let mut there = Vec::new();
    for file in all {
        match fs::metadata(&file) {
            Ok(_) => there.push(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(there)
}

/// The services' own lines have no time. Ours do: from the last of ours before `since` on, nothing
/// is left out that may have come later.
fn start_of(files: &[PathBuf], since: Timestamp) -> io::Result<Start> {
    let mut start = Start { file: 0, at: 0 };
    for (index, file) in files.iter().enumerate() {
        let mut reader = BufReader::new(File::open(file)?);
        let (mut at, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)? as u64;
            if read == 0 {
                break;
            }
            match time_of(&line) {
                Some(time) if time <= since => start = Start { file: index, at },
                Some(_) => return Ok(start),
                None => {}
            }
            at += read;
        }
    }
    Ok(start)
}

fn time_of(line: &[u8]) -> Option<Timestamp> {
    let rest = line.strip_prefix(MARK.as_bytes())?;
    let text = std::str::from_utf8(rest).ok()?;
    let (time, _) = text.split_once(": ")?;
    time.parse().ok()
}

fn later(start: Start, tail: Option<u64>, files: &[PathBuf]) -> io::Result<Start> {
    Ok(match tail {
        Some(tail) => start.max(last_lines(files, tail)?),
        None => start,
    })
}

/// Where the last so many lines begin.
fn last_lines(files: &[PathBuf], lines: u64) -> io::Result<Start> {
    let mut wanted = lines;
    for (index, path) in files.iter().enumerate().rev() {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        if wanted == 0 {
            return Ok(Start {
                file: index,
                at: length,
            });
        }
        match last_lines_of(&mut file, length, &mut wanted)? {
            Some(at) => return Ok(Start { file: index, at }),
            None if index == 0 => break,
            None => {}
        }
    }
    Ok(Start { file: 0, at: 0 })
}

/// `None` if there are fewer; what is still wanted is left in `wanted` then.
fn last_lines_of(file: &mut File, length: u64, wanted: &mut u64) -> io::Result<Option<u64>> {
    let mut end = length;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        block.resize(usize::try_from(end - start).map_err(io::Error::other)?, 0);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        for (at, _) in block
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            let after = start + at as u64 + 1;
            // The line end at the very end closes the last line.
            if after == length {
                continue;
            }
            *wanted -= 1;
            if *wanted == 0 {
                return Ok(Some(after));
            }
        }
        end = start;
    }
    // The file's first line has no line end before it.
    if length > 0 {
        *wanted -= 1;
        if *wanted == 0 {
            return Ok(Some(0));
        }
    }
    Ok(None)
}

/// Returns how far the newest file was read.
fn copy(files: &[PathBuf], start: Start, out: &mut dyn Write) -> io::Result<u64> {
    let mut end = 0;
    for (index, path) in files.iter().enumerate().skip(start.file) {
        let mut file = File::open(path)?;
        let at = if index == start.file { start.at } else { 0 };
        file.seek(SeekFrom::Start(at))?;
        end = at + io::copy(&mut file, out)?;
    }
    Ok(end)
}

fn follow(
    path: &Path,
    mut at: u64,
    out: &mut dyn Write,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<()> {
    loop {
        // Asked before the look, so that the last words are not missed.
        let is_last = !goes_on();
        if let Some(mut file) = open(path)? {
            // It was rotated: what is there now is new.
            if file.metadata()?.len() < at {
                at = 0;
            }
            file.seek(SeekFrom::Start(at))?;
            at += io::copy(&mut file, out)?;
            out.flush()?;
        }
        if is_last {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(files: &[(&str, &str)], request: &LogRequest) -> String {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let mut file = File::create(dir.path().join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        let mut out = Vec::new();
        write(&dir.path().join("a.log"), request, &mut out, &|| false).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn tail(lines: u64) -> LogRequest {
        LogRequest {
            tail: Some(lines),
            ..LogRequest::default()
        }
    }

    #[test]
    fn the_last_lines_are_counted_across_old_files() {
        let files = [("a.log.1", "1\n2\n3\n"), ("a.log", "4\n5")];
        for (lines, expected) in [
            (0, ""),
            (1, "5"),
            (2, "4\n5"),
            (3, "3\n4\n5"),
            (9, "1\n2\n3\n4\n5"),
        ] {
            assert_eq!(logged(&files, &tail(lines)), expected, "{lines}");
        }
        assert_eq!(logged(&[("a.log", "")], &tail(3)), "");
        assert_eq!(logged(&[], &tail(3)), "");
    }

    #[test]
    fn since_leaves_out_nothing_that_may_have_come_later() {
        let mark = |second: u32| format!("{MARK}2026-01-01T00:00:0{second}Z: x\n");
        let text = format!("{}a\n{}b\n{}c\n", mark(1), mark(3), mark(5));
        let request = LogRequest {
            since: Some("2026-01-01T00:00:04Z".parse().unwrap()),
            ..LogRequest::default()
        };
        let expected = format!("{}b\n{}c\n", mark(3), mark(5));
        assert_eq!(logged(&[("a.log", &text)], &request), expected);
    }
}
