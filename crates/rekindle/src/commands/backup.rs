//! `rekindle backup`.

use std::{io::Write, sync::Arc};

use clap::Args;
use rekindle_recovery::{
    BackupOutcome, BackupRequest, PlannedDataset, copies::CopyOutcome, tripwire::Tripped,
};
use rekindle_stack::Stack;
use rekindle_vault::{ParityReport, Progress, Vault};
use serde_json::json;

use crate::{
    app::App,
    commands::{copy, vault::parity},
    errors::{CliError, Exit, chain},
    output::{Table, bytes, duration, throughput, write_json},
    progress::Watcher,
    signals,
};

const EXAMPLES: &str = "\
Examples:
  rekindle backup                        all services into one recovery point
  rekindle backup postgres --tag nightly
  rekindle backup --dry-run              what would be read, without reading it

A recovery point is listed only once all of it is durable. Then the vault's
parity is brought up to date, if there is any, and its copies get what they lack. Exit code 5 if
something was skipped, or parity or a copy could not be.
A backup of data that look encrypted or deleted is told, and nothing of the service is forgotten
until `hold remove tripwire-SERVICE --yes`; its exit code is 0, and that of `status` is 1.";

const INTERRUPTED: &str = "\
interrupted: no recovery point was left unfinished; the next backup uses again what is stored";

/// Arguments of `backup`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BackupArgs {
    /// Services to back up; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// A word to find the recovery point by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Leave the vault's copies for later; `copy run` fills them
    #[arg(long)]
    no_copies: bool,
    /// Show what would be backed up, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Makes a recovery point and sums it up.
///
/// # Errors
/// As the library failed; nothing was committed then.
pub fn run(app: &App, args: &BackupArgs, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let progress = Arc::new(Progress::default());
    let request = BackupRequest {
        stack: &stack,
        services: args.services.clone(),
        tags: args.tags.clone(),
        progress: Arc::clone(&progress),
    };
    if args.dry_run {
        let planned = rekindle_recovery::plan_backup(&request)?;
        return write_plan(app, &planned, out);
    }
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    signals::watch(INTERRUPTED);
    let watcher = Watcher::start("backing up", &progress, app.reporting());
    let outcome = rekindle_recovery::backup(&vault, &request);
    drop(watcher);
    let outcome = outcome?;
    if !app.is_json() {
        write_outcome(app, &outcome, out)?;
    }
    let protected = parity::after_backup(app, &vault, &stack.vault);
    let filled = fill_copies(app, args, &vault, &stack);
    let copies = filled.as_deref().unwrap_or_default();
    if app.is_json() {
        write_outcome_json(&outcome, protected.as_ref().ok(), copies, out)?;
    } else {
        copy::write_outcomes(app, copies, out)?;
    }
    let all_filled = filled.is_some() && copies.iter().all(CopyOutcome::is_complete);
    let is_locked = outcome.unlocked.is_none();
    let is_whole = outcome.skipped.is_empty()
        && outcome.partly.is_empty()
        && is_locked
        && all_filled
        && protected.is_ok();
    Ok(if is_whole { Exit::Done } else { Exit::Partly })
}

/// Whatever goes wrong with them, the recovery point is there. `None` if it went wrong before the
/// first copy.
fn fill_copies(
    app: &App,
    args: &BackupArgs,
    vault: &Vault,
    stack: &Stack,
) -> Option<Vec<CopyOutcome>> {
    if args.no_copies || stack.vault.copies.is_empty() {
        return Some(Vec::new());
    }
    let filled = copy::copy_all(app, vault, stack, &[]);
    filled
        .inspect_err(|error| {
            let text = chain(error).join(": ");
            app.warn(format_args!("the copies were not filled: {text}"));
        })
        .ok()
}

fn write_plan(
    app: &App,
    planned: &[PlannedDataset],
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    if app.is_json() {
        write_json(out, &json!({ "dry_run": true, "datasets": planned }))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["SERVICE", "KIND", "WHAT"]);
    for dataset in planned {
        let PlannedDataset {
            service,
            kind,
            what,
            ..
        } = dataset;
        table.row([service.clone(), kind.clone(), what.clone()]);
    }
    table.write(out)?;
    app.next([app.command("backup")]);
    Ok(Exit::Done)
}

fn write_outcome_json(
    outcome: &BackupOutcome,
    parity: Option<&Option<ParityReport>>,
    copies: &[CopyOutcome],
    out: &mut dyn Write,
) -> Result<(), CliError> {
    write_json(
        out,
        &json!({
            "point": outcome.point,
            "took_seconds": outcome.took.as_secs_f64(),
            "warnings": outcome.warnings,
            "skipped": outcome.skipped,
            "partly": outcome.partly,
            "skew_seconds": outcome.manifest.skew_seconds,
            "parity": parity,
            "unlocked": outcome.unlocked,
            "tripped": outcome.tripped,
            "copies": copy::outcomes_json(copies),
        }),
    )
}

fn write_outcome(app: &App, outcome: &BackupOutcome, out: &mut dyn Write) -> Result<(), CliError> {
    let point = &outcome.point;
    let speed = throughput(point.size_bytes, outcome.took);
    let short = point.id.short();
    writeln!(
        out,
        "recovery point {short} of {}",
        point.datasets.join(", ")
    )?;
    writeln!(out, "  size      {}", bytes(point.size_bytes))?;
    writeln!(out, "  added     {}", bytes(point.added_bytes))?;
    writeln!(out, "  took      {}, {speed}", duration(outcome.took))?;
    if let Some(skew) = outcome.manifest.skew_seconds {
        writeln!(out, "  skew      {skew:.1} s between the datasets")?;
    }
    outcome
        .warnings
        .iter()
        .for_each(|warning| app.warn(warning));
    if let Some(reason) = &outcome.unlocked {
        app.warn(reason);
    }
    for skipped in &outcome.skipped {
        app.warn(format_args!("skipped: {skipped}"));
    }
    for partly in &outcome.partly {
        app.warn(format_args!("only partly: {partly}"));
    }
    let restore = app.command(format_args!("restore {short} --to DIR --dry-run"));
    let ends = outcome.tripped.iter().map(|tripped| {
        warn_of(app, tripped);
        let end = app.command(format_args!("hold remove {} --yes", tripped.hold));
        format!("{end}   once somebody has looked and it is fine")
    });
    let ends: Vec<String> = ends.collect();
    app.next([restore].into_iter().chain(ends));
    Ok(())
}

/// The exit code stays that of a backup that did all that was asked: what is wrong is not the point, and
/// a scheduler that tries again would not mend it. `status` ends with 1 until a person has looked.
fn warn_of(app: &App, tripped: &Tripped) {
    let (service, hold) = (&tripped.service, &tripped.hold);
    for suspicion in &tripped.suspicions {
        app.warn(format_args!("SUSPICIOUS: {service}: {suspicion}"));
    }
    match &tripped.not_held {
        _ if tripped.suspicions.is_empty() => app.warn(format_args!(
            "SUSPICIOUS: {service}: an earlier backup was, and its hold `{hold}` still stands"
        )),
        None => app.warn(format_args!(
            "nothing of {service} is forgotten from now on, by the hold `{hold}`"
        )),
        Some(reason) => {
            let command = app.command(format_args!("hold add {hold} --service {service}"));
            app.warn(format_args!(
                "the hold `{hold}` could not be made, so the retention may forget what was there \
                 before: {reason}; `{command}` tries again"
            ));
        }
    }
}
