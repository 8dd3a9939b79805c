//! `rekindle service`: how the services are, and starting and stopping them in order.

mod follow;
mod list;
mod order;
mod supervise;

use std::{io::Write, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rekindle_stack::Period;

use crate::{
    app::App,
    errors::{CliError, Exit},
};

const EXAMPLES: &str = "\
Examples:
  rekindle service list
  rekindle service up                    the whole stack, in order
  rekindle service up --dry-run          the order, and nothing else
  rekindle service restart api --limit 2m
  rekindle service logs api --tail 50 --follow

Without names, all services of the stack are meant. Each is started once those it needs are well,
and is well itself once its health check says so; independent ones are started side by side.";

const LIST_EXAMPLES: &str = "\
Examples:
  rekindle service list
  rekindle service list --json | jq '.services[] | select(.health.health == \"unhealthy\")'";

const UP_EXAMPLES: &str = "\
Examples:
  rekindle service up                    after a restart of the machine, say
  rekindle service up api                api, and all that it needs
  rekindle service up --watch            goes on, and starts again what failed

What is up already stays. A service that fails keeps only those from starting that need it, and
if it is optional, nobody. First of all, what an interrupted run had stopped is started again.
Exit code 0 if all is well, 5 if a part of it is, 1 if nothing is.";

/// Commands of `service`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum ServiceCommand {
    /// Say of each service whether it runs, whether it is well, and why not
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Start services in order
    Start(StartArgs),
    /// Stop services, those that need others first
    Stop(StopArgs),
    /// Stop services and start them again
    Restart(RestartArgs),
    /// Show what a service has logged
    Logs(LogsArgs),
    /// Bring the stack up: services with all that they need, in order
    #[command(after_help = UP_EXAMPLES)]
    Up(UpArgs),
    /// Take the stack down: services after all that need them
    Down(StopArgs),
    /// Watch one process (started by `start` and `up`)
    #[command(hide = true)]
    Supervise(SuperviseArgs),
}

/// Arguments of `service start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Which; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// How long each may take until it is well, as in `90s`, instead of its `start_limit`
    #[arg(long, value_name = "TIME")]
    limit: Option<Period>,
    /// Show the order, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `service stop` and `service down`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Which; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// How long each may take to end before it is killed
    #[arg(long, value_name = "TIME", default_value = "10s")]
    limit: Period,
    /// Show the order, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `service restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// Which; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// How long each may take until it is well, as in `90s`, instead of its `start_limit`
    #[arg(long, value_name = "TIME")]
    limit: Option<Period>,
    /// How long each may take to end before it is killed
    #[arg(long, value_name = "TIME", default_value = "10s")]
    stop_limit: Period,
    /// Show the order, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `service up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    start: StartArgs,
    /// Go on until stopped by a signal, and start again what failed; what somebody stopped stays so
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
}

/// Arguments of `service logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Whose
    service: String,
    /// The last so many lines
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// What was logged since: a time (RFC 3339), or a length of time until now, as in `1h`
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Go on with what is logged from now on
    #[arg(short, long)]
    follow: bool,
}

/// Arguments of `service supervise`.
#[derive(Debug, Args)]
pub struct SuperviseArgs {
    /// Where the service's state lies
    folder: PathBuf,
    /// This is the second of two processes, which stays
    #[arg(long)]
    detached: bool,
}

fn since(text: &str) -> Result<Timestamp, String> {
    let wrong = || "a time as in 2026-12-31T18:00:00Z, or a length of time as in 1h".to_owned();
    if let Ok(period) = text.parse::<Period>() {
        return Timestamp::now()
            .checked_sub(period.as_duration())
            .map_err(|_| wrong());
    }
    text.parse().map_err(|_| wrong())
}

/// Runs the command.
///
/// # Errors
/// As the configuration cannot be read or the runtime not be asked. What goes wrong with single
/// services is in the answer.
pub fn run(app: &App, command: &ServiceCommand, out: &mut dyn Write) -> Result<Exit, CliError> {
    match command {
        ServiceCommand::List => list::run(app, out),
        ServiceCommand::Start(args) => order::start(app, args, false, out),
        ServiceCommand::Up(args) if args.watch => follow::run(app, &args.start, out),
        ServiceCommand::Up(args) => order::start(app, &args.start, true, out),
        ServiceCommand::Stop(args) | ServiceCommand::Down(args) => order::stop(app, args, out),
        ServiceCommand::Restart(args) => order::restart(app, args, out),
        ServiceCommand::Logs(args) => list::logs(app, args, out),
        ServiceCommand::Supervise(args) => supervise::run(args),
    }
}

fn as_duration(period: Option<Period>) -> Option<Duration> {
    period.map(Period::as_duration)
}
