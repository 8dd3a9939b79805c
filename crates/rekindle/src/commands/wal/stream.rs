//! `rekindle wal stream`.

use std::{io::Write, sync::Arc};

use clap::Args;
use rekindle_recovery::wal::stream::{Notice, NoticeLevel, StopHandle, StreamRequest, stream};

use crate::{
    app::App,
    errors::{CliError, Exit},
    output, signals,
};

pub const EXAMPLES: &str = "\
Examples:
  rekindle wal stream                    until Ctrl-C or SIGTERM; run it as a service
  rekindle wal stream --once             what the server has now, then end; for cron

Ends by SIGINT and SIGTERM with exit code 0, once everything received is in the vault. Exit code 1 if
the WAL of this server must not follow what is archived, or the vault could not take it.";

/// Arguments of `wal stream`.
#[derive(Debug, Args)]
pub struct StreamArgs {
    /// Whose WAL, if several services have `wal: stream`
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// End when everything that the server has now is in the vault
    #[arg(long)]
    once: bool,
    /// Go on although the server was created anew, or follow one that lacks the archive's newest timeline
    #[arg(long)]
    accept_new_server: bool,
}

/// Streams until it is asked to stop.
///
/// # Errors
/// As the configuration, the server or the vault cannot be used.
pub fn run(app: &App, args: &StreamArgs, _out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let stop = StopHandle::new();
    signals::stop_gently(stop.clone());
    let request = StreamRequest {
        service: args.service.clone(),
        once: args.once,
        accept_new_server: args.accept_new_server,
        stop,
        monitor: monitor(app),
    };
    stream(&stack, &request)?;
    Ok(Exit::Done)
}

/// State changes are told as they come; progress only when asked for.
fn monitor(app: &App) -> Arc<dyn Fn(&Notice) + Send + Sync> {
    let (quiet, verbose) = (app.global.quiet, app.global.verbose > 0);
    Arc::new(move |notice| {
        let is_wanted = match notice.level {
            NoticeLevel::Progress => verbose,
            NoticeLevel::Info => !quiet,
            NoticeLevel::Warning | NoticeLevel::Error => true,
        };
        if is_wanted {
            let label = match notice.level {
                NoticeLevel::Progress | NoticeLevel::Info => "",
                NoticeLevel::Warning => "warning: ",
                NoticeLevel::Error => "error: ",
            };
            output::to_stderr(format_args!("{label}{}", notice.text));
        }
    })
}
