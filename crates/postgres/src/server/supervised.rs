//! A server process that cannot outlive this one.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::{ControlError, Owner, Programs};
use crate::error::Error;

/// Stands between us and the server. While we live, its input stays open; a line there asks the
/// server to stop in good order. When we are gone, however that came, the input ends, and the server
/// is stopped at once. The number of the server's process cannot have been given to another one,
/// because the shell has not yet waited for it. The server's private directory goes too.
const SUPERVISOR: &str = r#"
exec 3<&0
home=$1; gone=; shift
"$@" </dev/null 3<&- &
server=$!
trap 'gone=yes; kill -QUIT $server' TERM
trap 'kill -INT $server' USR1
( trap - TERM USR1; while read -r word; do kill -USR1 $$; done; kill -TERM $$ ) <&3 &
reader=$!
while :; do
  wait $server; status=$?
  kill -0 $server 2>/dev/null || break
done
kill -KILL $reader 2>/dev/null
[ -z "$gone" ] || rm -rf "$home"
exit $status
"#;

/// Of a log this much of the end is read.
const LOG_TAIL_BYTES: u64 = 64 << 10;
const LOG_TAIL_LINES: usize = 25;
/// After that, a server that was told to stop at once is killed.
const STOP_AT_ONCE: Duration = Duration::from_secs(30);

/// A server and its private directory, with socket, configuration and log. Dropping it stops the
/// server at once and removes the directory.
pub(super) struct Supervised {
    child: Child,
    input: Option<ChildStdin>,
    status: Option<ExitStatus>,
    home: Option<TempDir>,
    log: PathBuf,
}

impl Supervised {
    /// Starts `postgres` on `pgdata` with these settings, as `owner`.
    pub(super) fn start(
        programs: &Programs,
        owner: &Owner,
        pgdata: &Path,
        home: TempDir,
        settings: &[(String, String)],
    ) -> Result<Self, ControlError> {
        let postgres = programs.path("postgres");
        let log = home.path().join("server.log");
        let file = open_log(&log)?;
        let errors = file
            .try_clone()
            .map_err(|source| Error::io("open", &log, source))?;
        let mut command = programs.command("/bin/sh");
        command.args(["-c", SUPERVISOR, "rekindle-scratch"]);
        command
            .arg(home.path())
            .arg(&postgres)
            .arg("-D")
            .arg(pgdata);
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        // A group of its own: Ctrl-C on our terminal is for us to pass on.
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(errors);
        let spawned = owner.spawn(&mut command);
        let mut child = spawned.map_err(|source| ControlError::Start {
            program: postgres,
            source,
        })?;
        let input = child.stdin.take();
        Ok(Self {
            child,
            input,
            status: None,
            home: Some(home),
            log,
        })
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Asks it to stop in good order, and waits for that; false if it has not after `patience`.
    pub(super) fn stop_fast(&mut self, patience: Duration) -> bool {
        let asked = self.input.as_mut().map(|input| input.write_all(b"stop\n"));
        matches!(asked, Some(Ok(()))) && self.wait(patience)
    }

    /// Stops it at once; whatever does not go is killed.
    pub(super) fn stop_now(&mut self) {
        drop(self.input.take());
        if self.wait(STOP_AT_ONCE) {
            return;
        }
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(Err(error)) = group.map(|group| kill_process_group(group, Signal::KILL)) {
            tracing::warn!(%error, "a private server could not be killed");
        }
        self.wait(STOP_AT_ONCE);
    }

    /// Removes socket, configuration and log.
    pub(super) fn remove_home(&mut self) {
        if let Some(Err(error)) = self.home.take().map(TempDir::close)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the directory of a private server's socket was left behind");
        }
    }

    fn wait(&mut self, patience: Duration) -> bool {
        let clock = Instant::now();
        while self.ended().is_none() {
            if clock.elapsed() > patience {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// How many bytes it has logged.
    pub(super) fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |metadata| metadata.len())
    }

    /// The last lines of its log.
    pub(super) fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.stop_now();
        self.remove_home();
    }
}

fn open_log(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    let opened = options.create(true).append(true).mode(0o600).open(path);
    opened.map_err(|source| Error::io("open", path, source))
}

/// The last lines of a log file; empty if it cannot be read.
pub(super) fn log_tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
