//! Logs: to stderr, never to stdout, and never through a progress bar.

use std::io;

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{
    cli::{GlobalArgs, LogFormat},
    output, progress,
};

/// Starts logging. A second call, as tests of the library might make, changes nothing.
pub fn start(global: &GlobalArgs) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(global))
        .with_writer(Stderr)
        .with_ansi(output::has_color(global))
        // Telling that stderr is closed would need stderr.
        .log_internal_errors(false);
    let started = match global.log_format {
        LogFormat::Human => builder.compact().with_target(global.verbose > 0).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
}

/// `$REKINDLE_LOG` wins over `-v` and `-q`.
fn filter(global: &GlobalArgs) -> EnvFilter {
    let chosen = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "warn,rekindle=info",
        (_, 2) => "warn,rekindle=debug",
        _ => "warn,rekindle=trace",
    };
    match std::env::var("REKINDLE_LOG") {
        Ok(asked) if !asked.is_empty() => EnvFilter::new(asked),
        _ => EnvFilter::new(chosen),
    }
}

/// Makes writers that clear the progress bar away while they write.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = StderrWriter;

    fn make_writer(&'a self) -> StderrWriter {
        StderrWriter
    }
}

struct StderrWriter;

impl io::Write for StderrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::around_bar(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
