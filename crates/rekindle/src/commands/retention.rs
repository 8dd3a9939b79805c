//! `rekindle retention`: what may go, shown before it goes.

use std::io::Write;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rekindle_recovery::{
    retention::{PlannedPoint, RetentionPlan, RetentionPolicy, apply_retention, plan_retention},
    wal::WalRetentionPlan,
};
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Table, count, time, write_json},
    signals,
};

const EXAMPLES: &str = "\
Examples:
  rekindle retention show                every point and why it stays, then the WAL
  rekindle retention apply --yes
  rekindle retention show --json | jq '.points[] | select(.reasons == [])'

Forgets recovery points that no rule of `retention` keeps, then removes WAL that no moment within
`retention.wal` needs. The newest and the last proven point of a service, base backups that kept
moments begin from, and everything under a hold or during an open recovery stay. A prune
frees the space.";

/// Commands of `retention`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum RetentionCommand {
    /// Show what would be removed, and why the rest stays
    Show,
    /// Remove it
    Apply(ApplyArgs),
}

/// Arguments of `retention apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Remove; without it, only show
    #[arg(long)]
    yes: bool,
}

/// Shows or applies the retention.
///
/// # Errors
/// As the vault cannot be read or written.
pub fn run(app: &App, command: &RetentionCommand, out: &mut dyn Write) -> Result<Exit, CliError> {
    let stack = app.stack()?;
    let vault = rekindle_recovery::open_vault(&stack.vault)?;
    let policy = RetentionPolicy::of(&stack);
    let now = Timestamp::now();
    let done = if matches!(command, RetentionCommand::Apply(ApplyArgs { yes: true })) {
        signals::watch("interrupted: what was not removed yet stays");
        Some(apply_retention(&vault, &stack, &policy, now)?)
    } else {
        None
    };
    let (plan, gone) = match done {
        Some(outcome) => (
            outcome.plan,
            Some((outcome.forgotten, outcome.removed_files)),
        ),
        None => (plan_retention(&vault, &stack, &policy, now)?, None),
    };
    if app.is_json() {
        let mut value = serde_json::to_value(&plan)?;
        value["forgotten"] = json!(gone.map(|(forgotten, _)| forgotten));
        value["removed_files"] = json!(gone.map(|(_, files)| files));
        write_json(out, &value)?;
    } else {
        write_plan(app, &plan, gone, out)?;
    }
    for unreadable in &plan.unreadable {
        app.warn(unreadable);
    }
    // What cannot be read stays, and a person should look at it.
    Ok(match plan.unreadable.is_empty() {
        true => Exit::Done,
        false => Exit::Partly,
    })
}

fn write_plan(
    app: &App,
    plan: &RetentionPlan,
    gone: Option<(usize, u64)>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    write_points(&plan.points.points, gone.is_some(), out)?;
    for block in &plan.points.blocks {
        app.warn(format_args!("nothing is forgotten now: {}", block.text));
    }
    for wal in &plan.wal {
        write_wal(wal, gone.is_some(), out)?;
    }
    let points = plan.points.to_forget().len() as u64;
    let has_wal = plan.wal.iter().any(|wal| !wal.removals.is_empty());
    match gone {
        Some((forgotten, _)) => {
            writeln!(
                out,
                "{} forgotten",
                count(forgotten as u64, "recovery point")
            )?;
            if forgotten > 0 {
                app.note("`rekindle vault prune` frees the space that only they used");
            }
        }
        None if points > 0 || has_wal => app.next([app.command("retention apply --yes")]),
        None => {}
    }
    Ok(())
}

fn write_points(points: &[PlannedPoint], done: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let mut table = Table::new(["ID", "TIME", "", "DATASETS", "BECAUSE"]);
    for planned in points {
        let reasons: Vec<_> = planned.reasons.iter().map(ToString::to_string).collect();
        let fate = match (planned.is_kept(), done) {
            (true, _) => "stays",
            (false, true) => "forgotten",
            (false, false) => "would go",
        };
        let because = match reasons.is_empty() {
            true => "no rule keeps it".to_owned(),
            false => reasons.join("; "),
        };
        table.row([
            planned.point.id.short(),
            time(planned.point.time),
            fate.to_owned(),
            planned.point.datasets.join(", "),
            because,
        ]);
    }
    if !points.is_empty() {
        table.write(out)?;
    }
    Ok(())
}

fn write_wal(plan: &WalRetentionPlan, done: bool, out: &mut dyn Write) -> Result<(), CliError> {
    writeln!(out, "WAL of {}", plan.service)?;
    let verb = if done { "removed" } else { "would go" };
    for removal in &plan.removals {
        let files = count(removal.segments, "file");
        writeln!(
            out,
            "  {verb}  {files} of timeline {}, {} to {}: {}",
            removal.timeline, removal.first, removal.last, removal.reason
        )?;
    }
    writeln!(out, "  kept      {}", count(plan.kept_segments, "file"))?;
    for reason in &plan.kept_because {
        writeln!(out, "            {reason}")?;
    }
    if let Some(since) = plan.since {
        writeln!(
            out,
            "  since     {}: every moment from then on",
            time(since)
        )?;
    }
    Ok(())
}
