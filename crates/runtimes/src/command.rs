//! A command with its streams, run on this machine.

use std::{
    io::{self, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

use crate::{ExecOutcome, ExecStreams, identity::signal_group};

/// How long to sleep between two looks at a process, at most.
const LOOK: Duration = Duration::from_millis(20);

/// Why a command did not run to its end.
pub(crate) enum CommandError {
    /// It could not be run, or a stream failed.
    Io(io::Error),
    /// It was killed after its limit.
    TookTooLong(Duration),
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Runs a command to its end, with all it started, and passes its streams on byte for byte. After
/// `limit`, or when our end of a stream fails, it is killed.
///
/// # Errors
/// [`CommandError`].
pub(crate) fn run(
    mut command: Command,
    streams: ExecStreams<'_>,
    limit: Option<Duration>,
) -> Result<ExecOutcome, CommandError> {
    let ExecStreams {
        stdin,
        stdout,
        stderr,
    } = streams;
    let input = if stdin.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A group of its own, so that what it starts ends with it.
    command.process_group(0);
    let mut child = command.spawn()?;
    let group = Group::of(&child);
    let (their_in, their_out, their_err) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (failed, failures) = mpsc::channel::<io::Error>();
    let status = thread::scope(|scope| {
        if let (Some(pipe), Some(source)) = (their_in, stdin) {
            let failed = failed.clone();
            scope.spawn(move || feed(source, pipe, &failed));
        }
        let of_stdout = failed.clone();
        scope.spawn(move || pass_on(their_out, stdout, &of_stdout));
        scope.spawn(move || pass_on(their_err, stderr, &failed));
        let status = wait(&mut child, limit, &failures);
        // Whoever was left behind holds the pipes, and is not waited for.
        group.kill();
        status
    })?;
    if let Ok(error) = failures.try_recv() {
        return Err(error.into());
    }
    Ok(ExecOutcome {
        exit_code: code_of(status),
    })
}

/// Passes on what somebody is to read. One who ends before reading everything says so by an exit code.
pub(crate) fn feed(source: &mut dyn Read, mut pipe: impl Write, failed: &mpsc::Sender<io::Error>) {
    match io::copy(source, &mut pipe) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => drop(failed.send(error)),
        _ => {}
    }
}

/// Passes on what somebody writes, to its end.
pub(crate) fn pass_on(
    from: Option<impl Read>,
    to: &mut dyn Write,
    failed: &mpsc::Sender<io::Error>,
) {
    let Some(mut from) = from else { return };
    let passed = io::copy(&mut from, to).and_then(|_| to.flush());
    if let Err(error) = passed {
        drop(failed.send(error));
    }
}

/// Waits for the end, for the limit, or until one of our streams fails.
fn wait(
    child: &mut Child,
    limit: Option<Duration>,
    failures: &mpsc::Receiver<io::Error>,
) -> Result<ExitStatus, CommandError> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let over = limit.filter(|limit| begun.elapsed() >= *limit);
        let failure = failures.try_recv().ok();
        if over.is_some() || failure.is_some() {
            Group::of(child).kill();
            child.wait()?;
        }
        match (over, failure) {
            (_, Some(error)) => return Err(error.into()),
            (Some(limit), None) => return Err(CommandError::TookTooLong(limit)),
            (None, None) => thread::sleep(pause),
        }
        pause = (pause * 2).min(LOOK);
    }
}

struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(i32::try_from(child.id()).ok().and_then(Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            let _ = signal_group(group, Signal::KILL);
        }
    }
}

/// The exit code as shells count.
fn code_of(status: ExitStatus) -> i64 {
    let signal = || status.signal().map_or(-1, |number| 128 + i64::from(number));
    status.code().map_or_else(signal, i64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(line: &str, stdin: Option<&[u8]>, limit: Option<Duration>) -> (i64, Vec<u8>, Vec<u8>) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut stdin = stdin;
        let streams = ExecStreams {
            stdin: stdin.as_mut().map(|bytes| bytes as &mut (dyn Read + Send)),
            stdout: &mut out,
            stderr: &mut err,
        };
        match run(command, streams, limit) {
            Ok(outcome) => (outcome.exit_code, out, err),
            Err(CommandError::TookTooLong(_)) => (-2, out, err),
            Err(CommandError::Io(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn all_bytes_pass_both_ways_and_the_exit_code_comes_back() {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
        let (code, out, err) = sh("tee /dev/stderr; exit 7", Some(&bytes), None);
        assert_eq!(code, 7);
        assert!(out == bytes && err == bytes);
        assert_eq!(sh("kill -9 $$", None, None).0, 137);
        assert_eq!(sh("exit 3", Some(&bytes), None).0, 3);
    }

    #[test]
    fn what_takes_too_long_is_killed_with_what_it_started() {
        let line = "sleep 61.25 & echo $!; sleep 61.25";
        let (code, out, _) = sh(line, None, Some(Duration::from_millis(200)));
        assert_eq!(code, -2);
        let pid: i32 = String::from_utf8(out).unwrap().trim().parse().unwrap();
        let begun = Instant::now();
        while crate::identity::Identity::of(pid)
            .unwrap()
            .is_some_and(|it| it.is_alive())
        {
            assert!(begun.elapsed() < Duration::from_secs(5), "it lives");
        }
    }
}
