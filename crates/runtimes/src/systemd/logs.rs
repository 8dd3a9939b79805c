//! What a unit has logged, as `journalctl` tells it.

use std::{
    ffi::OsString,
    io::{self, Read as _, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use crate::{
    ExecStreams, LogRequest,
    command::{self, CommandError},
    process::passed_on,
};

/// How long to wait for lines between two looks at whether the unit goes on.
const LOOK: Duration = Duration::from_millis(250);

/// What `journalctl --show-cursor` writes before the place that it came to.
const CURSOR: &[u8] = b"-- cursor: ";

/// The journal of one unit.
pub(super) struct Journal<'a> {
    /// The words that run `journalctl`.
    pub program: &'a [OsString],
    pub unit: &'a str,
    /// Whether the unit is one of `systemctl --user`.
    pub of_user: bool,
}

impl Journal<'_> {
    /// Writes what is asked for. If it is followed, until `goes_on` says no, and then to the last line.
    pub fn write(
        &self,
        request: &LogRequest,
        out: &mut dyn Write,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<()> {
        let begin = begin(request);
        if !request.follow {
            return self.read(&begin, out);
        }
        let mut held = HoldCursor::new(out);
        self.read(
            &[&begin[..], &["--show-cursor".to_owned()]].concat(),
            &mut held,
        )?;
        // From where it came to; without a line there is no such place, and all that comes is new.
        let from = match held.finish()? {
            Some(cursor) => vec![format!("--after-cursor={cursor}")],
            None => begin
                .into_iter()
                .filter(|word| !word.starts_with("--lines"))
                .collect(),
        };
        let from = [&from[..], &["--lines=all".to_owned()]].concat();
        let written = self.follow(&from, out, goes_on)?;
        // What was said before the end may not have reached the journal's files yet. Where that may not be asked for,
        // what is there has to do.
        let _ = self.output(&["--sync".to_owned()]);
        self.read(&from, &mut Skip { left: written, out })
    }

    /// Writes lines as they come, and returns how many bytes that were.
    fn follow(
        &self,
        from: &[String],
        out: &mut dyn Write,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<u64> {
        let mut command = self.command(from);
        command
            .arg("--follow")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = Ended(command.spawn()?);
        let Some(mut pipe) = child.0.stdout.take() else {
            return Ok(0);
        };
        // Of no more than one piece, so that a reader who is slow slows down all of it.
        let (send, pieces) = mpsc::sync_channel::<Vec<u8>>(1);
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length) = pipe.read(&mut buffer) {
                if length == 0 || send.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut written = 0;
        loop {
            match pieces.recv_timeout(LOOK) {
                Ok(piece) => {
                    out.write_all(&piece)?;
                    out.flush()?;
                    written += piece.len() as u64;
                }
                Err(RecvTimeoutError::Timeout) if goes_on() => {}
                Err(_) => return Ok(written),
            }
        }
    }

    /// Runs `journalctl` to its end.
    fn read(&self, words: &[String], out: &mut dyn Write) -> io::Result<()> {
        let mut child = self.command(words);
        child
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Ended(child.spawn()?);
        let complaints = child.0.stderr.take().map(|pipe| {
            thread::spawn(move || {
                let mut text = String::new();
                let _ = pipe.take(4096).read_to_string(&mut text);
                text
            })
        });
        if let Some(mut pipe) = child.0.stdout.take() {
            io::copy(&mut pipe, out)?;
            out.flush()?;
        }
        let status = child.0.wait()?;
        if status.success() {
            return Ok(());
        }
        let said = complaints
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        Err(io::Error::other(format!(
            "journalctl: {status}: {}",
            said.trim()
        )))
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = self.bare();
        let unit = if self.of_user {
            "--user-unit"
        } else {
            "--unit"
        };
        command
            .arg(format!("{unit}={}", self.unit))
            .args(["--quiet", "--no-pager", "--output=short-iso"])
            .args(words);
        command
    }

    fn bare(&self) -> Command {
        let mut words = self.program.iter();
        let mut command = Command::new(
            words
                .next()
                .map_or("journalctl".as_ref(), OsString::as_os_str),
        );
        command.args(words).env_clear().envs(passed_on());
        command
    }

    fn output(&self, words: &[String]) -> io::Result<()> {
        let mut command = self.bare();
        command.args(words);
        let (mut out, mut err) = (io::sink(), io::sink());
        let streams = ExecStreams {
            stdin: None,
            stdout: &mut out,
            stderr: &mut err,
        };
        match command::run(command, streams, Some(Duration::from_secs(20))) {
            Err(CommandError::Io(error)) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Which lines come first.
fn begin(request: &LogRequest) -> Vec<String> {
    let lines = request
        .tail
        .map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let since = request
        .since
        .map(|since| format!("--since=@{}", since.as_second()));
    [format!("--lines={lines}")]
        .into_iter()
        .chain(since)
        .collect()
}

/// A child that does not outlive us.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Passes all on except for the last line, if that says how far the journal was read.
struct HoldCursor<'a> {
    out: &'a mut dyn Write,
    line: Vec<u8>,
    cursor: Option<Vec<u8>>,
}

impl<'a> HoldCursor<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            line: Vec::new(),
            cursor: None,
        }
    }

    fn finish(mut self) -> io::Result<Option<String>> {
        self.end_of_line()?;
        let cursor = self.cursor.and_then(|line| String::from_utf8(line).ok());
        Ok(cursor.map(|line| line[CURSOR.len()..].trim_end().to_owned()))
    }

    fn end_of_line(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(());
        }
        // One that was no last line was said by the service.
        if let Some(earlier) = self.cursor.take() {
            self.out.write_all(&earlier)?;
        }
        if line.starts_with(CURSOR) {
            self.cursor = Some(line);
            return Ok(());
        }
        self.out.write_all(&line)
    }
}

impl Write for HoldCursor<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(line);
            if line.ends_with(b"\n") {
                self.end_of_line()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Leaves out the first bytes.
struct Skip<'a> {
    left: u64,
    out: &'a mut dyn Write,
}

impl Write for Skip<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        self.left -= skipped as u64;
        self.out.write_all(&bytes[skipped..])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal that a shell script makes.
    fn told(script: &str, request: &LogRequest, looks: usize) -> String {
        let program: Vec<OsString> = ["/bin/sh", "-c", script, "journalctl"]
            .map(Into::into)
            .to_vec();
        let journal = Journal {
            program: &program,
            unit: "web.service",
            of_user: false,
        };
        let left = std::cell::Cell::new(looks);
        let goes_on = || {
            left.set(left.get().saturating_sub(1));
            left.get() > 0
        };
        let mut out = Vec::new();
        journal.write(request, &mut out, &goes_on).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_followed_log_ends_with_its_last_line_and_repeats_none() {
        let script = r#"case " $* " in
            *" --show-cursor "*) printf 'one\n-- cursor: x\ntwo\n-- cursor: here\n' ;;
            *" --sync "*) ;;
            *" --after-cursor=here --lines=all --follow "*) printf 'three\nfo'; exec sleep 61 ;;
            *" --after-cursor=here --lines=all "*) printf 'three\nfour\nfive\n' ;;
            *) exit 9 ;; esac"#;
        let request = LogRequest {
            tail: Some(2),
            follow: true,
            since: None,
        };
        let expected = "one\n-- cursor: x\ntwo\nthree\nfour\nfive\n";
        assert_eq!(told(script, &request, 2), expected);
    }

    #[test]
    fn a_journal_without_a_line_is_followed_from_where_it_was_asked_for() {
        let script = r#"case " $* " in
            *" --show-cursor "*) ;;
            *" --sync "*) exit 1 ;;
            *" --since=@7 --lines=all --follow "*) exec sleep 61 ;;
            *" --since=@7 --lines=all "*) printf 'first\n' ;;
            *) exit 9 ;; esac"#;
        let request = LogRequest {
            tail: None,
            follow: true,
            since: jiff::Timestamp::from_second(7).ok(),
        };
        assert_eq!(told(script, &request, 1), "first\n");
    }
}
