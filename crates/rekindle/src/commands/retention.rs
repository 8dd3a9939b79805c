//! `rekindle retention`: what may go, shown before it goes.

use std::io::Write;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rekindle_recovery::wal::{WalRetentionPlan, apply_wal_retention, plan_wal_retention};
use serde_json::json;

use crate::{
    app::App,
    commands::services,
    errors::{CliError, Exit},
    output::{count, time, write_json},
    signals,
};

const EXAMPLES: &str = "\
Examples:
  rekindle retention show
  rekindle retention apply --yes

Removes WAL that no moment within `retention.wal` needs, of every history. Recovery points carry the
WAL that they need themselves, and all of them are kept.";

/// Commands of `retention`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum RetentionCommand {
    /// Show what would be removed, and why
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
    let now = Timestamp::now();
    let is_applied = matches!(command, RetentionCommand::Apply(ApplyArgs { yes: true }));
    let (mut plans, mut removed) = (Vec::new(), None);
    if is_applied {
        signals::watch(&vault, "interrupted: what was not removed yet stays");
    }
    for service in services::with_postgres(&stack) {
        if is_applied {
            let (plan, files) = apply_wal_retention(&vault, &stack, &service, now)?;
            plans.push(plan);
            removed = Some(removed.unwrap_or(0) + files);
        } else {
            plans.push(plan_wal_retention(&vault, &stack, &service, now)?);
        }
    }
    if app.is_json() {
        write_json(out, &json!({ "wal": plans, "removed_files": removed }))?;
        return Ok(Exit::Done);
    }
    for plan in &plans {
        write_plan(plan, removed.is_some(), out)?;
    }
    let would_go = plans.iter().any(|plan| !plan.removals.is_empty());
    if removed.is_none() && would_go {
        app.next([app.command("retention apply --yes")]);
    }
    Ok(Exit::Done)
}

fn write_plan(plan: &WalRetentionPlan, done: bool, out: &mut dyn Write) -> Result<(), CliError> {
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
