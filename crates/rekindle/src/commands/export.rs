//! `rekindle export`.

use std::{
    io::Write,
    path::{PathBuf, absolute},
    sync::Arc,
};

use clap::Args;
use rekindle_recovery::export::{ExportOutcome, ExportPlan, ExportRequest, export, plan_export};
use rekindle_vault::Progress;
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Table, bytes, duration, quoted, throughput, write_json},
    progress::Watcher,
    signals,
};

const EXAMPLES: &str = "\
Examples:
  rekindle export latest --to /srv/handover
  rekindle export pre-ingest --service postgres --to /tmp/dumps --plain-sql
  rekindle export --to /srv/handover --dry-run

Each file has its SHA-256 beside it, and MANIFEST.txt, written last, tells what they are and how they
are used. Nothing is overwritten. The files are not encrypted, and may hold password hashes: only
their owner may read them. Exit code 4 if something could not be read in the vault; the rest is
written.";

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// An id, the beginning of one, a tag, `@` and a time, or `latest`
    #[arg(default_value = "latest")]
    point: String,
    /// The directory to write to; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Export this service only
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Write archives of pg_dump as SQL text, by this machine's pg_restore
    #[arg(long)]
    plain_sql: bool,
    /// Show what would be written, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Writes the files, or shows which.
///
/// # Errors
/// As the library failed.
pub fn run(app: &App, args: &ExportArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let vault = app.vault()?;
    let progress = Arc::new(Progress::default());
    let request = ExportRequest {
        point: args.point.clone(),
        service: args.service.clone(),
        to: absolute(&args.to).map_err(CliError::io("find", args.to.display()))?,
        plain_sql: args.plain_sql,
        progress: Arc::clone(&progress),
    };
    if args.dry_run {
        write_plan(app, &plan_export(&vault, &request)?, out)?;
        return Ok(Exit::Done);
    }
    signals::watch("interrupted: files that have their names are whole; MANIFEST.txt is missing");
    let watcher = Watcher::start("exporting", &progress, app.reporting());
    let outcome = export(&vault, &request);
    drop(watcher);
    let outcome = outcome?;
    write_outcome(app, &outcome, out)?;
    Ok(match outcome.failed.is_empty() {
        true => Exit::Done,
        false => Exit::NotRestorable,
    })
}

fn write_plan(app: &App, plan: &ExportPlan, out: &mut dyn Write) -> Result<(), CliError> {
    if app.is_json() {
        return write_json(out, plan);
    }
    let short = plan.point.id.short();
    writeln!(
        out,
        "would export recovery point {short} to {}",
        plan.to.display()
    )?;
    let mut table = Table::new(["FILE", "FROM", "WHAT"]);
    for file in &plan.files {
        table.row([
            file.name.clone(),
            bytes(file.source_bytes),
            file.what.clone(),
        ]);
    }
    table.write(out)?;
    for left_out in &plan.left_out {
        app.warn(format_args!("not in the point: {left_out}"));
    }
    Ok(())
}

fn write_outcome(app: &App, outcome: &ExportOutcome, out: &mut dyn Write) -> Result<(), CliError> {
    if app.is_json() {
        let value = json!({
            "point": outcome.point,
            "to": outcome.to,
            "files": outcome.files,
            "failed": outcome.failed,
            "left_out": outcome.left_out,
            "manifest": outcome.manifest,
            "took_seconds": outcome.took.as_secs_f64(),
        });
        return write_json(out, &value);
    }
    let total = outcome.files.iter().map(|file| file.bytes).sum();
    let (short, to) = (outcome.point.id.short(), outcome.to.display());
    writeln!(out, "exported recovery point {short} to {to}")?;
    for file in &outcome.files {
        writeln!(out, "  {}  {}", file.name, bytes(file.bytes))?;
    }
    writeln!(out, "  {}", outcome.manifest)?;
    let speed = throughput(total, outcome.took);
    writeln!(out, "  took      {}, {speed}", duration(outcome.took))?;
    for left_out in &outcome.left_out {
        app.warn(format_args!("not in the files: {left_out}"));
    }
    for failed in &outcome.failed {
        app.warn(format_args!(
            "{} could not be written: {}",
            failed.name, failed.reason
        ));
    }
    let to = quoted(&outcome.to);
    app.next([format!("(cd {to} && sha256sum --check --quiet *.sha256)")]);
    Ok(())
}
