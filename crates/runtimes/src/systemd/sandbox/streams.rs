//! The streams of a command that systemd runs: pipes, whose ends go to it over the bus.

use std::{
    io::{self, BufRead as _, BufReader, PipeReader, PipeWriter, Write as _},
    os::fd::OwnedFd,
    sync::mpsc,
    thread,
};

use zbus::Fd;

use crate::{
    ExecStreams,
    command::{feed, pass_on},
    systemd::bus::Property,
};

/// Our ends of the pipes.
pub(super) struct Pipes {
    stdin: Option<PipeWriter>,
    stdout: PipeReader,
    stderr: PipeReader,
}

impl Pipes {
    /// Makes pipes; the other ends are properties of the unit that has the command.
    pub fn new(has_input: bool) -> io::Result<(Self, Vec<Property>)> {
        let given = |end: OwnedFd| Fd::from(end).into();
        let (stdout, their_out) = io::pipe()?;
        let (stderr, their_err) = io::pipe()?;
        let mut properties = vec![
            ("StandardOutputFileDescriptor", given(their_out.into())),
            ("StandardErrorFileDescriptor", given(their_err.into())),
        ];
        let mut stdin = None;
        if has_input {
            let (their_in, ours) = io::pipe()?;
            stdin = Some(ours);
            properties.push(("StandardInputFileDescriptor", given(their_in.into())));
        }
        let pipes = Self {
            stdin,
            stdout,
            stderr,
        };
        Ok((pipes, properties))
    }

    /// Says something, and returns the line that is answered; an empty one if there is none.
    pub fn say(self, words: &[u8]) -> io::Result<String> {
        if let Some(mut stdin) = self.stdin {
            match stdin.write_all(words) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        let mut line = String::new();
        BufReader::new(self.stdout).read_line(&mut line)?;
        Ok(line)
    }

    /// Passes every byte on while `wait` waits for the command's end. What goes wrong on our side is told to `wait`, which
    /// ends the command then.
    pub fn pass<T>(
        self,
        streams: ExecStreams<'_>,
        wait: impl FnOnce(&mpsc::Receiver<io::Error>) -> T,
    ) -> (T, Option<io::Error>) {
        let ExecStreams {
            stdin,
            stdout,
            stderr,
        } = streams;
        let (failed, failures) = mpsc::channel();
        let done = thread::scope(|scope| {
            if let (Some(pipe), Some(source)) = (self.stdin, stdin) {
                let failed = failed.clone();
                scope.spawn(move || feed(source, pipe, &failed));
            }
            let of_stdout = failed.clone();
            scope.spawn(move || pass_on(Some(self.stdout), stdout, &of_stdout));
            scope.spawn(move || pass_on(Some(self.stderr), stderr, &failed));
            wait(&failures)
        });
        (done, failures.try_recv().ok())
    }
}
