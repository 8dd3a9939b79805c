//! `rekindle copy`: the vault's copies in other places.

use std::{io::Write, sync::Arc};

use clap::{Args, Subcommand};
use rekindle_recovery::copies::{
    CopyOutcome, CopyPlan, CopyStatus, copies_status, create_copy, plan_copies, run_copies,
};
use rekindle_stack::Stack;
use rekindle_vault::{Progress, Vault};
use serde_json::{Value, json};

use crate::{
    app::App,
    errors::{CliError, Exit, chain},
    output::{Table, bytes, count, duration, time, write_json},
    progress::Watcher,
    signals,
};

const RUN_EXAMPLES: &str = "\
Examples:
  rekindle copy run                      brings every copy what it lacks
  rekindle copy run offsite
  rekindle copy run --dry-run            what would be copied, without copying it

`rekindle backup` does the same after each recovery point. Every piece is verified on the way, so
damage is never copied. A copy that is not there yet is made; one that was there and is gone is an
error. May be interrupted at any time: the next run goes on from there.

Exit code 5 if a copy lacks something, 4 if that is because the vault is damaged.";

const STATUS_EXAMPLES: &str = "\
Examples:
  rekindle copy status
  rekindle copy status --json | jq '.copies[] | select(.ok | not)'

LAG is how much more would be lost, were the copy all that is left: from its newest recovery point
to the vault's newest. Exit code 1 if a copy is not there, its last run failed, or it lacks a
recovery point for more than a day.";

const CREATE_EXAMPLES: &str = "\
Examples:
  rekindle copy create offsite
  rekindle copy create offsite --anew    gives up the copy that was there before";

/// Commands of `copy`.
#[derive(Debug, Subcommand)]
pub enum CopyCommand {
    /// Bring the copies what they lack
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Say how far each copy is
    #[command(after_help = STATUS_EXAMPLES)]
    Status,
    /// Make the vault of a copy, without filling it
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
}

/// Arguments of `copy run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Copies to fill; all if none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Show what would be copied, and copy nothing
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `copy create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The copy's name in rekindle.yaml
    #[arg(value_name = "NAME")]
    name: String,
    /// Also if a copy that was there is gone, or another vault is in its place
    #[arg(long)]
    anew: bool,
}

/// Runs the command.
///
/// # Errors
/// As the vault cannot be read; what goes wrong with a single copy is in the answer.
pub fn run(app: &App, command: &CopyCommand, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    if stack.vault.copies.is_empty() {
        return Err(no_copies(app));
    }
    match command {
        CopyCommand::Run(args) if args.dry_run => plan(app, &stack, &args.names, out),
        CopyCommand::Run(args) => fill(app, &stack, &args.names, out),
        CopyCommand::Status => status(app, &stack, out),
        CopyCommand::Create(args) => create(app, &stack, args, out),
    }
}

fn no_copies(app: &App) -> CliError {
    match &app.global.vault {
        Some(name) => CliError::wrong_use(
            format!("the copy `{name}` has no copies of its own"),
            "without `--vault` it is the vault whose copies are meant",
        ),
        None => CliError::wrong_use(
            "the configuration names no copies",
            "`vault.copies` names them: docs/guides/copies.md shows how",
        ),
    }
}

fn fill(app: &App, stack: &Stack, names: &[String], out: &mut dyn Write) -> Result<Exit, CliError> {
    let main = rekindle_recovery::open_vault(&stack.vault)?;
    signals::watch("interrupted: what was copied stays; the next run goes on from there");
    let outcomes = copy_all(app, &main, stack, names)?;
    if app.is_json() {
        write_json(out, &json!({ "copies": outcomes_json(&outcomes) }))?;
    } else {
        write_outcomes(app, &outcomes, out)?;
    }
    Ok(exit(&outcomes))
}

/// Fills the copies, with progress shown.
///
/// # Errors
/// As the vault cannot list its points, or a name is of no copy.
pub fn copy_all(
    app: &App,
    main: &Vault,
    stack: &Stack,
    names: &[String],
) -> Result<Vec<CopyOutcome>, CliError> {
    let progress = Arc::new(Progress::default());
    let watcher = Watcher::start("copying", &progress, app.reporting());
    let outcomes = run_copies(main, stack, names, &progress);
    drop(watcher);
    Ok(outcomes?)
}

/// How a program ends that filled these copies.
pub fn exit(outcomes: &[CopyOutcome]) -> Exit {
    let is_damaged = |outcome: &CopyOutcome| {
        let work = &outcome.work;
        !work.points.damages.is_empty() || !work.wal.damaged.is_empty()
    };
    if outcomes.iter().all(CopyOutcome::is_complete) {
        Exit::Done
    } else if outcomes.iter().any(is_damaged) {
        Exit::NotRestorable
    } else if outcomes.iter().all(|outcome| outcome.error.is_some()) {
        Exit::Failed
    } else {
        Exit::Partly
    }
}

/// Tells what became of each copy; what went wrong goes to stderr.
///
/// # Errors
/// As `out` failed.
pub fn write_outcomes(
    app: &App,
    outcomes: &[CopyOutcome],
    out: &mut dyn Write,
) -> Result<(), CliError> {
    for outcome in outcomes {
        let (name, location) = (&outcome.name, &outcome.location);
        if outcome.is_new {
            app.note(format_args!(
                "made the vault of the copy {name} at {location}"
            ));
        }
        if let Some(error) = &outcome.error {
            app.warn(format_args!("copy {name}: {}", chain(error).join(": ")));
            if let Some(hint) = error.hint() {
                app.note(format_args!("hint: {hint}"));
            }
        } else {
            writeln!(out, "copy {name}: {}", summary(outcome))?;
        }
        troubles(outcome)
            .iter()
            .for_each(|text| app.warn(format_args!("copy {name}: {text}")));
        if let Some(left) = &outcome.work.points.lock_left {
            app.note(format_args!(
                "copy {name}: our lock stays there, as its credentials may not delete: {left}"
            ));
        }
    }
    Ok(())
}

fn summary(outcome: &CopyOutcome) -> String {
    let (points, wal) = (&outcome.work.points, &outcome.work.wal);
    let holds = &outcome.work.holds;
    let is_idle = points.copied.is_empty() && wal.copied == 0 && holds.is_empty();
    if is_idle && outcome.is_complete() {
        return format!(
            "has everything ({})",
            count(points.present.len() as u64, "recovery point")
        );
    }
    let mut parts = vec![format!(
        "{} copied, {} stored",
        count(points.copied.len() as u64, "recovery point"),
        bytes(points.stored_bytes)
    )];
    if wal.copied > 0 {
        let files = count(wal.copied, "WAL file");
        parts.push(format!("{files}, {}", bytes(wal.copied_bytes)));
    }
    if !holds.is_empty() {
        let what = if holds.len() == 1 { "hold" } else { "holds" };
        parts.push(format!("{what} {}", holds.join(", ")));
    }
    parts.join("; ")
}

/// What is not in the copy, and why.
fn troubles(outcome: &CopyOutcome) -> Vec<String> {
    let work = &outcome.work;
    let damages = work.points.damages.iter().map(|damage| {
        let (point, path) = (damage.snapshot.short(), &damage.path);
        format!(
            "recovery point {point} was not copied: {path}: {}",
            damage.reason
        )
    });
    let wal = work.wal.damaged.iter().chain(&work.wal.refused);
    let wal = wal.map(|(file, reason)| format!("{file} was not copied: {reason}"));
    damages
        .chain(wal)
        .chain(outcome.warnings.iter().cloned())
        .collect()
}

/// As JSON.
pub fn outcomes_json(outcomes: &[CopyOutcome]) -> Value {
    let one = |outcome: &CopyOutcome| {
        let CopyOutcome { work, error, .. } = outcome;
        let ids = work.points.copied.iter();
        let ids = ids.map(|copied| json!({ "source": copied.source, "copy": copied.copy.id }));
        json!({
            "name": outcome.name,
            "location": outcome.location,
            "new": outcome.is_new,
            "ok": outcome.is_complete(),
            "points_copied": ids.collect::<Vec<_>>(),
            "points_present": work.points.present.len(),
            "stored_bytes": work.points.stored_bytes,
            "wal_files": work.wal.copied,
            "wal_bytes": work.wal.copied_bytes,
            "holds": work.holds,
            "not_copied": troubles(outcome),
            "lock_left": work.points.lock_left,
            "error": error.as_ref().map(|error| chain(error).join(": ")),
            "hint": error.as_ref().and_then(rekindle_recovery::RecoveryError::hint),
        })
    };
    outcomes.iter().map(one).collect()
}

fn plan(app: &App, stack: &Stack, names: &[String], out: &mut dyn Write) -> Result<Exit, CliError> {
    let main = rekindle_recovery::open_vault(&stack.vault)?;
    let plans = plan_copies(&main, stack, names)?;
    let has_problem = plans.iter().any(|plan| plan.problem.is_some());
    if app.is_json() {
        write_json(out, &json!({ "dry_run": true, "copies": plans }))?;
    } else {
        plans
            .iter()
            .try_for_each(|plan| write_plan(app, plan, out))?;
        app.next([app.command("copy run")]);
    }
    Ok(if has_problem {
        Exit::Failed
    } else {
        Exit::Done
    })
}

fn write_plan(app: &App, plan: &CopyPlan, out: &mut dyn Write) -> Result<(), CliError> {
    let CopyPlan { name, location, .. } = plan;
    if let Some(problem) = &plan.problem {
        app.warn(format_args!("copy {name}: {problem}"));
        return Ok(());
    }
    if plan.is_new {
        writeln!(out, "copy {name}: its vault at {location} would be made")?;
    }
    let points = count(plan.missing.len() as u64, "recovery point");
    let at_most = if plan.is_new { "at most " } else { "" };
    writeln!(
        out,
        "copy {name}: {points} to copy, {at_most}{}",
        bytes(plan.bytes)
    )?;
    if plan.wal_files > 0 {
        let files = count(plan.wal_files, "WAL file");
        writeln!(
            out,
            "copy {name}: {files} to copy, {}",
            bytes(plan.wal_bytes)
        )?;
    }
    for point in &plan.missing {
        writeln!(out, "  {}  {}", point.id.short(), time(point.time))?;
    }
    Ok(())
}

fn status(app: &App, stack: &Stack, out: &mut dyn Write) -> Result<Exit, CliError> {
    let main = rekindle_recovery::open_vault(&stack.vault);
    let copies = copies_status(main.as_ref().ok(), stack);
    let problem = main.err().map(|error| chain(&error).join(": "));
    if app.is_json() {
        write_json(out, &json!({ "copies": copies, "vault_problem": problem }))?;
    } else {
        if let Some(problem) = &problem {
            app.warn(format_args!("only the copies were looked at: {problem}"));
        }
        write_status(&copies, out)?;
        if copies.iter().any(|copy| !copy.ok) {
            app.next([app.command("copy run")]);
        }
    }
    let is_well = problem.is_none() && copies.iter().all(|copy| copy.ok);
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}

/// A line for each copy, and what is wrong with it.
///
/// # Errors
/// As `out` failed.
pub fn write_status(copies: &[CopyStatus], out: &mut dyn Write) -> Result<(), CliError> {
    let mut table = Table::new(["COPY", "POINTS", "LAG", "WAL", "LAST COMPLETE"]);
    for copy in copies {
        let all = copy.points + copy.missing_points;
        let lag = copy.lag_seconds.map(std::time::Duration::from_secs);
        let wal = match copy.missing_wal_files {
            Some(0) => "all".to_owned(),
            Some(files) => format!("{files} missing"),
            None => "-".to_owned(),
        };
        table.row([
            copy.name.clone(),
            format!("{} of {all}", copy.points),
            match lag {
                Some(lag) if lag.is_zero() => "none".to_owned(),
                Some(lag) => duration(lag),
                None => "-".to_owned(),
            },
            wal,
            copy.last_success.map_or_else(|| "never".to_owned(), time),
        ]);
    }
    table.write(out)?;
    for copy in copies {
        let name = &copy.name;
        if let Some(problem) = &copy.problem {
            writeln!(out, "\ncopy {name}: {problem}")?;
            copy.hint
                .iter()
                .try_for_each(|hint| writeln!(out, "  {hint}"))?;
        } else if let Some(error) = copy
            .last_error
            .as_ref()
            .filter(|_| copy.last_failure > copy.last_success)
        {
            writeln!(out, "\ncopy {name}: its last run failed: {error}")?;
        }
    }
    Ok(())
}

fn create(
    app: &App,
    stack: &Stack,
    args: &CreateArgs,
    out: &mut dyn Write,
) -> Result<Exit, CliError> {
    let main = rekindle_recovery::open_vault(&stack.vault)?;
    let opened = create_copy(&main, &stack.vault, &args.name, args.anew)?;
    let (name, location) = (&args.name, opened.vault.location());
    if app.is_json() {
        let id = &opened.record.id;
        write_json(
            out,
            &json!({ "name": name, "location": location, "id": id, "new": opened.is_new }),
        )?;
        return Ok(Exit::Done);
    }
    if opened.is_new {
        writeln!(out, "made the vault of the copy {name} at {location}")?;
    } else {
        writeln!(out, "the copy {name} is at {location} already, and opens")?;
    }
    app.next([app.command(format_args!("copy run {name}"))]);
    Ok(Exit::Done)
}
