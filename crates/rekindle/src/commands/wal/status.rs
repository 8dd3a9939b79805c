//! `rekindle wal status`.

use std::{io::Write, time::Duration};

use clap::Args;
use rekindle_recovery::wal::stream::{ServerView, StreamRecord, WalHealth, wal_status};
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Paint, bytes, duration, paint_stdout, write_json},
};

pub const EXAMPLES: &str = "\
Examples:
  rekindle wal status
  rekindle wal status --service postgres --json

Answers also when the server, the receiver or the vault is down. Exit code 0 if all is well, else 1.";

/// Arguments of `wal status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// This service only
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
}

/// Prints how archiving is doing.
///
/// # Errors
/// As the configuration cannot be used.
pub fn run(app: &App, args: &StatusArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let vault = rekindle_recovery::open_vault(&stack.vault);
    let found = wal_status(&stack, args.service.as_deref(), vault.as_ref())?;
    let ok = found.iter().all(|health| health.ok);
    if app.is_json() {
        write_json(out, &json!({ "ok": ok, "services": found }))?;
    } else {
        for health in &found {
            write_health(app, out, health)?;
        }
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

fn write_health(app: &App, out: &mut dyn Write, health: &WalHealth) -> Result<(), CliError> {
    let (paint, verdict) = match health.ok {
        true => (Paint::Green, "WAL is archived"),
        false => (Paint::Red, "WAL is not archived as it should be"),
    };
    let verdict = paint_stdout(&app.global, paint, verdict);
    writeln!(out, "{} ({}): {verdict}", health.service, health.mode)?;
    for problem in &health.problems {
        writeln!(out, "  problem: {problem}")?;
    }
    if let Some(receiver) = &health.receiver {
        let running = if receiver.is_running {
            "runs"
        } else {
            "does not run"
        };
        writeln!(out, "  receiver {running}")?;
        if let Some(last) = &receiver.last {
            write_record(out, last)?;
        }
    }
    if let Some(server) = &health.server {
        write_server(out, server)?;
    }
    Ok(())
}

fn write_record(out: &mut dyn Write, record: &StreamRecord) -> Result<(), CliError> {
    if let (Some(received), Some(timeline)) = (record.received, record.timeline) {
        writeln!(out, "  received up to {received} on timeline {timeline}")?;
    }
    for vault in &record.vaults {
        let stored = vault
            .stored
            .map_or_else(|| "nothing yet".to_owned(), |place| place.lsn.to_string());
        let age = duration(Duration::from_secs_f64(vault.lag_seconds.max(0.0)));
        let behind = match vault.lag_bytes {
            0 => "nothing waits".to_owned(),
            waiting => format!("{} behind, {age}", bytes(waiting)),
        };
        writeln!(
            out,
            "  {} at {}: {stored}, {behind}",
            vault.name, vault.location
        )?;
        if let Some(lacks) = &vault.lacks {
            writeln!(out, "    still lacks {lacks}")?;
        }
    }
    let (used, limit) = (bytes(record.spool_bytes), bytes(record.spool_limit));
    writeln!(out, "  spool: {used} of {limit}")?;
    Ok(())
}

fn write_server(out: &mut dyn Write, server: &ServerView) -> Result<(), CliError> {
    writeln!(
        out,
        "  server: PostgreSQL {}, WAL up to {}",
        server.version, server.wal_end
    )?;
    if let Some(slot) = &server.slot {
        let retained = slot
            .retained_bytes
            .map_or_else(|| "unknown".to_owned(), bytes);
        let state = slot.wal_status.unwrap_or("unknown");
        let safe = match slot.safe_wal_size {
            None => "without limit".to_owned(),
            Some(safe) => format!(
                "{} until it may be lost",
                bytes(u64::try_from(safe).unwrap_or(0))
            ),
        };
        writeln!(
            out,
            "  slot {}: {state}, {retained} kept, {safe}",
            slot.name
        )?;
    }
    if let Some(push) = &server.push {
        let last = push.last_archived.as_deref().unwrap_or("nothing yet");
        let ago = push
            .last_archived_seconds
            .and_then(|ago| u64::try_from(ago).ok());
        let ago = ago.map_or_else(String::new, |ago| {
            format!(", {} ago", duration(Duration::from_secs(ago)))
        });
        writeln!(
            out,
            "  archive_command: {last}{ago}; {} failures",
            push.failed_count
        )?;
    }
    Ok(())
}
