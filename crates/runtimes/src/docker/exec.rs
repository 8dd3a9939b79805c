//! Commands inside containers: streams both ways, exit code, limit.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::Stream;
use futures_util::future::{Either, select};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::dialect;
use super::endpoint::Endpoint;
use super::engine::{Doing, Engine};
use super::failure::{self, Failure, is_cut_off};
use super::kill::{Mark, kill};
use crate::net::wait_for;
use crate::{ExecCommand, ExecOutcome, ExecStreams, RuntimeError};

/// What is read from our side at once.
const PIECE_BYTES: usize = 64 << 10;

/// How the engine begins to say that a command could not be run; it says it where the command's output would be, in
/// a line that ends as on a terminal.
const NOT_RUN: [&str; 3] = [
    "OCI runtime exec failed",
    "unable to find user ",
    "unable to find group ",
];

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Failure>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// Where a command runs.
#[derive(Clone, Copy)]
pub(super) struct Inside<'a> {
    pub(super) engine: &'a Engine,
    /// The container's id.
    pub(super) container: &'a str,
    pub(super) service: &'a str,
}

/// Runs a command and returns when it has ended.
///
/// What it shall read is read to its end, or until the command takes no more; a reader that blocks holds this.
pub(super) fn exec(
    inside: Inside<'_>,
    command: &ExecCommand,
    streams: ExecStreams<'_>,
) -> Result<ExecOutcome, RuntimeError> {
    let what = format!(
        "run {} in",
        command.argv.first().map_or("nothing", String::as_str)
    );
    let doing = Doing {
        what: &what,
        service: inside.service,
    };
    let started = Instant::now();
    let mark = Mark::new().map_err(|source| io_error(doing, source))?;
    let config = config_of(command, &mark, streams.stdin.is_some());
    let created = inside.engine.ask(doing, async |client| {
        client.create_exec(inside.container, config).await
    })?;
    let (output, input) = begin(inside.engine, doing, &created.id)?;
    let run = Run {
        inside,
        doing,
        id: &created.id,
        user: command.user.as_deref(),
        mark: &mark,
        ends: command.limit.map(|limit| (started + limit, limit)),
    };
    let refusal = run.carry(output, input, streams)?;
    let exit_code = run.exit_code()?;
    match refusal {
        Some(words) if matches!(exit_code, 126 | 127) => Err(run.not_run(&words)),
        _ => Ok(ExecOutcome { exit_code }),
    }
}

fn config_of(command: &ExecCommand, mark: &Mark, has_input: bool) -> ExecConfig {
    let mut env: Vec<String> = command
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    env.push(mark.variable());
    ExecConfig {
        attach_stdin: Some(has_input),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(false),
        env: Some(env),
        cmd: Some(command.argv.clone()),
        user: command.user.clone(),
        working_dir: command
            .directory
            .as_ref()
            .map(|dir| dir.to_string_lossy().into_owned()),
        ..ExecConfig::default()
    }
}

fn begin(engine: &Engine, doing: Doing<'_>, id: &str) -> Result<(Output, Input), RuntimeError> {
    let options = StartExecOptions {
        output_capacity: Some(PIECE_BYTES),
        ..StartExecOptions::default()
    };
    match engine.ask(doing, async |client| {
        client.start_exec(id, Some(options)).await
    })? {
        StartExecResults::Attached { output, input } => Ok((output, input)),
        StartExecResults::Detached => Err(broken_off(doing)),
    }
}

/// One command that runs.
struct Run<'a> {
    inside: Inside<'a>,
    doing: Doing<'a>,
    id: &'a str,
    user: Option<&'a str>,
    mark: &'a Mark,
    /// When it is killed, and how long that was from the beginning.
    ends: Option<(Instant, Duration)>,
}

impl Run<'_> {
    /// Feeds the command by a thread, and passes on what it prints, until it prints no more. Returns words that are
    /// Podman's and none of the command's, if its exit code says so, too.
    fn carry(
        &self,
        output: Output,
        input: Input,
        streams: ExecStreams<'_>,
    ) -> Result<Option<String>, RuntimeError> {
        let (given_up, stop) = watch::channel(false);
        let ExecStreams {
            stdin,
            stdout,
            stderr,
        } = streams;
        thread::scope(|scope| {
            let feeder = stdin.map(|source| scope.spawn(move || self.feed(source, input, stop)));
            let has_input = feeder.is_some();
            let delivered = self.deliver(output, has_input, stdout, stderr);
            // Whoever feeds a command that has ended, or was given up, need not wait for it any longer.
            let _ = given_up.send(true);
            let fed = feeder.map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            match (fed, delivered) {
                (Some(Err(source)), _) => Err(RuntimeError::Io {
                    doing: format!("read what is to be given to `{}`", self.doing.service),
                    source,
                }),
                (_, delivered) => delivered,
            }
        })
    }

    /// An end of the source is told to the command; an error of it must not look like one, so the command is
    /// killed before its input is closed.
    fn feed(
        &self,
        source: &mut (dyn Read + Send),
        mut input: Input,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let length = match source.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let _ = self.kill();
                    return Err(error);
                }
                Ok(length) => length,
            };
            let bytes = &piece[..length];
            let sent = wait_for(until_stopped(stop.clone(), async {
                if bytes.is_empty() {
                    return input.shutdown().await;
                }
                input.write_all(bytes).await?;
                input.flush().await
            }))?;
            // That the command takes no more is its own affair; its exit code tells what it thinks of it.
            if length == 0 || !matches!(sent, Some(Ok(()))) {
                return Ok(());
            }
        }
    }

    fn deliver(
        &self,
        mut output: Output,
        has_input: bool,
        stdout: &mut (dyn Write + Send),
        stderr: &mut (dyn Write + Send),
    ) -> Result<Option<String>, RuntimeError> {
        let engine = self.inside.engine;
        let is_podman = engine.is_podman(self.doing)?;
        let mut refusal = None;
        let mut is_first = true;
        while let Some(item) = self.next(&mut output)? {
            if let Err(failure) = &item
                && is_podman
                && has_input
                && matches!(engine.endpoint(), Endpoint::Socket(_))
                && is_cut_off(failure)
            {
                // Podman closes the connection when the command has ended, whatever of its input lies there unread; a
                // socket of this machine gives all that was written to it first.
                break;
            }
            let item = item.map_err(|failure| engine.explain(self.doing, failure))?;
            let written = match &item {
                LogOutput::StdOut { message } if is_first && is_refusal(message) => {
                    return Err(self.not_run(&String::from_utf8_lossy(message)));
                }
                LogOutput::StdOut { message } => stdout.write_all(message),
                LogOutput::StdErr { message } => {
                    if is_podman && is_first && dialect::is_refusal(message) {
                        refusal = Some(String::from_utf8_lossy(message).into_owned());
                    }
                    stderr.write_all(message)
                }
                LogOutput::StdIn { .. } => Ok(()),
                // The rest of a message whose end never came.
                LogOutput::Console { .. } => return Err(broken_off(self.doing)),
            };
            is_first = false;
            if let Err(source) = written {
                self.kill()?;
                return Err(io_error(self.doing, source));
            }
        }
        stdout
            .flush()
            .and_then(|()| stderr.flush())
            .map_err(|source| io_error(self.doing, source))?;
        Ok(refusal)
    }

    fn next(
        &self,
        output: &mut Output,
    ) -> Result<Option<Result<LogOutput, Failure>>, RuntimeError> {
        let engine = self.inside.engine;
        let waited = match self.ends {
            None => wait_for(async { Ok(engine.next(output).await) }),
            Some((end, _)) => {
                let left = end.saturating_duration_since(Instant::now());
                wait_for(async { timeout(left, engine.next(output)).await })
            }
        };
        match waited.map_err(|source| failure::threads(&engine.name(), source))? {
            Ok(item) => Ok(item),
            Err(_) => Err(self.too_long()),
        }
    }

    fn too_long(&self) -> RuntimeError {
        let limit = self.ends.map_or(Duration::ZERO, |(_, limit)| limit);
        match self.kill() {
            Ok(()) => RuntimeError::TookTooLong {
                doing: self.doing.what.into(),
                service: self.doing.service.into(),
                limit,
            },
            Err(error) => error,
        }
    }

    fn kill(&self) -> Result<(), RuntimeError> {
        kill(self.inside, self.doing, self.id, self.user, self.mark)
    }

    /// A command may close its output and go on.
    fn exit_code(&self) -> Result<i64, RuntimeError> {
        let mut pause = Duration::from_millis(2);
        loop {
            let state = self.inside.engine.ask(self.doing, async |client| {
                client.inspect_exec(self.id).await
            })?;
            if state.running != Some(true) {
                return state.exit_code.ok_or_else(|| broken_off(self.doing));
            }
            if self.ends.is_some_and(|(end, _)| Instant::now() >= end) {
                return Err(self.too_long());
            }
            wait_for(async { sleep(pause).await })
                .map_err(|source| io_error(self.doing, source))?;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    fn not_run(&self, words: &str) -> RuntimeError {
        RuntimeError::Failed {
            doing: self.doing.what.into(),
            service: self.doing.service.into(),
            reason: failure::cut(words, 500),
            hint: Some("the image must have that program, and that user and directory".into()),
        }
    }
}

/// `None` if it was told to stop before the work was done.
async fn until_stopped<T>(
    mut stop: watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let stopped = std::pin::pin!(async move { stop.wait_for(|stop| *stop).await.is_ok() });
    match select(std::pin::pin!(work), stopped).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

fn is_refusal(message: &[u8]) -> bool {
    message.ends_with(b"\r\n")
        && NOT_RUN
            .iter()
            .any(|words| message.starts_with(words.as_bytes()))
}

fn broken_off(doing: Doing<'_>) -> RuntimeError {
    RuntimeError::Failed {
        doing: doing.what.into(),
        service: doing.service.into(),
        reason: "its output broke off in the middle".into(),
        hint: Some("did the container or the engine stop meanwhile?".into()),
    }
}

fn io_error(doing: Doing<'_>, source: io::Error) -> RuntimeError {
    RuntimeError::Io {
        doing: format!(
            "pass on what was printed: {} `{}`",
            doing.what, doing.service
        ),
        source,
    }
}
